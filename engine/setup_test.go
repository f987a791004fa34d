package engine

import (
	"fmt"
	"hash/maphash"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain fails if a closed engine has left a goroutine.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start creates an engine and closes it at the end of the test.
func start(t testing.TB, o Options) *Engine {
	e := New(o)
	t.Cleanup(e.Close)
	return e
}

// bareKey returns a key of an engine without goroutines, for tests of the ring alone.
func bareKey(o KeyOptions) (*Engine, *key) {
	e := &Engine{seed: maphash.MakeSeed(), evictionRequest: make(chan struct{}, 1), sweepInterval: time.Second}
	e.maxHistoryBytes.Store(1 << 40)
	e.budget.Store(newBudget(1 << 40))
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

// reader returns a subscriber of bare keys that begins at their tails.
func reader(keys ...*key) *Subscriber {
	s := &Subscriber{sink: new(countSink), cursors: make([]cursor, len(keys))}
	for i, k := range keys {
		s.cursors[i] = cursor{key: k, sub: s, index: -1, next: k.tail() + 1}
	}
	return s
}

// countSink counts the calls of Ready, and does not read.
type countSink struct{ ready atomic.Int64 }

func (c *countSink) Ready() { c.ready.Add(1) }

// stopWakers stops the goroutines of the engine without closing it: it notifies nobody any more.
func stopWakers(e *Engine) {
	e.stopOnce.Do(func() { close(e.stop) })
	e.done.Wait()
}

// text returns a frame without an id.
func text(data string) Frame { return Frame{Bytes: []byte(data), IDAt: -1} }

// publishAll publishes the data to all keys.
func publishAll(t testing.TB, e *Engine, data string) {
	t.Helper()
	if _, _, err := e.PublishAll(text(data)); err != nil {
		t.Fatal(err)
	}
}

// publishCopy publishes only the copy of broadcast n in this key, as PublishAll does for each key.
func publishCopy(t testing.TB, e *Engine, key, data string, n uint32) {
	t.Helper()
	d := newDraft(text(data), 1, n)
	mustKey(t, e, key).publish(e, &d)
}

// withID returns a frame with the publisher's own id.
func withID(id string) Frame {
	return Frame{Bytes: []byte("id: " + id + "\n\n"), IDAt: 4, IDLen: len(id)}
}

// withIDRoom returns a frame for which the engine inserts the id between head and tail.
func withIDRoom(head, tail string) Frame { return Frame{Bytes: []byte(head + tail), IDAt: len(head)} }

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

// drain calls Next until it returns nothing, and returns the items as text: the bytes of an event; the key, the reason
// and the number of missed events of a gap.
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

// numbers returns the numbers from first to last as texts.
func numbers(first, last int) (texts []string) {
	for i := first; i <= last; i++ {
		texts = append(texts, fmt.Sprint(i))
	}
	return texts
}

// mustKey returns the engine's key with this name.
func mustKey(t testing.TB, e *Engine, name string) *key {
	t.Helper()
	k, ok := e.shard(name).Load(name)
	if !ok {
		t.Fatalf("key %q does not exist", name)
	}
	return k
}
