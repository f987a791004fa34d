package redis

import (
	"context"
	"errors"
	"time"

	"github.com/redis/rueidis"

	"fanfare/bridge/relay"
)

// Fleet makes the bridge that of one node of a fleet. All nodes have the same channels and streams; one of them, which Leads
// chooses, publishes for all.
//
//   - Channels: every node is subscribed, and the one that leads publishes. When it is closed, the next one publishes exactly what it
//     has not published. When another one takes over from one that was killed, nobody knows whether a message fell in between, so
//     every key that the channels cover gets a gap.
//   - Streams: the node that leads reads them. Another one that takes over continues after the newest entry that is stored in the
//     fleet's log, so nothing is lost or repeated. Each entry has a message ID made of its own: while two nodes lead for a
//     moment, the log stores it once.
type Fleet struct {
	// Leads reports whether this node publishes what name ("redis channels" or "redis streams") delivers.
	Leads func(name string) bool
	// Channels and Streams pass these jobs on to another node when this one is closed. nil: Close only stops.
	Channels, Streams *relay.Succession
	// Publish publishes messages in their order, and returns an error, or nil, for each.
	Publish func(ctx context.Context, messages []relay.Message) []error
	// Again reports whether a message that failed with the error is to be published again.
	Again func(error) bool
	// Newest returns the publishers' ids of up to n of the newest events of a key in the fleet's log, the oldest first.
	// ErrTooOld, with those that were found, says that there are older ones which cannot be had.
	Newest func(ctx context.Context, key string, n int) ([]string, error)
}

// ErrTooOld is what Fleet.Newest returns if not all that it was asked for can be had.
var ErrTooOld = errors.New("too old")

// The names for Fleet.Leads.
const (
	LeadChannels = "redis channels"
	LeadStreams  = "redis streams"
)

const (
	// leadPoll is how often a node asks whether it leads.
	leadPoll = 500 * time.Millisecond
	// newestEvents is how many of a key's newest events are asked for when a node takes over: gaps and events of others
	// may be among them.
	newestEvents = 16
	// startPoll is leadPoll while no node leads.
	startPoll = 50 * time.Millisecond
	// The pause before what could not be stored is published again, doubled with each failure.
	minRepeat, maxRepeat = 100 * time.Millisecond, 2 * time.Second
)

// newRelay returns the relay that publishes what the worker's channels deliver.
func (w *worker) newRelay() *relay.Relay {
	fleet := w.b.o.Fleet
	return relay.New(relay.Options{Publish: fleet.Publish, Again: fleet.Again, Remember: fleet.Channels != nil, Refused: func(m relay.Message, err error) {
		w.refuse(reasonOf(err), m.Key, err)
	}})
}

// errNotLeading ends a poll: another node publishes now.
var errNotLeading = errors.New("redis: another node leads")

// runFleet reads the streams while this node leads.
func (s *streams) runFleet(ctx context.Context, c rueidis.DedicatedClient, live func()) error {
	live()
	for {
		for !s.w.leads(LeadStreams) {
			s.w.metrics.streams.Set(0)
			s.w.metrics.behind.Set(0)
			if err := s.pause(ctx, c, leadPoll); err != nil {
				return err
			}
		}
		s.w.logger.Info("this node reads the streams of redis for the fleet")
		s.all, s.byName, s.byKey, s.polledAt = nil, map[string]*stream{}, map[string]*stream{}, time.Time{}
		err := s.lead(ctx, c)
		if !errors.Is(err, errNotLeading) {
			return err
		}
		s.w.logger.Info("another node reads the streams of redis for the fleet")
	}
}

// lead polls all streams until this node does not lead any more.
func (s *streams) lead(ctx context.Context, c rueidis.DedicatedClient) error {
	if err := s.pollAll(ctx, c); err != nil {
		return err
	}
	return s.follow(ctx, c)
}

// setStored sets the position of a stream to the newest entry that is stored in the fleet's log.
func (s *streams) setStored(ctx context.Context, c rueidis.DedicatedClient, st *stream) error {
	ids, err := s.w.b.o.Fleet.Newest(ctx, st.key, newestEvents)
	if err != nil && !errors.Is(err, ErrTooOld) {
		return err
	}
	for _, text := range ids {
		if id, ok := parseID(text); ok && st.last.less(id) {
			st.last = id
		}
	}
	switch {
	case !st.last.zero():
		st.count, st.positioned = -1, true // what is missing after it was trimmed
		return nil
	case err == nil:
		return s.setStart(ctx, c, st) // the log has no entry of it yet
	}
	// The log has too many events of others in between. Do not repeat what may be stored: go on at the end, with a gap.
	now, err := s.snapshot(ctx, c, st)
	if err != nil {
		return err
	}
	st.last, st.count, st.positioned = now.last, now.added, true
	return s.store(ctx, st, []relay.Message{s.w.gapMessage(st.key, -1, "")})
}

// store publishes messages of a stream until all are stored or refused. If one cannot be stored for now, it and those after it
// are published again, but for those that the log has: their message IDs may be forgotten by then.
func (s *streams) store(ctx context.Context, st *stream, messages []relay.Message) error {
	fleet := s.w.b.o.Fleet
	for pause := minRepeat; ; pause = min(pause*2, maxRepeat) {
		done := len(messages)
		for i, err := range fleet.Publish(ctx, messages) {
			switch {
			case err == nil:
				if messages[i].Event.Notice {
					s.w.metrics.gaps.Inc()
				}
			case fleet.Again(err):
				done = min(done, i)
			case i < done: // one after a message that is published again is refused then
				s.w.refuse(reasonOf(err), st.name, err)
			}
		}
		if messages = messages[done:]; len(messages) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		if !s.w.leads(LeadStreams) {
			return errNotLeading
		}
		ids, err := fleet.Newest(ctx, st.key, len(messages)+newestEvents)
		if err != nil && !errors.Is(err, ErrTooOld) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		stored := map[string]bool{}
		for _, id := range ids {
			stored[id] = true
		}
		var left []relay.Message
		for _, m := range messages {
			if m.Event.Notice || !stored[m.Event.ID] {
				left = append(left, m)
			}
		}
		if messages = left; len(messages) == 0 {
			return nil
		}
	}
}
