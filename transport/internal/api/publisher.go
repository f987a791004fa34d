package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"fanfare/cluster"
	"fanfare/codec"
	"fanfare/engine"
	"fanfare/transport/internal/clientlog"
	"fanfare/transport/internal/metrics"
)

// Publisher encodes events and publishes them, to the engine or through the
// backplane, within the limits of Config. Every event that is published over HTTP,
// or by transport.Server, comes through it. All methods may be called concurrently.
type Publisher struct {
	eng       *engine.Engine
	backplane *cluster.Node // nil: the engine alone
	metrics   *metrics.Metrics
	log       *clientlog.Log
	config    atomic.Pointer[Config]
	repeats   repeats // without a backplane
}

// Publish encodes the event and publishes it to key, see transport.Server.Publish.
func (p *Publisher) Publish(key string, ev codec.Event) (engine.Published, error) {
	buf := scratch.Get()
	defer scratch.Put(buf)
	f, err := p.encode(buf, ev)
	if err != nil {
		return engine.Published{}, err
	}
	if key, err = p.checkKey(key); err != nil {
		return engine.Published{}, err
	}
	if p.backplane != nil {
		r := p.appendOne(context.Background(), Message{Key: key, Frame: f})
		return engine.Published{Position: r.Position, Subscribers: r.Subscribers}, r.Err
	}
	return p.publish(key, f)
}

// PublishAll encodes the event and publishes it to all keys, see
// transport.Server.PublishAll.
func (p *Publisher) PublishAll(ev codec.Event) (keys, subscribers int, err error) {
	buf := scratch.Get()
	defer scratch.Put(buf)
	f, err := p.encode(buf, ev)
	if err != nil {
		return 0, 0, err
	}
	if p.backplane != nil {
		r := p.appendOne(context.Background(), Message{All: true, Frame: f})
		return r.Keys, r.Subscribers, r.Err
	}
	return p.publishAll(f)
}

// Prepare encodes the event of a message in memory of its own, and checks the message. An id that
// an Idempotency-Key may not be is replaced by its hash: a log may keep it in a header field.
func (p *Publisher) Prepare(all bool, key string, ev codec.Event, id string) (Message, error) {
	var own []byte
	f, err := p.encode(&own, ev)
	if err != nil {
		return Message{}, err
	}
	if id != "" && checkRepeatKey(id) != "" {
		id = hashOf("h:", id)
	}
	if all {
		return Message{All: true, Frame: f, ID: id}, nil
	}
	if key, err = p.checkKey(key); err != nil {
		return Message{}, err
	}
	return Message{Key: key, Frame: f, ID: id}, nil
}

// SizeError says that a frame is larger than a limit.
type SizeError struct {
	Limit string // "maxEventBytes"
	Size  int    // bytes, or those of its data if these are too many already
	Max   int    // bytes
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("the event has %d bytes, more than %d (%s): send less, or raise the limit", e.Size, e.Max, e.Limit)
}

// scratchPool lends memory to encode events in; the engine copies them.
type scratchPool struct{ pool sync.Pool }

var scratch scratchPool

// maxScratch is the largest buffer kept, so that one large event does not stay.
const maxScratch = 64 << 10

func (s *scratchPool) Get() *[]byte {
	if b, ok := s.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, 1024)
	return &b
}

func (s *scratchPool) Put(b *[]byte) {
	if cap(*b) <= maxScratch {
		*b = (*b)[:0]
		s.pool.Put(b)
	}
}

// encode makes the event's frame in buf, within Config.MaxEventBytes.
func (p *Publisher) encode(buf *[]byte, ev codec.Event) (codec.Frame, error) {
	c := p.config.Load()
	// A frame is no shorter than its data, and up to seven times as long. What is
	// small is encoded in any case, so that its size can be told exactly.
	if n := len(ev.Data); n > c.MaxEventBytes && n > maxScratch {
		p.metrics.Refused["maxEventBytes"].Inc()
		return codec.Frame{}, &SizeError{Limit: "maxEventBytes", Size: n, Max: c.MaxEventBytes}
	}
	f, err := codec.Encode(*buf, ev, !c.PlainIDs)
	if err != nil {
		return codec.Frame{}, err
	}
	*buf = f.Bytes[:0]
	return f, p.check(f, ev.Event)
}

