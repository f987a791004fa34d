package engine

import (
	"errors"
	"testing"
	"time"

	"fanfare/internal/eventually"
)

// busySink has news again each time that it is ready.
type busySink struct{ s Subscriber }

func (b *busySink) Ready() {
	b.s.Release()
	b.s.cursors[0].key.wake()
}

// TestCloseUnderTraffic: Close returns although the waker's queue never runs dry, a second time too, and Publish goes
// on for those who have not noticed.
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

// TestClosedEngineSaysSo: what would reach nobody is refused.
func TestClosedEngineSaysSo(t *testing.T) {
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
		t.Errorf("%d keys were made", n)
	}
	e.Close()
}

// TestNegativeOptionsMeanTheDefaults: no value of an option stops the engine from working.
func TestNegativeOptionsMeanTheDefaults(t *testing.T) {
	k := KeyOptions{History: -1, HistoryBytes: -1, HistoryTTL: -1, FlushInterval: -1, MaxSubscribers: -1}
	e := start(t, Options{Key: k, MaxKeys: -1, MaxHistoryBytes: -1, Wakers: -1, SweepInterval: -1})
	s := subscribe(t, e, "", "k")
	publish(t, e, "k", 20)
	if got := drain(s); len(got) != 20 {
		t.Errorf("got %q", got)
	}
	if _, got := resumed(t, e, Position{theKey(t, e, "k").epoch, 0}.String(), "k"); len(got) != 20 {
		t.Errorf("kept %q", got)
	}
}
