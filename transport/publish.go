package transport

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"fanfare/codec"
	"fanfare/engine"
)

// SizeError says that a frame is larger than a limit.
type SizeError struct {
	Limit string // "maxEventBytes"
	Size  int    // bytes
	Max   int    // bytes
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("the finished event has %d bytes, more than %d (%s): send less, or raise the limit", e.Size, e.Max, e.Limit)
}

// scratchPool lends memory to encode events in; the engine copies them.
type scratchPool struct{ pool sync.Pool }

var scratch scratchPool

// maxScratch is the largest buffer kept, so that one large event does not stay.
const maxScratch = 64 << 10

func (p *scratchPool) Get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, 1024)
	return &b
}

func (p *scratchPool) Put(b *[]byte) {
	if cap(*b) <= maxScratch {
		*b = (*b)[:0]
		p.pool.Put(b)
	}
}

// encode makes the event's frame in buf, within Options.MaxEventBytes.
func (s *Server) encode(buf *[]byte, ev codec.Event) (codec.Frame, error) {
	f, err := codec.Encode(*buf, ev, !s.settings.Load().PlainIDs)
	if err != nil {
		return codec.Frame{}, err
	}
	*buf = f.Bytes[:0]
	return f, s.check(f, ev.Event)
}

// publishKey returns the key that key names: "" is the pool of Options.CacheKey.
// Errors: *codec.Error for the field key.
func (s *Server) publishKey(key string) (string, error) {
	o := s.settings.Load()
	if key == "" {
		key = o.CacheKey
	}
	if problem := o.checkKey(key); problem != "" {
		return "", &codec.Error{Field: "key", Offset: -1, Reason: problem}
	}
	return key, nil
}

// check refuses frames over Options.MaxEventBytes, ids that no client could resume
// by, over Options.MaxIDBytes or taken for the server's own positions, and looks at the event's name. Whatever is
// published comes through here.
func (s *Server) check(f codec.Frame, name string) error {
	o := s.settings.Load()
	if err := s.checkName(o, name); err != nil {
		return err
	}
	if f.IDLen > o.MaxIDBytes {
		s.metrics.refused["maxIdBytes"].Inc()
		return &codec.Error{Field: "id", Offset: -1, Reason: fmt.Sprintf("has %d bytes, more than %d (maxIdBytes): use a shorter id", f.IDLen, o.MaxIDBytes)}
	}
	if errors.Is(s.eng.Check(engine.Frame(f)), engine.ErrPosition) { // here, too, so that of several frames all are refused or none
		return &codec.Error{Field: "id", Offset: -1, Reason: "is a position that this server gives to events: leave it out, so that the event gets one of its own, or choose another"}
	}
	if len(f.Bytes) > o.MaxEventBytes {
		s.metrics.refused["maxEventBytes"].Inc()
		return &SizeError{Limit: "maxEventBytes", Size: len(f.Bytes), Max: o.MaxEventBytes}
	}
	return nil
}

// checkName counts events whose name clients take for something else, and refuses
// them with Options.RefuseReserved. An event named error or open is dispatched at
// a page's EventSource itself, so that its onerror or onopen runs (WHATWG HTML
// 9.2.6, and 9.2.2 for the handlers); gap and position are what this server sends.
func (s *Server) checkName(o *settings, name string) error {
	var what string
	switch name {
	case "error", "open":
		what = "runs a page's on" + name + " as if the connection had changed"
	case "gap", "position":
		what = "is taken for the event of that name which the server itself sends"
	default:
		return nil
	}
	s.metrics.reserved.Inc()
	if o.RefuseReserved {
		return &codec.Error{Field: "event", Offset: -1, Reason: fmt.Sprintf("%q %s (reservedEvents): choose another name", name, what)}
	}
	if _, due := s.refusals.due("reserved " + name); due {
		o.Logger.Warn("an event has a reserved name: choose another, or have them refused by reservedEvents", "event", name, "because", "it "+what)
	}
	return nil
}

// publishFrame publishes a frame whose size has been checked.
func (s *Server) publishFrame(key string, f codec.Frame) (engine.Published, error) {
	start := time.Now()
	p, err := s.eng.Publish(key, engine.Frame(f))
	if err == nil {
		s.published(start, f)
	}
	return p, err
}

// publishFrameAll publishes a frame whose size has been checked to all keys.
func (s *Server) publishFrameAll(f codec.Frame) (keys, subscribers int, err error) {
	start := time.Now()
	keys, subscribers, err = s.eng.PublishAll(engine.Frame(f))
	if err == nil {
		s.published(start, f)
	}
	return keys, subscribers, err
}

func (s *Server) published(start time.Time, f codec.Frame) {
	s.metrics.publish.Observe(time.Since(start).Seconds())
	s.metrics.events.Inc()
	s.metrics.eventBytes.Add(float64(len(f.Bytes)))
}
