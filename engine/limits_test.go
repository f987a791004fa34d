package engine

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func wantLimit(t *testing.T, err error, limit string, value int64, key string) {
	t.Helper()
	var l *LimitError
	if !errors.As(err, &l) || l.Limit != limit || l.Value != value || l.Key != key {
		t.Errorf("error %v, want %s of %d for %q", err, limit, value, key)
	} else if !strings.Contains(err.Error(), limit) || !strings.Contains(err.Error(), key) {
		t.Errorf("error %q does not name %s and %q", err, limit, key)
	}
}

func TestMaxSubscribers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{Key: KeyOptions{MaxSubscribers: 3, HistoryTTL: time.Second}})
		defer e.Close()
		var subs []*Subscriber
		for range 3 {
			subs = append(subs, subscribe(t, e, "", "full"))
		}
		for i := range 100 {
			_, err := e.Subscribe(new(Subscriber), []string{fmt.Sprint("first ", i), "second", "full", "never"}, "", new(countSink))
			wantLimit(t, err, "maxClients", 3, "full")
		}
		if got := e.CountAll(); got != 3 {
			t.Errorf("%d subscribers after refusals, want 3", got)
		}
		subs[1].Close(ReasonGone)
		subs = append(subs, subscribe(t, e, "", "second", "full"))
		if got := e.Count("full"); got != 3 {
			t.Errorf("%d subscribers", got)
		}
		for _, s := range subs {
			s.Close(ReasonGone)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := e.Stats().Keys; got != 0 {
			t.Errorf("%d keys are left after refusals", got)
		}
	})
}

func TestMaxKeys(t *testing.T) {
	e := start(t, Options{MaxKeys: 10})
	var made, refused atomic.Int64
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for n := range 20 {
				_, err := e.Publish(fmt.Sprint(worker, " ", n), text("x"))
				if err == nil {
					made.Add(1)
				} else {
					wantLimit(t, err, "maxKeys", 10, fmt.Sprint(worker, " ", n))
					refused.Add(1)
				}
			}
		})
	}
	all.Wait()
	if made.Load() != 10 || refused.Load() != 150 || e.Stats().Keys != 10 {
		t.Errorf("%d keys made, %d refused, %+v", made.Load(), refused.Load(), e.Stats())
	}
	_, err := e.Subscribe(new(Subscriber), []string{"another"}, "", new(countSink))
	wantLimit(t, err, "maxKeys", 10, "another")
	if e.CountAll() != 0 {
		t.Errorf("%d subscribers", e.CountAll())
	}
	for k := range e.allKeys() { // those that exist go on
		if _, err := e.Publish(k.name, text("x")); err != nil {
			t.Error(err)
		}
	}
}

// TestMaxKeysIsExact: the last place is taken between the check and the insert.
func TestMaxKeysIsExact(t *testing.T) {
	var e *Engine
	e = start(t, Options{MaxKeys: 1, KeyRule: func(name string) *KeyOptions {
		if name == "late" {
			publish(t, e, "first", 1)
		}
		return nil
	}})
	_, err := e.Publish("late", text("x"))
	wantLimit(t, err, "maxKeys", 1, "late")
	if got := e.Stats().Keys; got != 1 {
		t.Errorf("%d keys", got)
	}
}

func TestNoKeys(t *testing.T) {
	e := start(t, Options{})
	if _, err := e.Subscribe(new(Subscriber), nil, "", new(countSink)); !errors.Is(err, ErrNoKeys) {
		t.Error(err)
	}
}

// TestBorrowedName: names may be memory that the caller reuses.
func TestBorrowedName(t *testing.T) {
	e := start(t, Options{MaxKeys: 1})
	name := []byte("name")
	borrowed := func() string { return string(name) }
	if _, err := e.Publish(borrowed(), text("x")); err != nil {
		t.Fatal(err)
	}
	copy(name, "mane")
	_, err := e.Publish(borrowed(), text("x"))
	copy(name, "amen")
	wantLimit(t, err, "maxKeys", 1, "mane")
	if top := e.Top(1); len(top) != 1 || top[0].Key != "name" {
		t.Errorf("%+v", top)
	}
}

