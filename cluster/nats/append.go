package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/goccy/go-json"
	natsgo "github.com/nats-io/nats.go"

	"fanfare/cluster"
)

const (
	// maxInFlight bounds the messages that wait for acknowledgments, in units: each takes unitsPerMessage and one for each KiB,
	// so 4,096 small ones or 16 MiB. The server drops what exceeds 10,000 messages or 128 MiB of a stream.
	maxInFlight     = 16384
	unitsPerMessage = 4

	// A message without an answer is sent again after firstRepeat, then every repeat: the leader may be lost. Only messages
	// with an ID are, which the log stores once.
	firstRepeat = time.Second
	repeat      = 2 * time.Second
	// refusedPause is how long an answer that means "not now" is waited out.
	refusedPause = 50 * time.Millisecond
)

// outgoing is a message of an Append. The fields below mu are guarded by flights.mu, the others belong to the Append.
type outgoing struct {
	msg       *natsgo.Msg
	token     string // the last of its reply subject
	partition int
	sent      bool // and neither refused nor settled since
	doubt     bool // it was sent more than once: an earlier attempt may have been stored
	settled   bool // its result is known

	// mu
	call  *call
	index int
	units int64 // of the budget, until it is acknowledged
}

// call is one Append.
type call struct {
	ready []answer // those that Append has not seen yet. Guarded by flights.mu.
	// wake has room for one: there are answers.
	wake chan struct{}
}

// answer is what the server says about a message.
type answer struct {
	index int
	ack   ack
	err   error
	retry bool // with err: the message was not stored and may be sent again
}

type ack struct {
	Seq       uint64    `json:"seq"`
	Duplicate bool      `json:"duplicate"`
	Domain    string    `json:"domain"`
	Error     *apiError `json:"error"`
}

// flights are the messages that wait for acknowledgments, by the last token of their reply subject.
type flights struct {
	mu   sync.Mutex
	next uint64
	m    map[string]*outgoing
}

func (f *flights) init() { f.m = map[string]*outgoing{} }

// add gives the messages tokens.
func (f *flights) add(out []outgoing) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range out {
		f.next++
		out[i].token = strconv.FormatUint(f.next, 36)
		f.m[out[i].token] = &out[i]
	}
}

// remove forgets the messages. It returns the units that they still have.
func (f *flights) remove(out []outgoing) (units int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range out {
		delete(f.m, out[i].token)
		units += out[i].units
	}
	return units
}

// answered takes over an answer to a message. It returns the units that the message no longer needs.
func (f *flights) answered(token string, a answer) (units int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o, ok := f.m[token]
	if !ok {
		return 0 // Append has given up, or this is the second answer
	}
	a.index = o.index
	o.call.ready = append(o.call.ready, a)
	if !a.retry {
		delete(f.m, token)
		units, o.units = o.units, 0
	}
	select {
	case o.call.wake <- struct{}{}:
	default:
	}
	return units
}

// take returns the answers that have come to a call.
func (f *flights) take(c *call) []answer {
	f.mu.Lock()
	defer f.mu.Unlock()
	ready := c.ready
	c.ready = nil
	return ready
}

// acknowledged gets the answers to published messages.
func (l *Log) acknowledged(msg *natsgo.Msg) {
	var a answer
	switch status := first(msg.Header, "Status"); status {
	case "":
		err := json.Unmarshal(msg.Data, &a.ack)
		switch {
		case err != nil:
			a.err = fmt.Errorf("the acknowledgment %.100q: %w", msg.Data, err)
		case a.ack.Error != nil:
			a.err, a.retry = appendError(a.ack.Error)
		case a.ack.Seq == 0:
			a.err = fmt.Errorf("the acknowledgment %.100q has no sequence", msg.Data)
		case a.ack.Domain != *l.domain.Load():
			l.reportOther(a.ack.Domain)
			return // the acknowledgment of the log's own stream is still to come
		}
	case "503", "429": // nobody leads the stream, or it has too much to do: the message was not stored
		a.err, a.retry = fmt.Errorf("NATS: status %s", status), true
	default:
		a.err = fmt.Errorf("NATS: status %s", status)
	}
	if units := l.flights.answered(msg.Subject[len(l.inbox)+1:], a); units > 0 {
		l.budget.Release(units)
	}
}

// appendError maps an answer of JetStream to an error of the package cluster. retry says that the message was not stored and
// may be stored soon.
func appendError(e *apiError) (err error, retry bool) {
	switch e.ErrCode {
	case codeWrongLast, codeWrongLastConstant:
		return fmt.Errorf("%w: %w", cluster.ErrConflict, e), false
	case codeTooLarge:
		return fmt.Errorf("%w: %w", cluster.ErrTooLarge, e), false
	case codeStoreFailed, codeStorageExceeded, codeResourcesExceeded, codeMemoryExceeded:
		return fmt.Errorf("%w: %w", cluster.ErrFull, e), false
	case codeInsufficient, codeUnavailable, codeNotLeader, codeNoPeers, codeNotEnabled, codeNotEnabledAccount, codeStreamOffline,
		codeDuplicateInProcess, codeTooManyRequests:
		return e, true
	}
	return e, false
}

