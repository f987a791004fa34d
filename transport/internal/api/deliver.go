package api

import (
	"context"
	"errors"
	"time"

	"fanfare/cluster"
	"fanfare/codec"
	"fanfare/engine"
)

// Message is an event to publish, whose frame has been checked.
type Message struct {
	All   bool   // to all keys
	Key   string // unless All is set
	Frame codec.Frame
	// ID identifies the message: of several messages with the same ID one is published. "" is none.
	ID string
}

// Receipt says what became of a Message.
type Receipt struct {
	// Position is that of the event. It is zero with Queued, and for an event to all keys without a backplane.
	engine.Position
	// ID is the id that subscribers see: the publisher's own or the Position, "" if there is none or it is not known.
	ID string
	// Keys is the number of keys that an event to all keys was published to, and Subscribers is how many subscribers
	// there were: with a backplane, on this node.
	Keys, Subscribers int
	// Duplicate says that a message with the same ID was published before; the Position is that message's.
	Duplicate bool
	// Queued says that the event is not stored yet: it waits for the broker.
	Queued bool
	Err    error
}

// PublishMessages publishes the messages in their order and sets receipts[i] for messages[i]. With a backplane they are one
// append to the log, and it returns when each of them is stored or has failed. A message that fails does not stop the others.
func (p *Publisher) PublishMessages(ctx context.Context, messages []Message, receipts []Receipt) {
	if p.backplane != nil {
		p.append(ctx, messages, receipts)
		return
	}
	for i := range messages {
		receipts[i] = p.publishOne(&messages[i])
	}
}

// publishOne publishes a message to the engine. Of several with the same ID it publishes the first, within
// Config.DuplicateWindow.
func (p *Publisher) publishOne(m *Message) Receipt {
	if m.ID == "" {
		return p.publishLocal(m)
	}
	c := p.config.Load()
	r := p.repeats.do(m.ID, c.DuplicateWindow, c.MaxIdempotencyKeys, func() Receipt { return p.publishLocal(m) })
	switch {
	case r.Duplicate:
		p.metrics.Duplicates.Inc()
	case errors.Is(r.Err, errRepeats):
		p.metrics.Refused[limitRepeats].Inc()
	}
	return r
}

func (p *Publisher) publishLocal(m *Message) (r Receipt) {
	if m.All {
		r.Keys, r.Subscribers, r.Err = p.publishAll(m.Frame)
		return r
	}
	published, err := p.publish(m.Key, m.Frame)
	if err != nil {
		return Receipt{Err: err}
	}
	return Receipt{Position: published.Position, ID: idOf(m.Frame, published.Position), Subscribers: published.Subscribers}
}

// append publishes messages through the backplane.
func (p *Publisher) append(ctx context.Context, messages []Message, receipts []Receipt) {
	entries, results := make([]cluster.Message, len(messages)), make([]cluster.Result, len(messages))
	for i, m := range messages {
		entries[i] = cluster.Message{Op: cluster.OpEvent, Key: m.Key, Frame: engine.Frame(m.Frame), ID: m.ID}
		if m.All {
			entries[i].Op, entries[i].Key = cluster.OpBroadcast, ""
		}
	}
	p.backplane.Publish(ctx, entries, results)
	for i := range results {
		receipts[i] = p.receiptOf(&messages[i], &results[i])
	}
}

// appendOne is append for one message.
func (p *Publisher) appendOne(ctx context.Context, m Message) Receipt {
	receipts := [1]Receipt{}
	p.append(ctx, []Message{m}, receipts[:])
	return receipts[0]
}

// receiptOf makes a receipt of what the backplane says.
func (p *Publisher) receiptOf(m *Message, result *cluster.Result) Receipt {
	if result.Err != nil {
		return Receipt{Err: result.Err}
	}
	r := Receipt{Queued: result.Queued, Duplicate: result.Duplicate}
	if m.All {
		r.Keys, r.Subscribers = int(p.eng.Stats().Keys), p.eng.CountAll()
	} else {
		r.Subscribers = p.eng.Count(m.Key)
	}
	if !r.Queued {
		r.Position = engine.Position{Epoch: result.Epoch, Seq: result.Seq}
	}
	if !r.Queued || m.Frame.IDLen > 0 {
		r.ID = idOf(m.Frame, r.Position)
	}
	if r.Queued {
		return r
	}
	if r.Duplicate {
		p.metrics.Duplicates.Inc()
		return r
	}
	p.metrics.Events.Inc()
	p.metrics.EventBytes.Add(float64(len(m.Frame.Bytes)))
	return r
}

// idOf is the id that subscribers see: the publisher's own, or the one that the
// engine gave, or "" if ids are off.
func idOf(f codec.Frame, p engine.Position) string {
	switch {
	case f.IDLen > 0:
		return string(f.Bytes[f.IDAt : f.IDAt+f.IDLen])
	case f.IDAt >= 0:
		return p.String()
	}
	return ""
}

// retryUnstored is the Retry-After of a publish that the log has not stored.
const retryUnstored = time.Second
