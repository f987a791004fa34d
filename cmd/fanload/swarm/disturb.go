//go:build linux

package swarm

import (
	"fanfare/cmd/fanload/measure"
)

// nowAgain reads the clock behind a system call that may have taken its time.
func (l *loop) nowAgain() int64 {
	l.now = measure.Now()
	return l.now
}

// await is an event that is waited for at all subscribers of its key.
type await struct {
	seq  int64 // 0: none
	left int32 // subscribers that don't have it
	done func()
}

// startAwait counts down to when all subscribers of the key have an event that will be published. It takes the place of
// what was awaited of the key before.
func (l *loop) startAwait(key int, seq int64, done func()) {
	left := l.live[key]
	for i := range l.subs {
		if l.counts.Stalled == 0 {
			break
		}
		if s := &l.subs[i]; s.stalled && s.key == key && s.state == streaming {
			left--
		}
	}
	if l.awaits == nil {
		l.awaits = make([]await, l.plan.Keys)
	}
	a := &l.awaits[key]
	if a.seq > 0 {
		*a = await{}
		l.awaiting--
	}
	if left <= 0 {
		done()
		return
	}
	*a = await{seq: seq, left: left, done: done}
	l.awaiting++
}

// awaited counts a subscriber of the key that has the event, or will never.
func (l *loop) awaited(key int) {
	a := &l.awaits[key]
	if a.left--; a.left > 0 {
		return
	}
	a.done()
	*a = await{}
	l.awaiting--
}

// storm drops a fraction of the subscribers, evenly spread; each comes back after a time within jitter.
func (l *loop) storm(fraction float64, jitter int64) {
	l.nowAgain()
	due := 0.0
	for i := range l.subs {
		s := &l.subs[i]
		if s.state != streaming || s.stalled {
			continue
		}
		if due += fraction; due < 1 {
			continue
		}
		due--
		l.drop(s)
		s.left = l.now
		l.remember(s)
		var after int64
		if jitter > 0 {
			after = l.random.Int64N(jitter)
		}
		l.wait(s, after)
	}
}

// drop ends a stream from this side.
func (l *loop) drop(s *subscriber) {
	l.counts.Open--
	l.live[s.key]--
	l.shut(s)
}

// behind counts those that something is still to come for.
func (l *loop) behind(last []int64) (n int64) {
	for i := range l.subs {
		s := &l.subs[i]
		switch {
		case s.stalled:
		case s.state == waiting || s.opening():
			n++
		case s.state == streaming && s.check.Begun() && s.check.High() < last[s.key]:
			n++
		}
	}
	return n
}
