package sse

import (
	"time"

	"go.k6.io/k6/metrics"
)

// tailGrace is how old an event must be at the end of a stream to count as missing, because an event that was accepted just
// before may still be on its way. It does not apply to a stream that ended by leave.
const tailGrace = time.Second

// expectation is what a stream expects of its events.
type expectation struct {
	key    string // of every event
	ledger string // of what is published; "": none
}

// plan is the schedule of the stream's key, or nil if it is unknown.
func (s *stream) plan() *plan {
	if e := s.opts.expect; e != nil && e.ledger != "" {
		return s.hub.module.ledgerOf(e.ledger).plan(e.key)
	}
	return nil
}

// settle counts holes as lost, except for events that the server never accepted. It is called with mu held.
func (s *stream) settle(now time.Time, end bool) int64 {
	if s.seqs.pending == 0 {
		return 0
	}
	if p := s.plan(); p != nil {
		return s.seqs.settle(now, end, func(from, to int64) int64 { return p.takenIn(s.opts.expect.key, from, to) })
	}
	return s.seqs.settle(now, end, nil)
}

// leave closes the stream when it has got everything that the server has accepted for it up to now, or after patience. So an
// event that is then missing was not just on its way.
func (s *stream) leave(patience time.Duration) {
	s.mu.Lock()
	if !s.leftAt.IsZero() || s.shutIt {
		s.mu.Unlock()
		return
	}
	s.leftAt = time.Now()
	s.late = time.AfterFunc(patience, s.shut)
	s.mu.Unlock()
	s.shutIfThrough()
}

// shutIfThrough closes a stream that is leaving and has got everything.
func (s *stream) shutIfThrough() {
	s.mu.Lock()
	through := !s.leftAt.IsZero() && !s.opened.IsZero() && s.through()
	s.mu.Unlock()
	if through {
		s.shut()
	}
}

// through reports whether a stream that is leaving has got everything. It is called with mu held.
func (s *stream) through() bool {
	p := s.plan()
	if p == nil {
		return true
	}
	from, to := p.expected(s.opts.expect.key, s.opened, s.leftAt)
	t := &s.seqs.one
	if to < from {
		return true
	}
	if !t.seen || t.first > from || t.last < to {
		return false
	}
	for _, h := range t.holes {
		if !h.lost && p.takenIn(s.opts.expect.key, h.from, h.to) > 0 {
			return false // it may be late
		}
	}
	return true
}

// reconcile compares, at the end of a stream, what it has got with what it should have got.
func (s *stream) reconcile() {
	now := time.Now()
	s.mu.Lock()
	left := s.leftAt
	if s.late != nil {
		s.late.Stop()
	}
	lost := s.settle(now, true)
	s.stats.Lost += lost
	opened, t := s.opened, s.seqs.one
	s.mu.Unlock()

	var expected, undelivered int64
	var waited []time.Duration
	if p := s.plan(); p != nil && !opened.IsZero() {
		expected, undelivered = p.undelivered(s.opts.expect.key, opened, left, now, t)
		p.waited(s.opts.expect.key, opened, now, t.last, func(d time.Duration) { waited = append(waited, d) })
	}
	m, tags, meta := s.hub.metrics, s.opts.tags.Tags, s.opts.tags.Metadata
	s.hub.reporter.gather(func(g gathering) {
		g.count(m.lost, tags, meta, lost)
		g.count(m.expected, tags, meta, expected)
		g.count(m.undelivered, tags, meta, undelivered)
		for _, d := range waited {
			g.sample(m.eventLatency, s.live, meta, now, metrics.D(d))
		}
	})
	if !left.IsZero() {
		s.source.left()
	}
}

// undelivered returns how many events a stream should have got, and how many of them are missing before the first one that
// arrived or after the last. left is zero if the stream ended without leaving.
func (p *plan) undelivered(key string, opened, left, end time.Time, t track) (expected, undelivered int64) {
	until := left
	if left.IsZero() {
		until = end
	}
	from, to := p.expected(key, opened, until)
	if left.IsZero() && (!t.seen || t.last < to) {
		_, old := p.expected(key, opened, end.Add(-tailGrace))
		to = max(old, min(to, t.last))
	}
	if to < from {
		return 0, 0
	}
	expected = p.takenIn(key, from, to)
	if !t.seen {
		return expected, expected
	}
	return expected, p.takenIn(key, from, min(to, t.first-1)) + p.takenIn(key, max(from, t.last+1), to)
}