func TestCounts(t *testing.T) {
	e := start(t, Options{})
	var subs []*Subscriber
	for i := range 600 { // more than two segments
		s := subscribe(t, e, "", "all", fmt.Sprint(i%3))
		subs = append(subs, s)
	}
	if e.Count("all") != 600 || e.Count("1") != 200 || e.CountAll() != 1200 || e.Count("none") != 0 {
		t.Errorf("counts %d, %d, %d, %d", e.Count("all"), e.Count("1"), e.CountAll(), e.Count("none"))
	}
	if top := e.Top(2); len(top) != 2 || top[0].Key != "all" || top[0].Subscribers != 600 || top[1].Key != "0" {
		t.Errorf("top %+v", top)
	}
	if got := len(e.Top(-1)) + len(e.Top(0)); got != 0 {
		t.Errorf("%d of no keys", got)
	}
	for i, s := range subs { // right at once
		s.Close(ReasonGone)
		if got := e.Count("all"); got != 599-i {
			t.Fatalf("%d subscribers after %d have left", got, i+1)
		}
		s.Close(ReasonGone)
		s.Close(ReasonError)
	}
	if e.CountAll() != 0 {
		t.Errorf("%d subscribers are left", e.CountAll())
	}
}

// TestHostileValues: what no caller should give makes no panic, in a waker least of all.
func TestHostileValues(t *testing.T) {
	e := start(t, Options{Key: KeyOptions{History: 8, HistoryBytes: 1 << 20, HistoryTTL: math.MaxInt64, MaxSubscribers: 1, Slow: 99}})
	for i := range 100 {
		publish(t, e, fmt.Sprint(i), 1)
	}
	for _, n := range []int{math.MaxInt, math.MaxInt / 2, 100} {
		if got := len(e.Top(n)); got != 100 {
			t.Errorf("Top(%d): %d keys", n, got)
		}
	}
	if got := len(e.Top(math.MinInt)); got != 0 {
		t.Errorf("%d keys", got)
	}
	for _, name := range []string{Policy(99).String(), Reason(99).String(), GapReason(99).String()} {
		if name != "unknown" {
			t.Error(name)
		}
	}
	for _, r := range []Reason{0, 99} {
		var s Subscriber
		if _, err := e.Subscribe(&s, []string{"0"}, "", new(countSink)); err != nil {
			t.Fatal(err)
		}
		for range 20 { // laps it
			publish(t, e, "0", 1)
		}
		if it, ok := s.Next(true); !ok || it.Gap == nil || it.Gap.Policy != Skip {
			t.Errorf("%+v", it)
		}
		if !s.Close(r) || s.Closing() != ReasonError || e.Count("0") != 0 {
			t.Errorf("Close(%d): %v", r, s.Closing())
		}
	}
}

func TestTopOfManyKeys(t *testing.T) {
	e := start(t, Options{})
	for i := range 1000 {
		p := publish(t, e, fmt.Sprintf("%03d", i), 1+i%2)
		if i%100 == 7 {
			subscribe(t, e, "", fmt.Sprintf("%03d", i))
		}
		if got := e.Top(1000)[0].Epoch; i == 0 && got+"-1" != p.String() {
			t.Errorf("epoch %q of %v", got, p)
		}
	}
	top := e.Top(12)
	if len(top) != 12 || top[0].Key != "007" || top[9].Key != "907" || top[10].Key != "000" || top[0].Events != 2 || top[0].HistoryBytes != 2 {
		t.Errorf("%+v", top)
	}
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

// TestCloseKeyDuringSubscribe: a subscriber can be closed by its first key while Subscribe enters the next one.
func TestCloseKeyDuringSubscribe(t *testing.T) {
	t.Run("between two keys", func(t *testing.T) {
		var e *Engine
		closed := false
		e = start(t, Options{KeyRule: func(name string) *KeyOptions {
			if name == "second" && !closed { // the lookup of the second key is the moment
				closed = e.CloseKey("first") == 1
			}
			return nil
		}})
		s := subscribe(t, e, "", "first", "second", "third")
		if !closed || s.Closing() != ReasonClosed {
			t.Errorf("closed %v, reason %v", closed, s.Closing())
		}
		if got := e.CountAll(); got != 0 {
			t.Errorf("%d counted after the close", got)
		}
	})
	t.Run("refused after it", func(t *testing.T) {
		var e *Engine
		e = start(t, Options{MaxKeys: 2, KeyRule: func(name string) *KeyOptions {
			if name == "second" {
				e.CloseKey("first")
			}
			return nil
		}})
		_, err := e.Subscribe(new(Subscriber), []string{"first", "second", "third"}, "", new(countSink))
		wantLimit(t, err, "maxKeys", 2, "third")
		if got := e.CountAll(); got != 0 {
			t.Errorf("%d counted after the refusal", got)
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