// Append stores the messages in their order, see cluster.Log. Messages that the server refuses for the moment, and those with an
// ID that it does not acknowledge, are sent again until ctx is done.
//
// All messages are sent at once, so a message that is sent again may come after a later one of the same call. That happens only
// while the stream has no leader.
func (l *Log) Append(ctx context.Context, messages []cluster.Message, results []cluster.Result) {
	c := &call{wake: make(chan struct{}, 1)}
	out := make([]outgoing, len(messages))
	for i := range messages {
		results[i] = cluster.Result{}
		l.address(&out[i], &messages[i])
		out[i].call, out[i].index = c, i
	}
	l.flights.add(out)
	defer func() {
		if units := l.flights.remove(out); units > 0 {
			l.budget.Release(units)
		}
	}()
	acked := l.exchange(ctx, c, out, results)
	l.secure(acked, messages, out, results)
}

// address makes the message of NATS, without its reply subject.
func (l *Log) address(o *outgoing, m *cluster.Message) {
	p := cluster.PartitionOf(m.Key, l.o.Partitions)
	msg := &natsgo.Msg{Data: m.Frame.Bytes, Header: make(natsgo.Header, 3)}
	switch m.Op {
	case cluster.OpBroadcast:
		p = 0
		msg.Subject = l.subjects.partition(p) + broadcastToken
	case cluster.OpEpoch:
		p = m.Partition
		msg.Subject, msg.Data = l.subjects.partition(p)+epochToken, nil
		msg.Header[createdHeader] = []string{*l.created[p].Load()}
		if m.After > 0 {
			msg.Header[expectHeader] = []string{strconv.FormatUint(m.After-1, 10)}
		}
		if m.AfterEpoch > 0 {
			msg.Header[expectEpochHeader] = []string{strconv.FormatUint(m.AfterEpoch, 10)}
		}
	default:
		var hashed bool
		if msg.Subject, hashed = l.subjects.key(p, m.Key); hashed {
			msg.Header[keyHeader] = []string{string(escape(nil, m.Key))}
		}
	}
	msg.Header[frameHeader] = []string{string(cluster.AppendHeader(make([]byte, 0, 32), m))}
	if m.ID != "" {
		msg.Header[idHeader] = []string{string(escape(nil, m.ID))}
	}
	o.msg, o.partition = msg, p
}

// tooLarge refuses what the server would close the connection for.
func (l *Log) tooLarge(msg *natsgo.Msg) error {
	size := int64(len("NATS/1.0\r\n\r\n") + len(msg.Data))
	for name, values := range msg.Header {
		size += int64(len(name) + len(": \r\n") + len(values[0]))
	}
	if limit := int64(l.MaxBytes() + headerRoom); size > limit {
		return fmt.Errorf("%w: %d bytes of at most %d", cluster.ErrTooLarge, len(msg.Data), l.MaxBytes())
	}
	return nil
}

// exchange sends until every result is known or ctx is done. It returns the newest sequence of each partition that was
// acknowledged.
func (l *Log) exchange(ctx context.Context, c *call, out []outgoing, results []cluster.Result) (acked []uint64) {
	acked = make([]uint64, l.o.Partitions)
	open := len(out) // messages whose result is not known
	for pause := firstRepeat; open > 0; pause = repeat {
		if l.o.Disk != nil {
			if err := l.o.Disk.Err(); err != nil {
				giveUp(out, results, fmt.Errorf("%w: %w", cluster.ErrFull, err))
				return acked
			}
		}
		link, ok := l.awaitLink(ctx)
		if !ok {
			giveUp(out, results, cluster.ErrAway)
			return acked
		}
		open -= l.send(ctx, out, results)

		// Wait for the answers, until it is time to send again what has none.
		timer := time.NewTimer(pause)
		refused := false
		for waiting := true; waiting && open > 0; {
			select {
			case <-c.wake:
				settled, again := l.collect(c, out, results, acked)
				open -= settled
				if again && !refused {
					refused = true
					timer.Reset(refusedPause)
				}
			case <-timer.C:
				waiting = false
			case <-link: // the answers of that connection will not come
				waiting = false
				settled, _ := l.collect(c, out, results, acked)
				open -= settled + dropWithoutID(out, results)
			case <-ctx.Done():
				timer.Stop()
				l.collect(c, out, results, acked)
				giveUp(out, results, cluster.ErrAway)
				return acked
			}
		}
		timer.Stop()
	}
	return acked
}

