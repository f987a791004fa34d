//go:build linux

package swarm

import (
	"golang.org/x/sys/unix"

	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/sequence"
	"fanfare/codec"
)

// nowAgain reads the clock behind a system call that may have taken its time.
func (l *loop) nowAgain() int64 {
	l.now = measure.Now()
	return l.now
}

// begin expects every event from the first one at those that are open.
func (l *loop) begin() {
	for i := range l.subs {
		if s := &l.subs[i]; s.times > 0 && !s.check.Begun() {
			s.check.Begin(0)
		}
	}
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

// doChurn replaces subscribers by new ones, at random.
func (l *loop) doChurn() {
	if l.churnRate <= 0 || len(l.subs) == 0 {
		return
	}
	l.churnDue += l.churnRate * float64(l.now-l.churnAt) / 1e6
	l.churnAt = l.now
	l.churnDue = min(l.churnDue, float64(len(l.subs)))
	for tries := 4 * int(l.churnDue); l.churnDue >= 1 && tries > 0; tries-- {
		s := &l.subs[l.random.IntN(len(l.subs))]
		if s.state != streaming || s.stalled {
			continue
		}
		l.churnDue--
		l.drop(s)
		// Whoever leaves of its own accord has lost only what is missing before the newest event that it had.
		l.leave(s, 0)
		l.counts.Churned++
		s.check, s.lastID, s.left, s.times, s.attempts = sequence.Checker{}, nil, 0, 0, 0
		s.parser = codec.Parser{OnComment: s.parser.OnComment}
		l.counts.Connected--
		l.wait(s, 0)
	}
}

// stall stops reading at the cohort. Hang-ups and errors are still told.
func (l *loop) stall() {
	for i := range l.subs {
		s := &l.subs[i]
		if !s.stalls || s.state != streaming {
			continue
		}
		if l.watch(unix.EPOLL_CTL_MOD, s, unix.EPOLLRDHUP) == nil {
			s.stalled = true
			l.counts.Stalled++
		}
	}
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
