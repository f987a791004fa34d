package engine

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"fanfare/internal/test/race"
)

// open subscribes without an id, leaves at once, and returns the id with which the client comes back.
func open(t *testing.T, e *Engine, keys ...string) (id string) {
	t.Helper()
	s := subscribe(t, e, "", keys...)
	defer s.Close(ReasonGone)
	return string(s.Positions(nil))
}

// endLife ends the life of a key that has events.
func endLife(t *testing.T, e *Engine, name string) {
	t.Helper()
	k := mustKey(t, e, name)
	k.expire(e, time.Now().UnixNano()+1, false)
	if !k.retire(e) {
		t.Fatalf("key %q is in use", name)
	}
	e.remove(k)
}

// TestOpeningPosition: a client was alone on keys that never had an event, and comes back (I12).
func TestOpeningPosition(t *testing.T) {
	for _, c := range []struct {
		name string
		keys []string // the keys of the client
		back []string // the keys with which it comes back, if they are others
		away func(t *testing.T, e *Engine)
		want []string
	}{
		{"nothing happened", []string{"a"}, nil, func(*testing.T, *Engine) {}, nil},
		{"others came and left", []string{"a"}, nil, func(t *testing.T, e *Engine) { open(t, e, "a"); open(t, e, "b", "a") }, nil},
		{"another came and is there", []string{"a"}, nil, func(t *testing.T, e *Engine) { subscribe(t, e, "", "a") }, nil},
		{"events", []string{"a"}, nil, func(t *testing.T, e *Engine) { publish(t, e, "a", 3) }, numbers(1, 3)},
		{"more events than are kept", []string{"a"}, nil, func(t *testing.T, e *Engine) { publish(t, e, "a", 10) },
			append([]string{"gap a history 2"}, numbers(3, 10)...)},
		{"a life with events", []string{"a"}, nil, func(t *testing.T, e *Engine) {
			publish(t, e, "a", 1)
			endLife(t, e, "a")
			publish(t, e, "a", 2)
		}, []string{"gap a epoch -1", "1", "2"}},
		{"a life with events, then one without", []string{"a"}, nil, func(t *testing.T, e *Engine) {
			publish(t, e, "a", 1)
			endLife(t, e, "a")
			open(t, e, "a")
		}, []string{"gap a epoch -1"}},
		{"lives of other keys", []string{"a"}, nil, func(t *testing.T, e *Engine) {
			for i := range 500 {
				name := fmt.Sprint("other ", i)
				publish(t, e, name, 1)
				endLife(t, e, name)
			}
		}, nil},
		{"too many lives of other keys", []string{"a"}, nil, func(t *testing.T, e *Engine) {
			for i := range 2*minRetiredNames + 1 {
				name := fmt.Sprint("other ", i)
				publish(t, e, name, 1)
				endLife(t, e, name)
			}
		}, []string{"gap a epoch -1"}},
		{"a broadcast", []string{"a"}, nil, func(t *testing.T, e *Engine) { publishAll(t, e, "all") }, []string{"gap a epoch -1"}},
		{"a broadcast, then an event", []string{"a"}, nil, func(t *testing.T, e *Engine) {
			publishAll(t, e, "all")
			publish(t, e, "a", 1)
		}, []string{"gap a epoch -1", "1"}},
		{"an event of another key", []string{"a", "kept"}, nil, func(t *testing.T, e *Engine) { publish(t, e, "kept", 1) }, []string{"1"}},
		{"a broadcast that another key has", []string{"a", "kept"}, nil, func(t *testing.T, e *Engine) { publishAll(t, e, "all") }, []string{"all"}},
		{"a broadcast that both keys have", []string{"a", "kept"}, nil, func(t *testing.T, e *Engine) {
			subscribe(t, e, "", "a")
			publishAll(t, e, "all")
		}, []string{"all"}},
		{"a broadcast that another key has lost", []string{"a", "kept"}, nil, func(t *testing.T, e *Engine) {
			publishAll(t, e, "all")
			publish(t, e, "kept", 8)
		}, append([]string{"gap a epoch -1", "gap kept history 1"}, numbers(1, 8)...)},
		{"events of several keys", []string{"a", "b"}, nil, func(t *testing.T, e *Engine) { publish(t, e, "b", 2) }, numbers(1, 2)},
		{"another order", []string{"a", "b"}, []string{"b", "a"}, func(t *testing.T, e *Engine) { publish(t, e, "a", 1) }, numbers(1, 1)},
		{"another order, a life with events", []string{"a", "b"}, []string{"b", "a"}, func(t *testing.T, e *Engine) {
			publish(t, e, "a", 1)
			endLife(t, e, "a")
		}, []string{"gap a epoch -1"}},
		{"another order, another key's life ended", []string{"a", "lost"}, []string{"lost", "a"}, func(t *testing.T, e *Engine) {
			endLife(t, e, "lost")
		}, []string{"gap a epoch -1", "gap lost epoch -1"}},
		{"to a key that existed before", []string{"a"}, []string{"kept"}, func(t *testing.T, e *Engine) { publish(t, e, "kept", 1) },
			[]string{"gap kept epoch -1", "1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := start(t, Options{MaxKeys: 4 * minRetiredNames, Key: KeyOptions{History: 8}})
			subscribe(t, e, "", "kept")
			publish(t, e, "lost", 1)
			id := open(t, e, c.keys...)
			if n := e.Stats().Keys; n != 2 {
				t.Fatalf("%d keys exist, want kept and lost only", n)
			}
			c.away(t, e)
			if c.back == nil {
				c.back = c.keys
			}
			result, got := resumed(t, e, id, c.back...)
			slices.Sort(got)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if gap := strings.Contains(fmt.Sprint(c.want), "gap"); gap != (result == ResumedGap) {
				t.Errorf("the result is %v", result)
			}
		})
	}
}

