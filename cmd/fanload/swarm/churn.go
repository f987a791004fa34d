//go:build linux

package swarm

import (
	"slices"

	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/sequence"
	"fanfare/codec"
)

// What a subscriber must get is what is sent after it has subscribed and answered before it leaves. When it subscribes, events
// that are sent already may pass it by; when it leaves, events that are not answered yet may not be out.

// begin expects every event from the first one at those that are open, and what the ledger says at those who come later.
func (l *loop) begin() {
	l.expecting = l.ledger != nil
	for i := range l.subs {
		if s := &l.subs[i]; s.times > 0 && !s.check.Begun() {
			s.check.Begin(0)
		}
	}
}

// fresh is a subscriber that counts as subscribed when its request has left: the server may not have read it yet.
type fresh struct {
	slot       int32
	generation uint32
	due        int64 // when it surely has
}

// expect begins with what a subscriber must get. It has just subscribed for the first time.
func (l *loop) expect(s *subscriber) {
	switch {
	case !l.expecting:
	case l.plan.Ready == plan.ReadySent:
		l.fresh = append(l.fresh, fresh{s.slot, s.generation, l.now + l.plan.Settle.Microseconds()})
	default:
		s.check.Begin(l.ledger.Sent(s.key))
	}
}

// expectFresh does so for those whose time has come, and who have got no event before.
func (l *loop) expectFresh() {
	for len(l.fresh) > 0 && l.fresh[0].due <= l.now {
		f := l.fresh[0]
		l.fresh = l.fresh[1:]
		if s := &l.subs[f.slot]; s.generation == f.generation && !s.check.Begun() {
			s.check.Begin(l.ledger.Sent(s.key))
		}
	}
}

// churn replaces that many subscribers a second from now on; 0 ends it, and those that were about to leave stay.
func (l *loop) churn(rate float64) {
	l.churnRate, l.churnAt = rate, l.nowAgain()
	if rate > 0 {
		return
	}
	for _, slot := range l.leaving {
		l.subs[slot].leaveBy = 0
	}
	l.leaving = nil
}

// doChurn replaces subscribers by new ones, at random: each when it has got what it must have, or when patience is at an end.
func (l *loop) doChurn() {
	if l.churnRate <= 0 || len(l.subs) == 0 {
		return
	}
	l.leaving = slices.DeleteFunc(l.leaving, func(slot int32) bool { return l.gone(&l.subs[slot]) })
	l.churnDue += l.churnRate * float64(l.now-l.churnAt) / 1e6
	l.churnAt = l.now
	l.churnDue = min(l.churnDue, float64(len(l.subs)))
	for tries := 4 * int(l.churnDue); l.churnDue >= 1 && tries > 0; tries-- {
		s := &l.subs[l.random.IntN(len(l.subs))]
		if s.state != streaming || s.stalled || s.leaveBy > 0 {
			continue
		}
		l.churnDue--
		s.leaveBy = l.now + l.plan.Patience.Microseconds()
		if s.until = s.check.High(); l.ledger != nil {
			s.until = l.ledger.Settled(s.key)
		}
		if !l.gone(s) {
			l.leaving = append(l.leaving, s.slot)
		}
	}
}

// newcomer counts what one had to get up to a sequence. Without it nobody could have missed anything.
func (l *loop) newcomer(s *subscriber, until int64) {
	if s.newcomer {
		l.counts.Expected += s.check.Expected(until)
	}
}

// gone replaces a subscriber that is about to leave, if it can go.
func (l *loop) gone(s *subscriber) bool {
	late := l.now >= s.leaveBy
	through := !s.check.Begun() || s.check.High() >= s.until && s.check.Lost(s.until) == 0
	switch {
	case !late && (!through || s.state != streaming):
		return false
	case s.state != streaming: // the server has ended it: it comes back, or is over
		s.leaveBy = 0
		return true
	}
	l.drop(s)
	l.newcomer(s, s.until)
	l.leave(s, s.until)
	l.counts.Churned++
	s.check, s.lastID, s.left, s.times, s.attempts, s.leaveBy = sequence.Checker{}, nil, 0, 0, 0, 0
	s.newcomer = true
	s.parser = codec.Parser{OnComment: s.parser.OnComment}
	l.counts.Connected--
	l.wait(s, 0)
	return true
}
