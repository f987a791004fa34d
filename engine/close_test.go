package engine

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
)

// busySink causes another wake-up at each wake-up.
type busySink struct{ s Subscriber }

func (b *busySink) Ready() {
	b.s.Release()
	b.s.cursors[0].key.wake()
}

// TestCloseUnderTraffic: Close returns although the waker's queue is never empty, and so does a second Close.
func TestCloseUnderTraffic(t *testing.T) {
	e, b := New(Options{Wakers: 1}), new(busySink)
	if _, err := e.Subscribe(&b.s, []string{"k"}, "", b); err != nil {
		t.Fatal(err)
	}
	b.s.Release()
	publish(t, e, "k", 1)
	closed := make(chan struct{})
	go func() {
		e.Close()
		e.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(eventually.Patience):
		t.Fatal("Close does not return")
	}
}

// TestClosedEngineRefuses: after Close nothing would reach anybody, so every call returns an error.
func TestClosedEngineRefuses(t *testing.T) {
	e := New(Options{})
	e.Close()
	if _, err := e.Publish("k", text("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("Publish: %v", err)
	}
	if _, _, err := e.PublishAll(text("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("PublishAll: %v", err)
	}
	if _, err := e.Subscribe(new(Subscriber), []string{"k"}, "", new(countSink)); !errors.Is(err, ErrClosed) {
		t.Errorf("Subscribe: %v", err)
	}
	if n := e.Stats().Keys; n != 0 {
		t.Errorf("%d keys were created", n)
	}
	e.Close()
}

func TestCloseKey(t *testing.T) {
	e := start(t, Options{})
	var subs []*Subscriber
	for i := range 700 {
		subs = append(subs, subscribe(t, e, "", "k", fmt.Sprint(i%2)))
	}
	if got := e.CloseKey("1"); got != 350 {
		t.Errorf("%d closed", got)
	}
	if e.Count("1") != 0 || e.Count("k") != 350 || e.Count("0") != 350 || e.CloseKey("1")+e.CloseKey("none") != 0 {
		t.Errorf("counts %d, %d, %d", e.Count("1"), e.Count("k"), e.Count("0"))
	}
	for i, s := range subs {
		if closed := s.Closing() == ReasonClosed; closed != (i%2 == 1) {
			t.Fatalf("subscriber %d: %v", i, s.Closing())
		}
	}
	if got := e.CloseAll(); got != 350 || e.CountAll() != 0 {
		t.Errorf("%d closed, %d left", got, e.CountAll())
	}
}

// TestCloseKeyDuringSubscribe: CloseKey can close a subscriber by its first key while Subscribe joins the next one.
func TestCloseKeyDuringSubscribe(t *testing.T) {
	t.Run("between two keys", func(t *testing.T) {
		var e *Engine
		closed := false
		e = start(t, Options{KeyRule: func(name string) *KeyOptions {
			if name == "second" && !closed { // this runs during the lookup of the second key
				closed = e.CloseKey("first") == 1
			}
			return nil
		}})
		s := subscribe(t, e, "", "first", "second", "third")
		if !closed || s.Closing() != ReasonClosed {
			t.Errorf("closed %v, reason %v", closed, s.Closing())
		}
		if got := e.CountAll(); got != 0 {
			t.Errorf("%d subscribers after CloseKey", got)
		}
	})
	t.Run("then refused", func(t *testing.T) {
		var e *Engine
		e = start(t, Options{MaxKeys: 2, MaxSubscriberKeys: 2, KeyRule: func(name string) *KeyOptions {
			if name == "second" {
				e.CloseKey("first")
			}
			return nil
		}})
		publish(t, e, "first", 1) // so that it stays
		_, err := e.Subscribe(new(Subscriber), []string{"first", "second", "third"}, "", new(countSink))
		wantLimit(t, err, "maxKeys", 2, "third")
		if got := e.CountAll(); got != 0 {
			t.Errorf("%d subscribers after the refusal", got)
		}
	})
	t.Run("at random", func(t *testing.T) {
		e := start(t, Options{})
		stop := make(chan struct{})
		var closers, subscribers sync.WaitGroup
		closers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					e.CloseKey(fmt.Sprint(i % 3))
				}
			}
		})
		for worker := range 3 {
			subscribers.Go(func() {
				for i := range 1000 {
					s := subscribe(t, e, "", fmt.Sprint(worker), fmt.Sprint((worker+1)%3), fmt.Sprint("x", i%10))
					if i%3 == 0 {
						s.Close(ReasonGone)
					}
				}
			})
		}
		subscribers.Wait()
		close(stop)
		closers.Wait()
		e.CloseAll()
		if got := e.CountAll(); got != 0 {
			t.Errorf("%d subscribers are left", got)
		}
	})
}

func TestCloseReasons(t *testing.T) {
	e := start(t, Options{})
	s := subscribe(t, e, "", "k")
	for _, c := range []struct {
		close, want Reason
		first       bool
	}{
		{ReasonDrain, ReasonDrain, true},
		{ReasonClosed, ReasonDrain, false},
		{ReasonStalled, ReasonStalled, false}, // not graceful: replaces
		{ReasonGone, ReasonStalled, false},
		{ReasonClosed, ReasonStalled, false},
	} {
		if first := s.Close(c.close); first != c.first || s.Closing() != c.want {
			t.Errorf("Close(%v) = %v, reason %v", c.close, first, s.Closing())
		}
	}
	for _, r := range Reasons() {
		if r.String() == "" {
			t.Errorf("reason %d has no name", r)
		}
	}
	for r := GapHistory; r <= GapLag; r++ {
		if r.String() == "" {
			t.Errorf("gap reason %d has no name", r)
		}
	}
}