// TestOpeningPositionOfOthers: an opening position that this engine has not issued shows nothing.
func TestOpeningPositionOfOthers(t *testing.T) {
	e, other := start(t, Options{}), start(t, Options{})
	for _, id := range []string{open(t, other, "a"), "0-0", "5-0", Position{e.lastEpoch.Load() + 1000, 0}.String(), Position{e.firstEpoch, 0}.String()} {
		if result, got := resumed(t, e, id, "a"); result != ResumedGap || len(got) != 1 {
			t.Errorf("%s: %v, %v", id, result, got)
		}
	}
}

func TestRetiredNames(t *testing.T) {
	r := retiredNames{capacity: 3}
	for i := range uint64(9) {
		r.add(100+i, 10+i)
	}
	// 100 to 102 are forgotten, and their largest epoch was 12.
	for _, c := range []struct {
		name, epoch uint64
		want        bool
	}{
		{5, 12, true}, {5, 13, false}, {100, 12, true}, {100, 13, false}, {103, 13, true}, {103, 14, false}, {108, 18, true}, {108, 19, false},
	} {
		if got := r.since(c.name, c.epoch); got != c.want {
			t.Errorf("name %d since %d: %v", c.name, c.epoch, got)
		}
	}
	for range 100 { // the same name again takes no more room
		r.add(108, 20)
	}
	if len(r.newer) != 3 || len(r.older) != 3 || !r.since(108, 20) || r.since(5, 13) {
		t.Errorf("%+v", &r)
	}
}

// TestKeyFlood: clients subscribe to ever new names and leave. Nothing remains.
func TestKeyFlood(t *testing.T) {
	e := start(t, Options{})
	flood := func(from, to int) {
		for i := from; i < to; i += 16 {
			keys := make([]string, 16)
			for j := range keys {
				keys[j] = fmt.Sprintf("%0960d", i+j)
			}
			id := open(t, e, keys...)
			if s := e.Stats(); s.Keys != 0 || s.KeyBytes != 0 {
				t.Fatalf("%+v after the last subscriber has left", s)
			}
			if i%1600 == 0 { // comes back, and leaves again
				if result, got := resumed(t, e, id, keys...); result != ResumedExact || got != nil {
					t.Fatalf("%v, %v", result, got)
				}
			}
		}
	}
	flood(0, 16_000)
	before := heapInUse()
	keys := 300_000
	if race.Enabled { // the run without it sees what is small
		keys = 30_000
	}
	flood(16_000, 16_000+keys)
	if grown := heapInUse() - before; grown > 4<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
}

// heapInUse returns the bytes in use after a collection.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestKeysForPublishers: subscribers cannot take the last keys, nor the last bytes of names.
func TestKeysForPublishers(t *testing.T) {
	try := func(e *Engine, name string) error {
		_, err := e.Subscribe(new(Subscriber), []string{name}, "", new(countSink))
		return err
	}
	e := start(t, Options{MaxKeys: 10})
	for i := range 8 {
		subscribe(t, e, "", fmt.Sprint(i))
	}
	wantLimit(t, try(e, "8"), "maxSubscriberKeys", 8, "8")
	publish(t, e, "8", 1)
	publish(t, e, "9", 1)
	for _, name := range []string{"0", "8"} { // they exist
		if err := try(e, name); err != nil {
			t.Error(err)
		}
	}
	wantLimit(t, try(e, "10"), "maxKeys", 10, "10")
	e.Reconfigure(Options{MaxKeys: 20, MaxSubscriberKeys: 11})
	if err := try(e, "10"); err != nil {
		t.Error(err)
	}
	wantLimit(t, try(e, "11"), "maxSubscriberKeys", 11, "11")

	e = start(t, Options{KeyTotalBytes: 100})
	name := func(first string, n int) string { return first + strings.Repeat("x", n-1) }
	subscribe(t, e, "", name("a", 50), name("b", 25))
	wantLimit(t, try(e, "c"), "keyTotalBytes", 75, "c")
	publish(t, e, name("d", 20), 1)
	_, err := e.Publish(name("e", 6), text("x"))
	wantLimit(t, err, "keyTotalBytes", 100, name("e", 6))
	publish(t, e, name("f", 5), 1)
	if s := e.Stats(); s.Keys != 4 || s.KeyBytes != 100 {
		t.Errorf("%+v", s)
	}
	endLife(t, e, name("f", 5))
	if s := e.Stats(); s.Keys != 3 || s.KeyBytes != 95 {
		t.Errorf("%+v", s)
	}
}
