//go:build linux

package swarm

import (
	"fanfare/cmd/fanload/sequence"
)

// leaver is a subscriber that left and had missed events. Only at the end is it known which of them the server never accepted.
type leaver struct {
	key   int
	until int64 // the newest sequence that it must have got
	check sequence.Checker
}

// leave records what a subscriber has missed that is being replaced.
func (l *loop) leave(s *subscriber, until int64) {
	if lost := s.check.Lost(until); lost > 0 {
		l.leavers = append(l.leavers, leaver{s.key, until, s.check})
		l.counts.Lost += lost // for the progress line; finish sets the final counts
	}
}

// finish closes all subscribers and settles what each should have got.
func (l *loop) finish(p *sequence.Published) {
	l.nowAgain()
	l.churnRate, l.queue, l.counts.Lost = 0, nil, 0
	l.unopened()
	l.backpressure(p)
	readers := make([]int64, l.plan.Keys)
	l.closeCarriers() // one by one, the streams would be canceled first
	for i := range l.subs {
		s := &l.subs[i]
		if s.times > 0 && !s.stalls {
			waits := s.state == streaming
			l.newcomer(s, p.Last[s.key])
			l.settle(p, s.key, &s.check, p.Last[s.key], waits)
			if waits {
				readers[s.key]++
			}
		}
		if s.left != 0 && (s.state == waiting || s.opening() || s.attempts >= maxAttempts) {
			l.result.Reconnect.Record(l.now - s.left) // a lower bound; without it, only quick reconnects would count
			l.counts.NotBack++
		}
		if s.state == streaming && s.head.Status == 0 {
			l.result.Errors["stream: no head before the end of the run"]++
		}
		l.shut(s)
		s.state = over
	}
	for i := range l.leavers {
		a := &l.leavers[i]
		l.settle(p, a.key, &a.check, a.until, false)
	}
	l.charge(&p.Unsent, readers)
	l.result.Counts = l.counts
}

// settle counts the events up to a sequence that the server accepted and a subscriber did not get. waits says that the subscriber
// is still waiting; then events that the server did not accept are added to the latency.
func (l *loop) settle(p *sequence.Published, key int, check *sequence.Checker, until int64, waits bool) {
	var lost, undelivered int64
	failed := func(due int64) {
		if waits && due >= l.measureFrom {
			l.result.Latency.Record(l.now - due)
			l.counts.Charged++
		}
	}
	unlisted := check.Missing(until, func(from, to int64) {
		n := p.Taken(key, from, to, failed)
		if check.Between(from) {
			lost += n
		} else {
			undelivered += n
		}
	})
	lost += unlisted
	if lost+undelivered > 0 {
		l.counts.LostOf++
	}
	l.counts.Lost += lost
	l.counts.Undelivered += undelivered
}

// maxCharged bounds how many slots are counted one by one. In a schedule with more, every n-th slot stands for n.
const maxCharged = 1_000_000

// charge records how long readers have waited for events that were never sent.
func (l *loop) charge(u *sequence.Unsent, readers []int64) {
	first := u.First()
	// A stride without a common divisor with the number of keys does not skip any key.
	stride := max(1, (u.To-first)/maxCharged)
	for keys := int64(len(readers)); stride > 1 && divisor(stride, keys) > 1; {
		stride++
	}
	for slot := first; slot < u.To; slot += stride {
		n, due := readers[slot%int64(len(readers))], u.Due(slot)
		if n == 0 || due < l.measureFrom || slot < u.Next[u.Lane(slot)] {
			continue
		}
		n *= int64(u.Batch) * stride
		l.result.Latency.RecordN(l.now-due, n)
		l.counts.Charged += n
	}
}

func divisor(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
