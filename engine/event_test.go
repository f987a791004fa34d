package engine

import (
	"errors"
	"math"
	"strings"
	"testing"
	"unsafe"
)

func TestSetPositionAfterRetries(t *testing.T) {
	d := newDraft(withIDRoom("event: a\nid: ", "\ndata: x\n\n"), 1, 0)
	// Like retries after a failed CAS: other sequences, another key's epoch, longer and shorter texts.
	for _, p := range []Position{{1, 9}, {1, 10}, {1 << 60, 1<<64 - 1}, {1, 99}, {2, 1}} {
		d.setPosition(p)
		want := "event: a\nid: " + p.String() + "\ndata: x\n\n"
		if got := string(d.ev.Bytes()); got != want {
			t.Errorf("position %v: %q, want %q", p, got, want)
		}
		at, n := d.ev.ID()
		if got := string(d.ev.Bytes()[at : at+n]); got != p.String() || d.ev.Seq() != p.Seq {
			t.Errorf("id %q and sequence %d, want %v", got, d.ev.Seq(), p)
		}
	}
}

func TestSetPositionAtTheEdges(t *testing.T) {
	p := Position{36, 5}
	for _, c := range []struct {
		f        Frame
		want     string
		at, size int
	}{
		{withIDRoom("", "x"), "10-5x", 0, 4},
		{withIDRoom("x", ""), "x10-5", 1, 4},
		{text("x"), "x", -1, 0},
		{Frame{Bytes: []byte("x"), IDAt: -9, IDLen: 4}, "x", -1, 0},
		{withID("mine"), "id: mine\n\n", 4, 4},
	} {
		d := newDraft(c.f, 1, 0)
		d.setPosition(p)
		at, size := d.ev.ID()
		if got := string(d.ev.Bytes()); got != c.want || at != c.at || size != c.size {
			t.Errorf("%q with id %d+%d, want %q with %d+%d", got, at, size, c.want, c.at, c.size)
		}
	}
}

func TestPublishCopiesTheFrame(t *testing.T) {
	e := start(t, Options{})
	s := subscribe(t, e, "", "k")
	for _, f := range []Frame{text("abc"), withIDRoom("a", "bc")} {
		if _, err := e.Publish("k", f); err != nil {
			t.Fatal(err)
		}
		clear(f.Bytes)
	}
	if got := strings.Join(drain(s), " "); strings.Contains(got, "\x00") {
		t.Errorf("the engine kept the caller's bytes: %q", got)
	}
}

func TestPublishRefusesFrames(t *testing.T) {
	e := start(t, Options{})
	for _, f := range []Frame{
		{},
		{IDAt: -1},
		{Bytes: []byte("abc"), IDAt: 4},
		{Bytes: []byte("abc"), IDAt: math.MaxInt, IDLen: 1},
		{Bytes: []byte("abc"), IDAt: math.MaxInt, IDLen: math.MaxInt},
		{Bytes: []byte("abc"), IDAt: 1, IDLen: math.MaxInt},
		{Bytes: []byte("abc"), IDAt: 1, IDLen: math.MinInt},
		{Bytes: []byte("abc"), IDAt: 1, IDLen: 3},
		{Bytes: []byte("abc"), IDAt: 1, IDLen: -1},
		{Bytes: make([]byte, 1<<17), IDAt: 0, IDLen: maxID + 1},
	} {
		if _, err := e.Publish("k", f); !errors.Is(err, ErrFrame) {
			t.Errorf("Publish of %d bytes, id %d+%d: %v", len(f.Bytes), f.IDAt, f.IDLen, err)
		}
		if _, _, err := e.PublishAll(f); !errors.Is(err, ErrFrame) {
			t.Errorf("PublishAll of %d bytes, id %d+%d: %v", len(f.Bytes), f.IDAt, f.IDLen, err)
		}
	}
	if _, err := e.Publish("k", Frame{Bytes: make([]byte, 1<<17), IDAt: 0, IDLen: maxID}); err != nil {
		t.Error(err)
	}
	if n := e.Stats().Keys; n != 1 {
		t.Errorf("%d keys, want only the one of the last publish", n)
	}
}

// TestSizes checks the size budgets of the structs of which there may be a million.
func TestSizes(t *testing.T) {
	for _, c := range []struct {
		name       string
		got, limit uintptr
	}{
		{"Event", unsafe.Sizeof(Event{}), eventSize},
		{"key", unsafe.Sizeof(key{}), 96}, // a size class of the allocator
		{"ring", unsafe.Sizeof(ring{}), 48},
		{"segment", unsafe.Sizeof(segment{}), 64},
		{"cursor", unsafe.Sizeof(cursor{}), 48},
		{"Subscriber", unsafe.Sizeof(Subscriber{}), 136},
		{"Item", unsafe.Sizeof(Item{}), 40},
	} {
		if c.got > c.limit {
			t.Errorf("%s has %d bytes, the budget is %d", c.name, c.got, c.limit)
		}
	}
	if unsafe.Sizeof(Event{}) != eventSize {
		t.Errorf("an Event has %d bytes: the allocation classes assume %d", unsafe.Sizeof(Event{}), eventSize)
	}
	// The fields of a key that a publisher reads are in its first cache line.
	var k key
	if end := unsafe.Offsetof(k.segments) + unsafe.Sizeof(k.segments); end > 64 {
		t.Errorf("key.segments ends at byte %d", end)
	}
	// The fields that Notify uses are at the start of a Subscriber.
	var s Subscriber
	if unsafe.Offsetof(s.state) != 0 || unsafe.Offsetof(s.sink) > 16 {
		t.Errorf("Subscriber.state at %d, sink at %d", unsafe.Offsetof(s.state), unsafe.Offsetof(s.sink))
	}
}

func TestNewEventRoom(t *testing.T) {
	for n := range largestClass + 200 {
		ev, b := newEvent(n)
		if len(b) != n || cap(b) != n {
			t.Fatalf("newEvent(%d) has %d bytes of room, capacity %d", n, len(b), cap(b))
		}
		gap := uintptr(unsafe.Pointer(unsafe.SliceData(b))) - uintptr(unsafe.Pointer(ev))
		if n <= largestClass && n > 0 && gap != eventSize {
			t.Fatalf("newEvent(%d): the room is not directly after the Event", n)
		}
	}
}
