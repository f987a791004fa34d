package redis

import (
	"context"
	"io"

	"github.com/redis/rueidis"

	"fanfare/bridge/payload"
)

// subscription is the source of Pub/Sub messages.
//
// rueidis calls the hooks one after another in the goroutine that reads the connection. What Redis has confirmed is
// subscribed to from then on, so that the gap which the confirmation's hook tells comes before the first message, and
// nothing can be missed between the two.
type subscription struct{ w *worker }

func (s *subscription) run(ctx context.Context, c rueidis.DedicatedClient, live, hangUp func()) error {
	w := s.w
	channels := w.b.o.Names.channels
	again := w.worked
	confirmed := map[string]bool{} // by kind; the hooks' own
	ended := c.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage: func(m rueidis.PubSubMessage) {
			if ctx.Err() == nil {
				s.message(m)
			}
		},
		OnSubscription: func(p rueidis.PubSubSubscription) {
			if ctx.Err() == nil && !confirmed[p.Kind] {
				confirmed[p.Kind] = true
				s.tellGaps(p.Kind, again)
			}
		},
	})
	defer func() { // until no hook is called any more
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
	live()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-ended:
		if err == nil {
			err = io.EOF
		}
		return err
	}
}

// message publishes a message. A channel that is subscribed to more than once brings each message as often: the first
// subscription counts.
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
	w.publish(m.Channel, key, ev)
}

// tellGaps tells every key that the names or the patterns cover, and the names don't, that something may be missing.
// At the first connection only those have missed something who are there already; later also those who will resume.
func (s *subscription) tellGaps(kind string, again bool) {
	w := s.w
	channels := w.b.o.Names.channels
	covered := channels.named
	if kind == "psubscribe" {
		covered = func(name string) bool { return !channels.named(name) && channels.pattern(name) >= 0 }
	}
	for key := range w.b.o.Engine.Keys() {
		if (again || w.b.o.Engine.Count(key) > 0) && w.b.o.Names.origins(key, covered) {
			w.tellGap(key, -1, "")
		}
	}
}
