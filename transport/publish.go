package transport

import (
	"context"
	"errors"

	"fanfare/codec"
	"fanfare/engine"
	"fanfare/transport/internal/api"
)

// SizeError reports an event that is larger than a limit.
type SizeError struct {
	Limit string // the setting: "maxEventBytes"
	Size  int    // bytes
	Max   int    // bytes
}

func (e *SizeError) Error() string { return (*api.SizeError)(e).Error() }

// public turns an error of package api into one that programs may look at.
func public(err error) error {
	var size *api.SizeError
	if errors.As(err, &size) {
		return (*SizeError)(size)
	}
	return err
}

// Publish encodes the event and publishes it to key; "" means Options.CacheKey.
// Errors: *codec.Error, *SizeError, and those of engine.Publish.
//
// With Options.Backplane it returns when the log has stored the event, or with an
// error of package cluster. The Position is zero if the event is queued for the
// broker. PublishMessages says more, and publishes many events at once.
func (s *Server) Publish(key string, ev codec.Event) (engine.Published, error) {
	p, err := s.api.Publish(key, ev)
	return p, public(err)
}

// PublishAll encodes the event and publishes it to all keys. It returns how many
// keys and subscribers there were, on this node. Errors as of Publish.
func (s *Server) PublishAll(ev codec.Event) (keys, subscribers int, err error) {
	keys, subscribers, err = s.api.PublishAll(ev)
	return keys, subscribers, public(err)
}

// Message is an event for PublishMessages.
type Message struct {
	Key   string // "" means Options.CacheKey
	All   bool   // to all keys; Key is ignored
	Event codec.Event
	// ID identifies the message: of several with the same ID, one is published, within
	// Options.DuplicateWindow, or with a backplane the log's window. Choose it so that a
	// repetition gets the same one and nothing else does, such as a name of the source and
	// the place in it. "" is none.
	ID string
}

// Receipt says what became of a Message.
type Receipt struct {
	// Position is that of the event. It is zero if the event is queued, and for an event to
	// all keys without a backplane.
	Position engine.Position
	// ID is the id that subscribers see, "" if there is none or it is not known yet.
	ID string
	// Subscribers is how many subscribers there were; with a backplane, on this node.
	Subscribers int
	// Duplicate says that a message with the same ID was published before, and this one
	// was not.
	Duplicate bool
	// Queued says that the log does not have the event yet: it waits in this process for
	// the broker (away: queue).
	Queued bool
	// Err is nil if the event is published or queued. Errors as of Publish. After
	// cluster.ErrUnknown the event may be stored: publish it again with the same ID.
	Err error
}

// PublishMessages publishes the messages in their order, and returns a receipt for each.
// With a backplane they wait for the log together. A message that fails does not stop
// the others.
func (s *Server) PublishMessages(ctx context.Context, messages []Message) []Receipt {
	receipts := make([]Receipt, len(messages))
	prepared, places := make([]api.Message, 0, len(messages)), make([]int, 0, len(messages))
	for i, m := range messages {
		p, err := s.api.Prepare(m.All, m.Key, m.Event, m.ID)
		if err != nil {
			receipts[i].Err = public(err)
			continue
		}
		prepared, places = append(prepared, p), append(places, i)
	}
	results := make([]api.Receipt, len(prepared))
	s.api.PublishMessages(ctx, prepared, results)
	for i, r := range results {
		receipts[places[i]] = Receipt{
			Position: r.Position, ID: r.ID, Subscribers: r.Subscribers, Duplicate: r.Duplicate, Queued: r.Queued, Err: public(r.Err),
		}
	}
	return receipts
}
