package relay

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"fanfare/codec"
	"fanfare/internal/test/eventually"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is a log that stores a message once, and fails as told.
type store struct {
	mu       sync.Mutex
	events   []string
	ids      map[string]bool
	batches  []int
	fail     func(i int, m Message) (err error, stored bool)
	blocked  chan struct{} // publishes wait until it is closed; nil: they do not
	refusals []error
}

var errAway = errors.New("away")

func (s *store) publish(_ context.Context, messages []Message) []error {
	s.mu.Lock()
	blocked := s.blocked
	s.mu.Unlock()
	if blocked != nil {
		<-blocked
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = append(s.batches, len(messages))
	errs := make([]error, len(messages))
	for i, m := range messages {
		stored := true
		if s.fail != nil {
			errs[i], stored = s.fail(i, m)
		}
		if stored && !s.ids[m.ID] {
			s.ids[m.ID] = true
			s.events = append(s.events, string(m.Event.Data))
		}
	}
	return errs
}

func (s *store) options() Options {
	return Options{
		Publish: s.publish,
		Again:   func(err error) bool { return errors.Is(err, errAway) },
		Refused: func(_ Message, err error) { s.refusals = append(s.refusals, err) },
	}
}

func number(i int) Message {
	return Message{Key: "k", Event: codec.Event{Data: []byte(strconv.Itoa(i))}}
}

func (s *store) wantNumbers(t *testing.T, n int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.events) != n {
		t.Errorf("%d events, want %d: %q", len(s.events), n, s.events)
	}
	for i, e := range s.events {
		if e != strconv.Itoa(i) {
			t.Fatalf("event %d is %s", i, e)
		}
	}
}

// What arrives during a publish is published together, in its order.
func TestMessagesArePublishedTogether(t *testing.T) {
	s := &store{ids: map[string]bool{}, blocked: make(chan struct{})}
	r := New(s.options())
	data := []byte("0")
	r.Put(Message{Key: "k", Event: codec.Event{Data: data}})
	data[0] = 'x' // the relay has its own copy
	for i := 1; i < 1000; i++ {
		r.Put(number(i))
	}
	close(s.blocked)
	r.Close()
	s.wantNumbers(t, 1000)
	if len(s.batches) > 4 {
		t.Errorf("%d batches: %v", len(s.batches), s.batches)
	}
}

// A message that may be stored later is published again with those after it, whether it was stored or not, and none is
// stored twice or out of order.
func TestTemporaryErrors(t *testing.T) {
	calls := 0
	s := &store{ids: map[string]bool{}}
	s.fail = func(i int, m Message) (error, bool) {
		if calls++; calls%3 == 0 {
			return errAway, true // the answer was lost
		}
		return nil, true
	}
	r := New(s.options())
	for i := range 20 {
		r.Put(number(i))
	}
	r.Close()
	s.wantNumbers(t, 20)
}

// Another error refuses one message, and the others go on.
func TestRefused(t *testing.T) {
	bad := errors.New("bad")
	s := &store{ids: map[string]bool{}, fail: func(_ int, m Message) (error, bool) {
		if string(m.Event.Data) == "bad" {
			return bad, false
		}
		return nil, true
	}}
	r := New(s.options())
	r.Put(number(0))
	r.Put(Message{Key: "k", Event: codec.Event{Data: []byte("bad")}})
	r.Put(number(1))
	r.Close()
	s.wantNumbers(t, 2)
	if len(s.refusals) != 1 || s.refusals[0] != bad {
		t.Errorf("refused: %v", s.refusals)
	}
	r.Put(number(2)) // after Close: dropped
	s.wantNumbers(t, 2)
}

// Put waits while too much waits to be published.
func TestPutBlocks(t *testing.T) {
	s := &store{ids: map[string]bool{}, blocked: make(chan struct{})}
	o := s.options()
	o.MaxMessages = 3
	r := New(o)
	var mu sync.Mutex
	put := 0
	go func() {
		for i := range 5 {
			r.Put(number(i))
			mu.Lock()
			put++
			mu.Unlock()
		}
	}()
	get := func() int { mu.Lock(); defer mu.Unlock(); return put }
	eventually.Equal(t, "messages put", 3, get)
	close(s.blocked)
	eventually.Equal(t, "messages put", 5, get)
	r.Close()
	s.wantNumbers(t, 5)
}
