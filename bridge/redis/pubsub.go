package redis

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"fanfare/bridge/payload"
	"fanfare/bridge/relay"
)

// subscription is the source of Pub/Sub messages.
//
// rueidis calls the hooks one after another, in the goroutine that reads the connection. A subscription is active from the
// moment Redis confirms it. The gap is reported in the hook of that confirmation, so it comes before the first message, and
// nothing can be lost between the two.
//
// In a fleet every node is subscribed, and the one that leads publishes, by the worker's relay.
type subscription struct {
	w *worker

	mu      sync.Mutex // held by the hooks and by takeOver, which run in two goroutines
	led     bool       // whether this node led when it was last asked
	holding bool       // the leader is about to end, and the relay holds what comes
}

func (s *subscription) run(ctx context.Context, c rueidis.DedicatedClient, live, hangUp func()) error {
	w := s.w
	channels := w.b.o.Names.channels
	again := w.loop.Worked()
	confirmed := map[string]bool{} // by kind; only the hooks use it
	ended := c.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage: func(m rueidis.PubSubMessage) {
			if ctx.Err() == nil && s.takeOver() {
				s.message(m)
			}
		},
		OnSubscription: func(p rueidis.PubSubSubscription) {
			if ctx.Err() == nil && !confirmed[p.Kind] {
				confirmed[p.Kind] = true
				if s.takeOver() {
					s.reportGaps(p.Kind, again)
				}
			}
		},
	})
	defer func() { // wait until no hook is running
		hangUp()
		for range ended {
		}
	}()
	for _, subscribe := range []struct {
		names []string
		cmd   func() rueidis.Completed
	}{
		{channels.names, func() rueidis.Completed { return c.B().Subscribe().Channel(channels.names...).Build() }},
		{channels.patterns, func() rueidis.Completed { return c.B().Psubscribe().Pattern(channels.patterns...).Build() }},
	} {
		if len(subscribe.names) == 0 {
			continue
		}
		answer, cancel := context.WithTimeout(ctx, w.b.o.Timeout)
		err := c.Do(answer, subscribe.cmd()).Error()
		cancel()
		if err != nil {
			return err
		}
	}
	var succession *relay.Succession
	tick := time.NewTicker(leadPoll)
	defer tick.Stop()
	if w.b.o.Fleet == nil {
		tick.Stop()
	} else {
		succession = w.b.o.Fleet.Channels
	}
	var start <-chan time.Time
	for {
		wake := succession.Wake() // before what it is about
		if !s.takeOver() && succession.IsNext() {
			s.succeed(ctx)
		}
		if start = nil; succession.IsLed() {
			live()
		} else {
			start = time.After(startPoll)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			if err == nil {
				err = io.EOF
			}
			return err
		case <-tick.C:
		case <-start:
		case <-wake:
		}
	}
}

// takeOver reports whether this node publishes what the channels deliver. When it begins to, the keys that they cover get a
// gap first: a message may have fallen between the node that led before and this one.
func (s *subscription) takeOver() bool {
	if s.w.b.o.Fleet == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holding {
		return true
	}
	leads := s.w.leads(LeadChannels)
	if leads && !s.led {
		s.w.logger.Info("this node publishes the channels of redis for the fleet")
		s.reportGaps("subscribe", true)
		s.reportGaps("psubscribe", true)
	}
	s.led = leads
	return leads
}

// succeed takes over from a leader that is about to end. Both receive all messages, and the relay drops what the other one has published.
func (s *subscription) succeed(ctx context.Context) {
	w := s.w
	hold := func(holding, led bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.holding, s.led = holding, led
	}
	exact, err := w.relay.TakeOver(ctx, w.b.o.Fleet.Channels, func() error { hold(true, false); return nil })
	hold(false, err == nil)
	if err != nil {
		return // if this node leads nevertheless, it reports gaps
	}
	w.leads(LeadChannels)
	w.logger.Info("this node publishes the channels of redis for the fleet", "exact", exact)
	if !exact {
		s.reportGaps("subscribe", true)
		s.reportGaps("psubscribe", true)
	}
}

// message publishes a message. If several subscriptions cover a channel, Redis sends each message once for each of them;
// only that of the first subscription is published.
func (s *subscription) message(m rueidis.PubSubMessage) {
	w := s.w
	channels := w.b.o.Names.channels
	if m.Pattern != "" {
		first := channels.pattern(m.Channel)
		if first >= 0 && channels.patterns[first] != m.Pattern || channels.named(m.Channel) {
			return
		}
	}
	w.metrics.messages.Inc()
	key, ok := w.b.o.Names.key(m.Channel)
	if !ok {
		w.refuse(reasonName, m.Channel, errNoRule)
		return
	}
	ev, err := payload.Decode([]byte(m.Message), w.b.o.Payload)
	if err != nil {
		w.refuse(reasonInvalid, m.Channel, err)
		return
	}
	if w.relay != nil {
		w.relay.Put(relay.Message{Key: key, Event: ev})
		return
	}
	w.publish(m.Channel, key, ev)
}

// reportGaps reports a possible loss to the keys of one kind of subscription: "subscribe" for the channels that are named,
// "psubscribe" for those that only patterns cover. At the first connection only clients that are already subscribed have
// missed something. After a reconnect so have those that will resume.
func (s *subscription) reportGaps(kind string, again bool) {
	w := s.w
	channels := w.b.o.Names.channels
	covered := channels.named
	if kind == "psubscribe" {
		covered = func(name string) bool { return !channels.named(name) && channels.pattern(name) >= 0 }
	}
	fixed := map[string]bool{}
	if w.b.o.Fleet != nil && kind == "subscribe" {
		// Clients can have a position of the log in a key that has neither an event in memory nor a subscriber here. Those that are
		// named get the gap as well.
		for _, name := range channels.names {
			if key, ok := w.b.o.Names.key(name); ok && !fixed[key] {
				fixed[key] = true
				w.reportGap(key, -1, "")
			}
		}
	}
	for key := range w.b.o.Engine.Keys() {
		if (again || w.b.o.Engine.Count(key) > 0) && !fixed[key] && w.b.o.Names.origins(key, covered) {
			w.reportGap(key, -1, "")
		}
	}
}