// checkKey returns the key that key names: "" is the default of Config.Keys.
// Errors: *codec.Error for the field key.
func (p *Publisher) checkKey(key string) (string, error) {
	key, problem := p.config.Load().Keys.Resolve(key)
	if problem != "" {
		return "", &codec.Error{Field: "key", Offset: -1, Reason: problem}
	}
	return key, nil
}

// check refuses frames over Config.MaxEventBytes, and ids that no client could
// resume by: those over Config.MaxIDBytes, and those that look like the server's
// own positions. It also looks at the event's name.
func (p *Publisher) check(f codec.Frame, name string) error {
	c := p.config.Load()
	if err := p.checkName(c, name); err != nil {
		return err
	}
	if f.IDLen > c.MaxIDBytes {
		p.metrics.Refused["maxIdBytes"].Inc()
		return &codec.Error{Field: "id", Offset: -1, Reason: fmt.Sprintf("has %d bytes, more than %d (maxIdBytes): use a shorter id", f.IDLen, c.MaxIDBytes)}
	}
	if errors.Is(p.eng.Check(engine.Frame(f)), engine.ErrPosition) { // here, too, so that of several frames all are refused or none
		return &codec.Error{Field: "id", Offset: -1, Reason: "is a position that this server gives to events: leave it out, so that the event gets one of its own, or choose another"}
	}
	if len(f.Bytes) > c.MaxEventBytes {
		p.metrics.Refused["maxEventBytes"].Inc()
		return &SizeError{Limit: "maxEventBytes", Size: len(f.Bytes), Max: c.MaxEventBytes}
	}
	return nil
}

// checkName counts events whose name clients take for something else, and refuses
// them with Config.RefuseReserved. An event named error or open is dispatched at
// a page's EventSource itself, so that its onerror or onopen runs (WHATWG HTML
// 9.2.6, and 9.2.2 for the handlers); gap, position and expired are what this server
// sends: a page that gets a false expired gives its stream up, and asks for another token.
func (p *Publisher) checkName(c *Config, name string) error {
	var what string
	switch name {
	case "error", "open":
		what = "runs a page's on" + name + " as if the connection had changed"
	case "gap", "position", "expired":
		what = "is taken for the event of that name which the server itself sends"
	default:
		return nil
	}
	p.metrics.Reserved.Inc()
	if c.RefuseReserved {
		return &codec.Error{Field: "event", Offset: -1, Reason: fmt.Sprintf("%q %s (reservedEvents): choose another name", name, what)}
	}
	p.log.Limited(slog.LevelWarn, "reserved "+name, "an event has a reserved name: choose another, or have them refused by reservedEvents", "event", name, "because", "it "+what)
	return nil
}

// publish publishes a frame whose size has been checked to the engine.
func (p *Publisher) publish(key string, f codec.Frame) (engine.Published, error) {
	start := time.Now()
	result, err := p.eng.Publish(key, engine.Frame(f))
	if err == nil {
		p.published(start, f)
	}
	return result, err
}

// publishAll publishes a frame whose size has been checked to all keys of the engine.
func (p *Publisher) publishAll(f codec.Frame) (keys, subscribers int, err error) {
	start := time.Now()
	keys, subscribers, err = p.eng.PublishAll(engine.Frame(f))
	if err == nil {
		p.published(start, f)
	}
	return keys, subscribers, err
}

func (p *Publisher) published(start time.Time, f codec.Frame) {
	p.metrics.Publish.Observe(time.Since(start).Seconds())
	p.metrics.Events.Inc()
	p.metrics.EventBytes.Add(float64(len(f.Bytes)))
}
