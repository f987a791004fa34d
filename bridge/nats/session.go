package nats

import (
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"time"

	natsgo "github.com/nats-io/nats.go"
)

// drainTimeout bounds how long the end of a session waits for messages that the server has sent.
const drainTimeout = 5 * time.Second

// session uses one connection until it fails, or until ctx is done. The library's own reconnection is off: a new session must
// report the gap before the first message that follows it.
func (b *Bridge) session(ctx context.Context) error {
	failure := make(chan error, 1) // the first one counts
	fail := func(err error) {
		select {
		case failure <- err:
		default:
		}
	}
	closed := make(chan struct{})
	options := []natsgo.Option{
		natsgo.Name("fanfare-bridge"), natsgo.NoReconnect(), natsgo.Timeout(b.o.Timeout), natsgo.PingInterval(b.o.Timeout),
		natsgo.MaxPingsOutstanding(2), natsgo.DrainTimeout(drainTimeout), natsgo.FlusherTimeout(b.o.Timeout),
		natsgo.DisconnectErrHandler(func(_ *natsgo.Conn, err error) {
			if err != nil {
				fail(err)
			}
		}),
		// A subscription that is not permitted, and messages that this side has dropped because it was too slow, end the session.
		natsgo.ErrorHandler(func(_ *natsgo.Conn, _ *natsgo.Subscription, err error) { fail(err) }),
		natsgo.ClosedHandler(func(*natsgo.Conn) { close(closed) }),
	}
	if b.o.Credentials != "" {
		options = append(options, natsgo.UserCredentials(b.o.Credentials))
	}
	nc, err := natsgo.Connect(b.o.URL, options...)
	if err != nil {
		return err
	}
	defer func() {
		nc.Close()
		<-closed
	}()

	live := func() { b.loop.Live(nc.ConnectedAddr()) }
	for {
		for { // a connection is ready for the time when this node leads
			wake := b.o.Succession.Wake() // before what it is about
			if b.leads() || b.o.Succession.IsNext() {
				break
			}
			poll := leadPoll
			if b.o.Succession.IsLed() {
				live()
			} else {
				poll = startPoll
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case err := <-failure:
				return err
			case <-closed:
				return io.EOF
			case <-wake:
			case <-time.After(poll):
			}
		}
		if err := b.serve(ctx, nc, live, failure, closed); !errors.Is(err, errNotLeading) {
			return err
		}
	}
}

// errNotLeading ends the subscriptions of a node: another one of the fleet publishes now.
var errNotLeading = errors.New("nats: another node leads")

// leadPoll is how often a node asks whether it leads.
const leadPoll = 500 * time.Millisecond

// startPoll is leadPoll while no node leads.
const startPoll = 50 * time.Millisecond

// leads reports whether this server publishes what it receives.
func (b *Bridge) leads() bool {
	leads := b.o.Leads == nil || b.o.Leads()
	b.metrics.leads.Set(map[bool]float64{true: 1}[leads])
	return leads
}

// serve subscribes, and publishes what arrives until the connection fails, ctx is done, or this node does not lead any more.
func (b *Bridge) serve(ctx context.Context, nc *natsgo.Conn, live func(), failure <-chan error, closed <-chan struct{}) error {
	// Subscribe. What arrives waits until the gaps are reported.
	ready := make(chan struct{})
	var subscriptions []*natsgo.Subscription
	if b.leads() {
		var err error
		if subscriptions, err = b.subscribe(nc, ready, closed); err != nil {
			return err
		}
		if err := failed(failure); err != nil {
			return err
		}
		b.reportGaps(b.loop.Worked() || b.o.Leads != nil) // in a fleet, another node may have published before
		close(ready)
	} else {
		// The leader is about to end. Both nodes are subscribed for a moment, and the relay drops what the other one has published.
		close(ready)
		exact, err := b.relay.TakeOver(ctx, b.o.Succession, func() (err error) {
			subscriptions, err = b.subscribe(nc, ready, closed)
			return err
		})
		if err != nil {
			drain(subscriptions)
			if err := failed(failure); err != nil {
				return err
			}
			select { // it may be tried again
			case <-time.After(startPoll):
			case <-ctx.Done():
			}
			return errNotLeading
		}
		if !exact {
			b.reportGaps(true)
		}
	}
	b.leads()
	live()

	tick := time.NewTicker(leadPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if nc.Drain() == nil {
				select {
				case <-closed:
				case <-time.After(drainTimeout + time.Second):
				}
			}
			return ctx.Err()
		case err := <-failure:
			return err
		case <-closed:
			return io.EOF
		case <-tick.C:
			if !b.leads() {
				drain(subscriptions)
				return errNotLeading
			}
		}
	}
}

// failed returns the connection's failure, or nil.
func failed(failure <-chan error) error {
	select {
	case err := <-failure:
		return err
	default:
		return nil
	}
}

// subscribe subscribes, and returns when the server knows it. What arrives waits for ready.
func (b *Bridge) subscribe(nc *natsgo.Conn, ready, closed <-chan struct{}) ([]*natsgo.Subscription, error) {
	subscriptions := make([]*natsgo.Subscription, len(b.o.Rules))
	for i, r := range b.o.Rules {
		handle := func(m *natsgo.Msg) {
			select {
			case <-ready:
				b.message(i, m.Subject, m.Data)
			case <-closed:
			}
		}
		var err error
		if subscriptions[i], err = nc.Subscribe(r.subject, handle); err != nil {
			return nil, err
		}
	}
	// The server knows the subscriptions when it answers.
	return subscriptions, nc.FlushTimeout(2 * b.o.Timeout)
}

// drain ends subscriptions after what the server has sent to them.
func drain(subscriptions []*natsgo.Subscription) {
	for _, s := range subscriptions {
		_ = s.Drain() // it fails if the connection is closed, and then there is nothing left
	}
	for end := time.Now().Add(drainTimeout); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		valid := false
		for _, s := range subscriptions {
			valid = valid || s.IsValid()
		}
		if !valid {
			return
		}
	}
}

// explain returns the reason of a failure, and a hint what to do about it where that is known.
func explain(err error) (reason, hint string) {
	is := func(targets ...error) bool {
		for _, target := range targets {
			if errors.Is(err, target) {
				return true
			}
		}
		return false
	}
	text := err.Error()
	switch {
	case is(natsgo.ErrPermissionViolation):
		return failurePermission, "the user of natsURL may not subscribe to this subject: allow it in the NATS server, or change natsSubjects"
	case is(natsgo.ErrAuthorization, natsgo.ErrAuthExpired, natsgo.ErrAuthRevoked) || strings.Contains(strings.ToLower(text), "authorization violation"):
		return failureLogin, "the NATS server refuses the login: check the user and password in natsURL, or natsCredentials"
	case is(natsgo.ErrSlowConsumer):
		return failureSlow, "messages arrive faster than they can be published, and were dropped: publish less, or narrow natsSubjects"
	case is(natsgo.ErrNoServers, syscall.ECONNREFUSED):
		return failureRefused, "nothing listens at that address: start nats-server, or correct natsURL"
	case is(natsgo.ErrTimeout, natsgo.ErrStaleConnection, context.DeadlineExceeded):
		return failureTimeout, ""
	case is(io.EOF, natsgo.ErrConnectionClosed, syscall.ECONNRESET):
		return failureClosed, ""
	}
	return failureOther, ""
}
