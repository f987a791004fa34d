package redis

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"fanfare/bridge/relay"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
)

// fleetLog is the log of a fleet, which forgets message IDs at once: what is published twice is stored twice.
type fleetLog struct {
	mu     sync.Mutex
	events []relay.Message
	calls  int
	leader int
}

var errLater = errors.New("not confirmed")

// publish stores the messages. Every second call is answered with an error from its second message on, although all are stored.
func (l *fleetLog) publish(_ context.Context, messages []relay.Message) []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	errs := make([]error, len(messages))
	for i, m := range messages {
		l.events = append(l.events, m)
		if l.calls%2 == 1 && i > 0 {
			errs[i] = errLater
		}
	}
	return errs
}

func (l *fleetLog) newest(_ context.Context, _ string, n int) (ids []string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.events[max(len(l.events)-n, 0):] {
		ids = append(ids, m.Event.ID)
	}
	return ids, nil
}

func (l *fleetLog) data() (data []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.events {
		data = append(data, string(m.Event.Data))
	}
	return data
}

func (l *fleetLog) lead(node int) { l.mu.Lock(); defer l.mu.Unlock(); l.leader = node }

// An entry that the log has although its answer was lost is not stored again, and another node that leads goes on after it.
func TestFleetStoresEntriesOnce(t *testing.T) {
	r := startRedis(t)
	names, err := NewNames(nil, []string{"s"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	log := &fleetLog{}
	for node := range 2 {
		eng := engine.New(engine.Options{})
		defer eng.Close()
		b, err := New(Options{
			URL: r.URL(), Names: names, Engine: eng, Timeout: 5 * time.Second, History: func(string) (int, int64) { return 100, 1 << 20 },
			Fleet: &Fleet{
				Leads:   func(string) bool { log.mu.Lock(); defer log.mu.Unlock(); return log.leader == node },
				Publish: log.publish, Again: func(err error) bool { return errors.Is(err, errLater) }, Newest: log.newest,
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		b.Start()
		defer b.Close()
	}
	var want []string
	add := func(n int) {
		t.Helper()
		for range n {
			d := strconv.Itoa(len(want))
			want = append(want, d)
			r.add("s", "data", d)
		}
		eventually.Equal(t, "entries stored", len(want), func() int { return len(log.data()) })
	}
	add(20)
	log.lead(-1) // nobody
	for range 5 {
		d := strconv.Itoa(len(want))
		want = append(want, d)
		r.add("s", "data", d)
	}
	log.lead(1)
	add(10)
	log.lead(0)
	add(10)
	if got := log.data(); !slices.Equal(got, want) {
		t.Errorf("stored %q", got)
	}
}
