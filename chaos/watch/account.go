package watch

// account is what a subscriber has seen of one key.
type account struct {
	key    string
	next   int64 // the number that the next event should have
	gaps   []gap // since the last event
	holes  []hole
	again  []again
	epochs int
	events int64
}

// gap is a gap event.
type gap struct {
	missed int64 // -1: not known
	reason string
}

// hole is a range of numbers that did not arrive in their turn.
type hole struct {
	from, to int64
	gaps     []gap // that were reported between the events around it
}

// again is an event whose turn was over when it arrived.
type again struct {
	n     int64
	epoch bool // an epoch has begun before
}

// event notes the event with number n.
func (a *account) event(n int64) {
	a.events++
	if n < a.next {
		a.again = append(a.again, again{n, a.epochs > 0})
		return
	}
	if n > a.next {
		a.holes = append(a.holes, hole{a.next, n - 1, a.gaps})
	}
	a.next, a.gaps = n+1, nil
}

// gap notes a gap event.
func (a *account) gap(missed *int64, reason string) {
	n := int64(-1)
	if missed != nil {
		n = *missed
	}
	a.gaps = append(a.gaps, gap{n, reason})
	if reason == "epoch" {
		a.epochs++
	}
}
