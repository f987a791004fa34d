package stream

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestSubjects: each stream counts once and is given back once, whether it began or was refused by another limit; nothing stays.
func TestSubjects(t *testing.T) {
	var table subjects
	stream := func(name string) *Stream { return &Stream{details: &details{subject: name, place: notBegun}} }
	var all []*Stream
	for range 3 {
		st := stream("u1")
		if limit := table.reserve(st.details, 3); limit != "" || !table.launch(st) {
			t.Fatal(limit)
		}
		all = append(all, st)
	}
	over := stream("u1")
	if limit := table.reserve(over.details, 3); limit != LimitSubject || over.details.counted != nil {
		t.Errorf("%q", limit)
	}
	table.remove(over.details) // refused: nothing to take back
	if limit := table.reserve(stream("u2").details, 3); limit != "" {
		t.Error("another subject is refused")
	}
	if table.reserve(stream("").details, 1) != "" || table.reserve(nil, 1) != "" || table.reserve(stream("").details, 1) != "" {
		t.Error("a stream without a subject is limited")
	}
	table.remove(all[0].details)
	if got := table.end("u1"); len(got) != 2 || slices.Contains(got, all[0]) {
		t.Errorf("%v", got)
	}
	// The grant was asked for before the subject's streams were ended.
	late := stream("u1")
	late.details.asked = time.Now().Add(-time.Second)
	if limit := table.reserve(late.details, 3); limit != "" {
		t.Error("there was room")
	}
	if table.launch(late) {
		t.Error("the stream slips through")
	}
	for _, st := range []*Stream{all[1], late, all[2]} {
		table.remove(st.details)
	}
	if table.known["u1"] != nil || len(table.known) != 1 {
		t.Errorf("%v", table.known)
	}
}

// TestSubjectsHammer: whoever comes and goes at once, no subject has more streams than the limit, and each has its place in the list.
func TestSubjectsHammer(t *testing.T) {
	const limit = 5
	var table subjects
	var running sync.WaitGroup
	names := []string{"a", "b", "c"}
	for range 8 {
		running.Go(func() {
			var mine []*Stream
			for range 3000 {
				if len(mine) > 0 && rand.N(2) == 0 {
					i := rand.N(len(mine))
					table.remove(mine[i].details)
					mine = slices.Delete(mine, i, i+1)
					continue
				}
				st := &Stream{details: &details{subject: names[rand.N(len(names))], place: notBegun, asked: time.Now()}}
				if table.reserve(st.details, limit) != "" {
					continue
				}
				if rand.N(4) == 0 { // another limit refuses it
					table.remove(st.details)
					continue
				}
				table.launch(st)
				mine = append(mine, st)
				if n := len(table.end(names[rand.N(len(names))])); n > limit {
					t.Errorf("%d streams", n)
				}
			}
			for _, st := range mine {
				table.remove(st.details)
			}
		})
	}
	running.Wait()
	if len(table.known) != 0 {
		t.Errorf("%v is left", table.known)
	}
}
