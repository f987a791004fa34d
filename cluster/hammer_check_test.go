package cluster_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"fanfare/cluster"
	"fanfare/engine"
)

// truth is what the log had.
type truth struct {
	partitionOf map[uint64]int               // by epoch
	order       map[uint64]int               // of the epochs of a partition
	events      map[uint64]map[uint64]string // data by epoch and sequence; entries that share one are left out
	seqs        map[uint64][]uint64          // ascending
	count       map[string]int               // how often data was stored
	kept        map[string]int               // and is still there
	place       map[string]engine.Position   // where
	replaced    map[engine.Position]bool     // sequences that were used twice within an epoch
	last        map[int]engine.Position      // of each partition
}

func (h *fleetHammer) truth(partitions int) *truth {
	tr := &truth{map[uint64]int{}, map[uint64]int{}, map[uint64]map[uint64]string{}, map[uint64][]uint64{}, map[string]int{}, map[string]int{},
		map[string]engine.Position{}, map[engine.Position]bool{}, map[int]engine.Position{}}
	for p := range partitions {
		var epoch uint64
		for _, e := range h.broker.History(p) {
			if e.Message.Op == cluster.OpEpoch {
				if e.Message.Begun == 0 {
					epoch = e.Message.Epoch
					tr.partitionOf[epoch], tr.order[epoch], tr.events[epoch] = p, len(tr.order), map[uint64]string{}
				}
				continue
			}
			data := text(e.Message.Frame)
			at := engine.Position{Epoch: epoch, Seq: e.Seq}
			tr.count[data]++
			if !e.Gone {
				tr.kept[data]++
			}
			tr.place[data] = at
			if _, ok := tr.events[epoch][e.Seq]; ok {
				tr.replaced[at] = true
			}
			tr.events[epoch][e.Seq] = data
			tr.last[p] = at
		}
	}
	for epoch, events := range tr.events {
		for seq := range events {
			tr.seqs[epoch] = append(tr.seqs[epoch], seq)
		}
		slices.Sort(tr.seqs[epoch])
	}
	return tr
}

func keyOf(data string) string {
	key, _, _ := strings.Cut(data, "/")
	return key
}

// check reconciles everything.
func (h *fleetHammer) check(partitions int) {
	tr := h.truth(partitions)
	for data, results := range h.published.results {
		mayBe, must := 0, 0
		for _, r := range results {
			switch {
			case r.Err == nil && !r.Queued:
				must = 1
				mayBe = 1
			case r.Queued, errors.Is(r.Err, cluster.ErrUnknown):
				mayBe = 1
			}
		}
		// What was lost when the log went back may be stored again.
		if tr.count[data] < must || tr.count[data] > 0 && mayBe == 0 || tr.kept[data] > 1 {
			h.t.Errorf("%s was stored %d times, of which %d are there, want %d to %d: %+v", data, tr.count[data], tr.kept[data], must, mayBe, results)
		}
	}
	at := map[engine.Position]string{}
	for i, c := range h.clients {
		c.check(i, tr, at)
	}
	if n := len(tr.replaced); n > 0 { // by messages that were on their way when the log went back; nobody got both
		h.t.Logf("%d sequences were used twice within an epoch", n)
	}
}

// check reconciles what a client got. at has the event of each position that any client got.
func (c *hammerClient) check(number int, tr *truth, at map[engine.Position]string) {
	seen := map[string]bool{}
	last := map[int]engine.Position{} // of each partition
	gap := map[int]bool{}             // everything may have been lost since
	failed := false
	fail := func(i int, format string, args ...any) {
		c.h.t.Helper()
		if failed {
			return // what follows comes from the first one
		}
		failed = true
		from := max(0, i-8)
		c.h.t.Errorf("client %d of %v: %s\nrecords: %+v", number, c.keys, fmt.Sprintf(format, args...), c.records[from:min(len(c.records), i+3)])
	}
	missing := func(i, p int, through uint64) {
		before := last[p]
		if gap[p] || before.Epoch == 0 {
			return
		}
		seqs := tr.seqs[before.Epoch]
		from, _ := slices.BinarySearch(seqs, before.Seq+1)
		for _, seq := range seqs[from:] {
			if seq >= through {
				return
			}
			data := tr.events[before.Epoch][seq]
			key := keyOf(data)
			if (key == "*" || slices.Contains(c.keys, key)) && !c.accounted(tr, key, engine.Position{Epoch: before.Epoch, Seq: seq}) {
				fail(i, "lost %s at %s-%d, without a gap", data, engine.Position{Epoch: before.Epoch}, seq)
				return
			}
		}
	}
	for i, r := range c.records {
		if r.beyond {
			clear(seen)
			clear(last)
		}
		if r.all {
			for p := range len(tr.last) {
				gap[p] = true
			}
		}
		if g := r.lost; g != nil { // a gap that reaches into another epoch
			p, ok := tr.partitionOf[g.Next.Epoch]
			gap[p] = gap[p] || ok && tr.order[g.Next.Epoch] > tr.order[last[p].Epoch]
		}
		if r.all || r.lost != nil {
			continue
		}
		p, ok := tr.partitionOf[r.at.Epoch]
		if !ok {
			fail(i, "%v is of no epoch", r.at)
			continue
		}
		if r.data != "" {
			key := keyOf(r.data)
			if seen[r.data] && tr.count[r.data] < 2 {
				fail(i, "got %s twice", r.data)
			}
			seen[r.data] = true
			if other, ok := at[r.at]; ok && other != r.data {
				fail(i, "got %s at %v, where another client got %s", r.data, r.at, other)
			}
			at[r.at] = r.data
			if tr.events[r.at.Epoch][r.at.Seq] != r.data && !tr.replaced[r.at] {
				fail(i, "got %s at %v, where the log had %q", r.data, r.at, tr.events[r.at.Epoch][r.at.Seq])
			}
			if key != "*" && !slices.Contains(c.keys, key) {
				fail(i, "got %s of a key that it has not subscribed to", r.data)
			}
			before := last[p]
			if before.Epoch == r.at.Epoch && r.at.Seq <= before.Seq || tr.order[r.at.Epoch] < tr.order[before.Epoch] {
				fail(i, "got %v after %v", r.at, before)
			}
			if before.Epoch == r.at.Epoch {
				missing(i, p, r.at.Seq)
			} else if !gap[p] && before.Epoch != 0 {
				fail(i, "got %v after %v without a gap", r.at, before)
			}
		}
		last[p], gap[p] = r.at, false
	}
	// Everything up to the end must have come.
	for p, end := range tr.last {
		if last[p].Epoch == end.Epoch {
			missing(len(c.records), p, end.Seq+1)
		}
	}
}

// before reports whether a position comes before another one of its partition, or is the same.
func (tr *truth) before(a, b engine.Position) bool {
	x, y := tr.order[a.Epoch], tr.order[b.Epoch]
	return tr.partitionOf[a.Epoch] == tr.partitionOf[b.Epoch] && (x < y || x == y && a.Seq <= b.Seq)
}

// accounted reports whether a gap covers an event. A gap of the first key may be of broadcasts.
func (c *hammerClient) accounted(tr *truth, key string, at engine.Position) bool {
	for _, r := range c.records {
		g := r.lost
		if g == nil || !tr.before(at, g.Next) || g.Key != key && (key != "*" || g.Key != c.keys[0]) {
			continue
		}
		covered := true
		for part := range strings.SplitSeq(g.After, ",") {
			if after, ok := engine.ParsePosition(part); ok && tr.before(at, after) {
				covered = false
			}
		}
		if covered {
			return true
		}
	}
	return false
}
