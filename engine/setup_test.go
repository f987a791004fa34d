package engine

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain fails if an engine that a test has closed left a goroutine.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs an engine for the time of the test.
func start(t testing.TB, o Options) *Engine {
	e := New(o)
	t.Cleanup(e.Close)
	return e
}

// bareKey is a key of an engine without goroutines, for tests of the ring alone.
func bareKey(o KeyOptions) (*Engine, *key) {
	e := &Engine{evictionRequest: make(chan struct{}, 1), sweepInterval: time.Second}
	e.maxHistoryBytes.Store(1 << 40)
	k := &key{name: "k", epoch: 7}
	k.opts.Store(o.withDefaults())
	return e, k
}

// put publishes to a bare key.
func put(e *Engine, k *key, f Frame) (seq uint64) {
	d := newDraft(f, time.Now().UnixNano(), 0)
	if !k.publish(e, &d) {
		return 0
	}
	return d.ev.seq
}

// reader is a subscriber of bare keys, from their tails on.
func reader(keys ...*key) *Subscriber {
	s := &Subscriber{sink: new(countSink), cursors: make([]cursor, len(keys))}
	for i, k := range keys {
		s.cursors[i] = cursor{key: k, sub: s, index: -1, next: k.tail() + 1}
	}
	return s
}

// countSink counts wake-ups, and leaves the subscriber where it is.
type countSink struct{ ready atomic.Int64 }

func (c *countSink) Ready() { c.ready.Add(1) }

// stopWakers leaves an engine on which nobody is notified.
func stopWakers(e *Engine) {
	e.stopOnce.Do(func() { close(e.stop) })
	e.done.Wait()
}

// text is a frame without an id.
func text(data string) Frame { return Frame{Bytes: []byte(data), IDAt: -1} }

// own is a frame with the publisher's own id.
func own(id string) Frame {
	return Frame{Bytes: []byte("id: " + id + "\n\n"), IDAt: 4, IDLen: len(id)}
}

// stamped is a frame whose id the engine is to insert between head and tail.
func stamped(head, tail string) Frame { return Frame{Bytes: []byte(head + tail), IDAt: len(head)} }

// publish publishes the texts 1, 2, …, n, and returns the last position.
func publish(t testing.TB, e *Engine, key string, n int) (last Position) {
	t.Helper()
	for i := range n {
		p, err := e.Publish(key, text(fmt.Sprint(i+1)))
		if err != nil {
			t.Fatal(err)
		}
		last = p.Position
	}
	return last
}

// subscribe returns a subscriber that the test owns.
func subscribe(t testing.TB, e *Engine, lastID string, keys ...string) *Subscriber {
	t.Helper()
	s := new(Subscriber)
	if _, err := e.Subscribe(s, keys, lastID, new(countSink)); err != nil {
		t.Fatal(err)
	}
	return s
}

// drain returns what Next has, as text: the bytes of events, and of gaps their key, reason and number of missed events.
func drain(s *Subscriber) (got []string) {
	for {
		it, ok := s.Next(true)
		switch {
		case !ok:
			return got
		case it.Gap != nil:
			got = append(got, fmt.Sprintf("gap %s %v %d", it.Gap.Key, it.Gap.Reason, it.Gap.Missed))
		default:
			got = append(got, string(it.Event.Bytes()))
		}
	}
}

// numbers are the texts from first to last.
func numbers(first, last int) (texts []string) {
	for i := first; i <= last; i++ {
		texts = append(texts, fmt.Sprint(i))
	}
	return texts
}

// theKey returns the engine's key of that name.
func theKey(t testing.TB, e *Engine, name string) *key {
	t.Helper()
	k, ok := e.shard(name).Load(name)
	if !ok {
		t.Fatalf("key %q does not exist", name)
	}
	return k
}
