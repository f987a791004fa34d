//go:build !race

package engine

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
)

// allocated returns the allocations and the allocated bytes per call of f.
func allocated(runs int, f func()) (allocs float64, bytes uint64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(runs), (after.TotalAlloc - before.TotalAlloc) / uint64(runs)
}

// TestPublishAllocatesOnce: a publish to a key with subscribers makes one allocation.
func TestPublishAllocatesOnce(t *testing.T) {
	e := start(t, Options{Key: KeyOptions{History: 8}})
	stopWakers(e) // so that only the publisher allocates
	for range 300 {
		subscribe(t, e, "", "k")
	}
	publish(t, e, "k", 20)
	for _, n := range []int{20, 100, 200, 500, 1000, 2000, 3000, 4000} {
		for _, f := range []Frame{text(string(make([]byte, n))), withIDRoom("id: ", string(make([]byte, n-4)))} {
			allocs := testing.AllocsPerRun(100, func() {
				if _, err := e.Publish("k", f); err != nil {
					t.Fatal(err)
				}
			})
			if allocs != 1 {
				t.Errorf("%v allocations for a frame of %d bytes, id at %d", allocs, n, f.IDAt)
			}
		}
	}
}

func TestNewEventClasses(t *testing.T) {
	var ev *Event
	wasted := 0
	for _, class := range []int{96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 4864} {
		room := class - eventSize
		if class > 512 {
			room -= mallocHeader
		}
		allocs, size := allocated(2000, func() { ev, _ = newEvent(room) })
		if allocs > 1.1 || size > uint64(class)+16 || size < uint64(class)-16 {
			t.Errorf("newEvent(%d): %.1f allocations of %d bytes, want one of %d", room, allocs, size, class)
		}
		if _, size := allocated(2000, func() { ev, _ = newEvent(room + 1) }); room < largestClass && size < uint64(class)+16 {
			t.Errorf("newEvent(%d) fits in %d bytes", room+1, size)
		}
		wasted = class
	}
	if wasted-eventSize-mallocHeader != largestClass {
		t.Errorf("the largest size class is not tested")
	}
	runtime.KeepAlive(ev)
}

func TestNextAndReleaseAllocateNothing(t *testing.T) {
	e := start(t, Options{})
	s := subscribe(t, e, "", "a", "b")
	var positions [200]byte
	f := text("x")
	with := testing.AllocsPerRun(200, func() {
		if _, err := e.Publish("a", f); err != nil {
			t.Fatal(err)
		}
		for {
			if it, ok := s.Next(true); ok {
				s.Positions(positions[:0])
				s.Unread([]Item{it})
				s.Next(true)
			} else if s.Release() {
				break
			}
		}
		s.state.Store(stateBusy) // as Notify does before it calls Ready
	})
	if with != 1 {
		t.Errorf("%v allocations, want only the one of Publish", with)
	}
}

func TestSubscribeAllocations(t *testing.T) {
	e := start(t, Options{})
	for range 20 { // more than the first sizes of a segment
		subscribe(t, e, "", "k")
	}
	if allocs := joinAndLeave(t, e, "k"); allocs != 0 {
		t.Errorf("%v allocations for a join and a leave", allocs)
	}
}

// joinAndLeave returns the allocations of a subscriber that comes and goes.
func joinAndLeave(t *testing.T, e *Engine, key string) float64 {
	t.Helper()
	subs, sink, keys := make([]Subscriber, 200), new(countSink), []string{key}
	i := 0
	return testing.AllocsPerRun(100, func() {
		if _, err := e.Subscribe(&subs[i], keys, "", sink); err != nil {
			t.Fatal(err)
		}
		subs[i].Close(ReasonGone)
		i++
	})
}

// TestIdleKeysAreSmall: there may be a million keys that nobody is using.
func TestIdleKeysAreSmall(t *testing.T) {
	const keys = 100_000
	names := make([]string, keys)
	for i := range names {
		names[i] = fmt.Sprintf("room.%08d", i)
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	e := start(t, Options{})
	before := heap()
	for _, name := range names {
		if _, err := e.lookup(name, forPublisher); err != nil {
			t.Fatal(err)
		}
	}
	idle := (heap() - before) / keys
	if idle >= 300 {
		t.Errorf("%d bytes per idle key", idle)
	}
	frame := text(string(bytes.Repeat([]byte("x"), 100)))
	for _, name := range names {
		if _, err := e.Publish(name, frame); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d bytes per idle key, %d with one event of 100 bytes", idle, (heap()-before)/keys)
	runtime.KeepAlive(names)
}

// TestApplyAllocatesOnce: Apply allocates like Publish.
func TestApplyAllocatesOnce(t *testing.T) {
	e := startLog(t, Options{Key: KeyOptions{History: 8}}, 1, nil)
	stopWakers(e)
	subscribe(t, e, "", "k")
	seq := uint64(1)
	for _, n := range []int{20, 100, 200, 500, 1000, 2000, 3000, 4000} {
		for _, f := range []Frame{text(string(make([]byte, n))), withIDRoom("id: ", string(make([]byte, n-4)))} {
			for _, all := range []bool{false, true} {
				entry := LogEntry{Key: "k", All: all, Frame: f}
				if all {
					entry.Key = ""
				}
				step := func() {
					seq++
					entry.Seq = seq
					if err := e.Apply(entry); err != nil {
						t.Fatal(err)
					}
				}
				for range 20 { // until the ring has its size
					step()
				}
				if allocs := testing.AllocsPerRun(100, step); allocs != 1 {
					t.Errorf("%v allocations for a frame of %d bytes, id at %d, all %v", allocs, n, f.IDAt, all)
				}
			}
		}
	}
}

func TestNextInLogAllocatesNothing(t *testing.T) {
	e := startLog(t, Options{}, 1, nil)
	stopWakers(e)
	s := subscribe(t, e, "", "a", "b")
	var room [200]byte
	seq := uint64(0)
	f := text("x")
	if allocs := testing.AllocsPerRun(200, func() {
		seq++
		if err := e.Apply(LogEntry{Seq: seq, Key: "a", Frame: f}); err != nil {
			t.Fatal(err)
		}
		s.state.Store(stateBusy)
		for {
			if it, ok := s.Next(true); ok {
				s.Positions(room[:0])
				s.Unread([]Item{it})
				s.Next(true)
			} else if s.Release() {
				break
			}
		}
	}); allocs != 1 {
		t.Errorf("%v allocations, want only the one of Apply", allocs)
	}
	if allocs := joinAndLeave(t, e, "a"); allocs != 1 {
		t.Errorf("%v allocations for a join and a leave, want one", allocs)
	}
}
