package engine

import (
	"errors"
	"fmt"
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
		t.Errorf("error %v, want the limit %s of %d for %q", err, limit, value, key)
	} else if !strings.Contains(err.Error(), limit) || !strings.Contains(err.Error(), key) {
		t.Errorf("error %q does not mention %s and %q", err, limit, key)
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
		t.Errorf("%d keys created, %d refused, %+v", made.Load(), refused.Load(), e.Stats())
	}
	_, err := e.Subscribe(new(Subscriber), []string{"another"}, "", new(countSink))
	wantLimit(t, err, "maxKeys", 10, "another")
	if e.CountAll() != 0 {
		t.Errorf("%d subscribers", e.CountAll())
	}
	for k := range e.allKeys() { // existing keys still work
		if _, err := e.Publish(k.name, text("x")); err != nil {
			t.Error(err)
		}
	}
}

func TestNoKeys(t *testing.T) {
	e := start(t, Options{})
	if _, err := e.Subscribe(new(Subscriber), nil, "", new(countSink)); !errors.Is(err, ErrNoKeys) {
		t.Error(err)
	}
}
