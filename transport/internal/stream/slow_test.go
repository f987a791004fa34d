package stream

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"fanfare/engine"
)

type noSink struct{}

func (noSink) Ready() {}

// TestPins: streams come and go at the same and at other events, in any order.
func TestPins(t *testing.T) {
	eng := engine.New(engine.Options{})
	defer eng.Close()
	var sub engine.Subscriber
	if _, err := eng.Subscribe(&sub, []string{"k"}, "", noSink{}); err != nil {
		t.Fatal(err)
	}
	events := make([]*engine.Event, 3)
	var size int64
	for i := range events {
		if _, err := eng.Publish("k", engine.Frame{Bytes: fmt.Appendf(nil, "data: %d\n\n", i)}); err != nil {
			t.Fatal(err)
		}
		it, _ := sub.Next(true)
		events[i] = it.Event
		size += int64(len(it.Event.Bytes()))
	}

	var p pins
	waiting := map[*Stream]bool{}
	streams := make([]*Stream, 30)
	for i := range streams {
		streams[i] = &Stream{current: events[i%len(events)]}
	}
	check := func(wantBytes int64) {
		t.Helper()
		found := 0
		for ev, list := range p.events {
			for i, st := range list {
				if st.current != ev || int(st.pin) != i || !waiting[st] {
					t.Fatalf("stream %d at place %d: event %v, waiting %v", st.pin, i, st.current == ev, waiting[st])
				}
				found++
			}
		}
		if found != len(waiting) || wantBytes >= 0 && p.bytes != wantBytes {
			t.Fatalf("%d streams with %d bytes, want %d with %d", found, p.bytes, len(waiting), wantBytes)
		}
	}
	for range 20 {
		for _, i := range rand.Perm(len(streams)) {
			p.add(streams[i])
			waiting[streams[i]] = true
			check(-1)
		}
		check(size)
		for _, i := range rand.Perm(len(streams)) {
			p.remove(streams[i])
			delete(waiting, streams[i])
			check(-1)
		}
		check(0)
	}
}