// awaitLink waits for a connection. It returns a channel that is closed when that is lost; ok is false if there is none in time.
func (l *Log) awaitLink(ctx context.Context) (link <-chan struct{}, ok bool) {
	link, up := l.state()
	select {
	case <-up:
		return link, ctx.Err() == nil // fast path
	default:
	}
	select {
	case <-up:
		link, _ = l.state()
		return link, true
	case <-ctx.Done():
	case <-l.closed:
	}
	return nil, false
}

// send publishes what may be sent: what was never sent, what was refused, and what has an ID. It returns how many results are
// known now.
func (l *Log) send(ctx context.Context, out []outgoing, results []cluster.Result) (settled int) {
	for i := range out {
		o := &out[i]
		if o.settled || o.sent && first(o.msg.Header, idHeader) == "" {
			continue
		}
		if err := l.tooLarge(o.msg); err != nil {
			results[i].Err, o.settled = err, true
			settled++
			continue
		}
		if o.msg.Reply == "" {
			units := min(int64(unitsPerMessage+len(o.msg.Data)>>10), maxInFlight)
			if l.budget.Acquire(ctx, units) != nil {
				return settled
			}
			l.flights.mu.Lock()
			o.units = units
			l.flights.mu.Unlock()
			o.msg.Reply = l.inbox + "." + o.token
		}
		switch err := l.nc.PublishMsg(o.msg); {
		case err == nil:
			o.doubt = o.doubt || o.sent
			o.sent = true
		case errors.Is(err, natsgo.ErrReconnectBufExceeded), errors.Is(err, natsgo.ErrConnectionReconnecting),
			errors.Is(err, natsgo.ErrDisconnected), errors.Is(err, natsgo.ErrConnectionClosed):
			return settled // nothing was sent: wait for the next connection
		case errors.Is(err, natsgo.ErrMaxPayload), errors.Is(err, natsgo.ErrBadSubject):
			results[i].Err, o.settled = fmt.Errorf("%w: %w", cluster.ErrTooLarge, err), true
			settled++
		default:
			o.doubt = true // a part of it may have been sent
			o.sent = true
		}
	}
	return settled
}

// collect takes over the answers that have come, and returns how many results are known now. again says that a message is to
// be sent again soon.
func (l *Log) collect(c *call, out []outgoing, results []cluster.Result, acked []uint64) (settled int, again bool) {
	for _, a := range l.flights.take(c) {
		o := &out[a.index]
		switch {
		case o.settled:
			continue
		case a.err != nil && a.retry:
			o.sent, again = false, true
			results[a.index].Err = a.err // until the next attempt
			continue
		case a.err != nil:
			results[a.index].Err = a.err
		default:
			results[a.index] = cluster.Result{Seq: a.ack.Seq, Duplicate: a.ack.Duplicate}
			acked[o.partition] = max(acked[o.partition], a.ack.Seq)
		}
		o.settled = true
		settled++
	}
	return settled, again
}

// giveUp sets the results that are not known when nobody waits any longer. reason is that of messages that were not sent.
func giveUp(out []outgoing, results []cluster.Result, reason error) {
	for i := range out {
		o := &out[i]
		switch {
		case o.settled:
			continue
		case o.sent || o.doubt:
			results[i].Err = cluster.ErrUnknown
		case results[i].Err != nil: // the last answer was a refusal
			results[i].Err = fmt.Errorf("%w: %w", reason, results[i].Err)
		default:
			results[i].Err = reason
		}
		o.settled = true
	}
}

// dropWithoutID gives up messages that may have been stored and must not be sent again. It returns their number.
func dropWithoutID(out []outgoing, results []cluster.Result) (settled int) {
	for i := range out {
		o := &out[i]
		if !o.settled && o.sent && first(o.msg.Header, idHeader) == "" {
			results[i].Err, o.settled = fmt.Errorf("%w: %w", cluster.ErrUnknown, errLost), true
			settled++
		}
	}
	return settled
}

// secure waits until what was stored is on disk, if the server is in this process.
func (l *Log) secure(acked []uint64, messages []cluster.Message, out []outgoing, results []cluster.Result) {
	if l.o.Disk == nil {
		return
	}
	err := l.o.Disk.Sync(acked)
	for i := range results {
		switch {
		case results[i].Err != nil:
		case err != nil:
			results[i] = cluster.Result{Err: fmt.Errorf("%w: %w", cluster.ErrUnknown, err)}
		default:
			l.o.Disk.Stored(out[i].partition, results[i].Seq, messages[i].Op == cluster.OpEpoch && messages[i].Begun == 0)
		}
	}
}
