package watch

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fanfare/chaos/record"
)

// Report is the verdict on a Swarm.
type Report struct {
	Subscribers int
	Streams     int64            // that were opened
	Failed      int64            // attempts that did not get a stream
	Events      int64            // received
	Reasons     map[string]int64 // gap events by reason
	Covered     int64            // confirmed events that did not arrive, and that gaps account for
	Late        int64            // unconfirmed events that arrived after their turn, which is allowed
	Repeated    int64            // events that came twice because the log, or its memory of repetitions, was lost in between; allowed
	Counts      map[string]int   // problems by kind
	Problems    []Problem        // some of each kind
	IDs         []ID             // what ids stand for, if they mean the same to all subscribers
}

// judge compares what the subscribers noted with the record. They must have ended.
func (s *Swarm) judge(p record.Published) *Report {
	r := &Report{Subscribers: len(s.subscribers), Streams: s.streams.Load(), Failed: s.failed.Load(), Events: s.events.Load(), Reasons: map[string]int64{}}
	for _, c := range s.subscribers {
		for i := range c.accounts {
			c.judge(&c.accounts[i], p[c.accounts[i].key], r)
		}
		for reason, n := range c.reasons {
			r.Reasons[reason] += n
		}
	}
	r.IDs = s.ids.list()
	r.Counts, r.Problems = s.problems.counts, s.problems.list
	return r
}

func (c *subscriber) judge(a *account, numbers []record.Number, r *Report) {
	problem := func(kind, format string, args ...any) {
		c.s.problems.add(kind, "subscriber %d, key %s: %s", c.index, a.key, fmt.Sprintf(format, args...))
	}
	of := func(n int64) record.Number {
		if n > int64(len(numbers)) {
			return record.Number{Outcome: record.Refused}
		}
		return numbers[n-1]
	}
	// expected: it was confirmed, and it was published while the subscriber had a place in the log.
	expected := func(n int64) bool { return of(n).Outcome == record.Stored && of(n).Began >= c.opened && c.opened > 0 }

	later := map[int64]int{}
	for _, g := range a.again {
		later[g.n]++
	}

	// Numbers that were left out.
	open := map[int64]bool{}
	for _, h := range a.holes {
		missing, first := int64(0), int64(0)
		for n := h.from; n <= h.to; n++ {
			open[n] = true
			if !expected(n) {
				continue
			}
			if later[n] > 0 {
				problem(Order, "event %d arrived after its turn", n)
				continue
			}
			if missing++; first == 0 {
				first = n
			}
		}
		missed, known := h.missed()
		switch {
		case missing == 0:
		case len(h.gaps) == 0:
			problem(Lost, "event %d (id %s) and %d more between %d and %d, without a gap", first, of(first).ID, missing-1, h.from-1, h.to+1)
		case known && missing > missed:
			problem(Miscount, "%d events are missing from %d on, and the gap says %d", missing, first, missed)
		default:
			r.Covered += missing
		}
	}

	// Numbers whose turn was over.
	for _, g := range a.again {
		what := of(g.n)
		unsure := what.Outcome == record.Unknown || what.Outcome == record.Queued || what.Outcome == record.Pending
		switch {
		case open[g.n] && unsure:
			delete(open, g.n)
			r.Late++
		case what.Stale, g.epoch && (what.Again || unsure):
			r.Repeated++
		case open[g.n]: // told above
			delete(open, g.n)
		default:
			problem(Duplicate, "event %d arrived again", g.n)
		}
	}

	// Numbers that must not have arrived, and those that must have.
	if a.next-1 > int64(len(numbers)) {
		problem(Invented, "event %d, and only %d were published", a.next-1, len(numbers))
	}
	for n := int64(1); n < min(a.next, int64(len(numbers))+1); n++ {
		if of(n).Outcome == record.Refused && !open[n] {
			problem(Invented, "event %d was refused, and arrived", n)
		}
	}
	for n := int64(len(numbers)); n >= a.next; n-- {
		if expected(n) {
			problem(Behind, "event %d is the last that was confirmed, and the next would be %d", n, a.next)
			break
		}
	}
	if c.opened == 0 {
		problem(Behind, "no stream at all")
	}
}

// missed is the sum of what the gaps around the hole say; known is false if one of them cannot say it.
func (h *hole) missed() (n int64, known bool) {
	for _, g := range h.gaps {
		if g.missed < 0 {
			return 0, false
		}
		n += g.missed
	}
	return n, true
}

// checkIDs compares the ids that subscribers have seen with those that publishers were answered.
func (r *Report) checkIDs(p record.Published) {
	if len(r.IDs) == 0 {
		return
	}
	seen := map[string]ID{}
	for _, id := range r.IDs {
		if was, ok := seen[id.ID]; ok && was != id {
			r.add(SameID, fmt.Sprintf("id %s is event %d of %s and event %d of %s", id.ID, was.N, was.Key, id.N, id.Key))
		}
		seen[id.ID] = id
	}
	for key, numbers := range p {
		for i, n := range numbers {
			if id, ok := seen[n.ID]; ok && n.Outcome == record.Stored && (id.Key != key || id.N != int64(i+1)) {
				r.add(SameID, fmt.Sprintf("id %s was answered for event %d of %s, and arrived with event %d of %s", n.ID, i+1, key, id.N, id.Key))
			}
		}
	}
}

func (r *Report) add(kind, text string) {
	if r.Counts[kind]++; r.Counts[kind] <= kept {
		r.Problems = append(r.Problems, Problem{kind, text})
	}
}

// Combine is the verdict on the swarms of several processes, each of which has judged its own.
func Combine(p record.Published, reports ...*Report) *Report {
	all := &Report{Reasons: map[string]int64{}, Counts: map[string]int{}}
	ids := map[ID]bool{}
	for _, r := range reports {
		all.Subscribers += r.Subscribers
		all.Streams, all.Failed, all.Events = all.Streams+r.Streams, all.Failed+r.Failed, all.Events+r.Events
		all.Covered, all.Late, all.Repeated = all.Covered+r.Covered, all.Late+r.Late, all.Repeated+r.Repeated
		for reason, n := range r.Reasons {
			all.Reasons[reason] += n
		}
		for kind, n := range r.Counts {
			all.Counts[kind] += n
		}
		all.Problems = append(all.Problems, r.Problems...)
		for _, id := range r.IDs {
			ids[id] = true
		}
	}
	all.IDs = slices.SortedFunc(maps.Keys(ids), func(a, b ID) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.Key, b.Key), cmp.Compare(a.N, b.N))
	})
	all.checkIDs(p)
	return all
}

// Gaps is the number of gap events, and their reasons.
func (r *Report) Gaps() string {
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(r.Reasons)) {
		parts = append(parts, fmt.Sprintf("%d %s", r.Reasons[reason], reason))
	}
	return strings.Join(parts, ", ")
}

// Err is nil if there was no problem.
func (r *Report) Err() error {
	if len(r.Counts) == 0 {
		return nil
	}
	var b strings.Builder
	for _, kind := range slices.Sorted(maps.Keys(r.Counts)) {
		fmt.Fprintf(&b, "\n%d × %s", r.Counts[kind], kind)
	}
	for _, problem := range r.Problems {
		fmt.Fprintf(&b, "\n%s: %s", problem.Kind, problem.Text)
	}
	return fmt.Errorf("problems:%s", &b)
}
