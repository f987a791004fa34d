package wiretest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"fanfare/codec"
)

// Message is an event as a client gets it: a codec.Message with memory of its own.
type Message struct {
	Type string // "message" if the event names none
	Data string
	ID   string // the last event id after this event
}

func (m Message) String() string {
	return fmt.Sprintf("%s %q (id %s)", m.Type, m.Data[:min(len(m.Data), 200)], m.ID)
}

// Gap is the data of a gap event.
type Gap struct {
	Key    string
	Reason string
	Missed *int64 // nil for null: unknown
	After  string // "" for null
	Next   string // likewise
}

// Gap decodes the data of a gap event. The message must be one.
func (m Message) Gap(t testing.TB) Gap {
	t.Helper()
	g, err := m.gap()
	if err != nil {
		t.Fatalf("%s: %v", m, err)
	}
	return g
}

func (m Message) gap() (g Gap, err error) {
	var ids struct{ After, Next *string }
	if m.Type != "gap" {
		return g, errors.New("not a gap")
	}
	if err := errors.Join(json.Unmarshal([]byte(m.Data), &g), json.Unmarshal([]byte(m.Data), &ids)); err != nil {
		return g, err
	}
	if g.After == "" && ids.After != nil || g.Next == "" && ids.Next != nil {
		return g, errors.New("an id that is not known must be null, not empty")
	}
	return g, nil
}

// Events reads the events of a stream. The position with which a stream begins is not one: it only sets LastID.
type Events struct {
	*Conn
	Err error // why no more messages come

	parser   codec.Parser
	buf      [16 << 10]byte
	queue    []Message
	position string
}

// Subscribe opens a stream, which must succeed, and reads its events.
func Subscribe(t testing.TB, addr, target string, header ...string) *Events {
	t.Helper()
	return NewEvents(Open(t, addr, target, header...))
}

// NewEvents reads the events of a stream whose head has been read.
func NewEvents(w *Conn) *Events {
	return &Events{Conn: w, parser: codec.Parser{MaxBytes: 64 << 20}}
}

// AwaitPosition reads until the stream has told its position, so that LastID is where it begins. A server that sends no
// ids tells none.
func (e *Events) AwaitPosition() {
	e.T.Helper()
	for e.LastID() == "" {
		if e.Err != nil {
			e.T.Fatalf("no position: %v", e.Err)
		}
		e.Feed()
	}
}

// Position is the id with which the stream began, "" if it has told none.
func (e *Events) Position() string { return e.position }

// LastID is the last event id, with which a client resumes.
func (e *Events) LastID() string { return string(e.parser.LastEventID()) }

// Retry is the reconnection time that the stream has set last.
func (e *Events) Retry() (d time.Duration, set bool) { return e.parser.Retry() }

// Feed reads once. What came is in the queue of Take and Next, how it failed in Err.
func (e *Events) Feed() {
	e.wait()
	n, err := e.Body.Read(e.buf[:])
	parseErr := e.parser.Feed(e.buf[:n], func(m codec.Message) {
		if string(m.Type) == "position" && len(m.Data) == 0 {
			e.position = string(m.LastEventID)
			return
		}
		e.queue = append(e.queue, Message{string(m.Type), string(m.Data), string(m.LastEventID)})
	})
	e.Err = errors.Join(err, parseErr)
}

// Take returns the messages that have been read and not returned yet.
func (e *Events) Take() []Message {
	all := e.queue
	e.queue = nil
	return all
}

// Next returns the next message, which must come.
func (e *Events) Next() Message {
	e.T.Helper()
	for len(e.queue) == 0 {
		if e.Err != nil {
			e.T.Fatalf("no next message: %v", e.Err)
		}
		e.Feed()
	}
	m := e.queue[0]
	e.queue = e.queue[1:]
	return m
}

// WantData reads messages, which must have these data.
func (e *Events) WantData(data ...string) {
	e.T.Helper()
	for i, want := range data {
		if m := e.Next(); m.Data != want {
			e.T.Fatalf("message %d: %+v, want data %q", i, m, want)
		}
	}
}

// ExpectEnd fails the test unless the stream ends without another message.
func (e *Events) ExpectEnd() {
	e.T.Helper()
	for e.Err == nil {
		e.Feed()
	}
	if len(e.queue) > 0 {
		e.T.Errorf("messages before the end: %v", e.queue)
	}
	if !errors.Is(e.Err, io.EOF) {
		e.T.Errorf("the stream ended with: %v", e.Err)
	}
}
