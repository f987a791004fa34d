//go:build linux

package swarm

import (
	"slices"

	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/sequence"
	"fanfare/codec"
)

// A subscriber must get the events that are sent after it has subscribed and answered before it leaves. It may miss events that
// were already sent when it subscribes. Events that are not answered when it leaves may not have been sent to it yet.

// begin expects every event from the first one at the open subscribers, and what the ledger says at those that join later.
func (l *loop) begin() {
	l.expecting = l.ledger != nil
	for i := range l.subs {
		if s := &l.subs[i]; s.times > 0 && !s.check.Begun() {
			s.check.Begin(0)
		}
	}
}

// fresh is a subscriber that counts as subscribed when its request was sent. The server may not have read the request yet.
type fresh struct {
	slot       int32
	generation uint32
	due        int64 // when the server has certainly read it
}

// expect begins the check of a subscriber that has just subscribed for the first time.
func (l *loop) expect(s *subscriber) {
	switch {
	case !l.expecting:
	case l.plan.Ready == plan.ReadySent:
		l.fresh = append(l.fresh, fresh{s.slot, s.generation, l.now + l.plan.Settle.Microseconds()})
	default:
		s.check.Begin(l.ledger.Sent(s.key))
	}
}

// expectFresh does the same for the fresh subscribers whose time has come and that have had no event before it.
func (l *loop) expectFresh() {
	for len(l.fresh) > 0 && l.fresh[0].due <= l.now {
		f := l.fresh[0]
		l.fresh = l.fresh[1:]
		if s := &l.subs[f.slot]; s.generation == f.generation && !s.check.Begun() {
			s.check.Begin(l.ledger.Sent(s.key))
		}
	}
}

// churn replaces a number of subscribers per second from now on. 0 ends it; subscribers that were about to leave then stay.
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

// doChurn replaces random subscribers by new ones. Each leaves when it has got what it must get, or when its time is over.
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

// newcomer counts how many events a new subscriber had to get up to a sequence. If there were none, nothing could be lost.
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
	case s.state != streaming: // the server has ended the stream; the subscriber reconnects or is finished
		s.leaveBy = 0
		return true
	}
	l.disconnect(s)
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
