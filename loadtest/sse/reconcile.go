package sse

import (
	"time"

	"go.k6.io/k6/metrics"
)

// tailGrace is how old what a stream hasn't got must be at its end to count, unless it was left by leave: what was taken just
// before may be on its way.
const tailGrace = time.Second

// expectation is what a stream says of its events.
type expectation struct {
	key    string // that every event has
	ledger string // that knows what is published; "" knows nothing
}

// plan is the schedule of the stream's key; nil if it isn't known.
func (s *stream) plan() *plan {
	if e := s.opts.expect; e != nil && e.ledger != "" {
		return s.hub.module.ledgerOf(e.ledger).plan(e.key)
	}
	return nil
}

// settle charges holes as lost; what the server never took isn't. It is called with mu held.
func (s *stream) settle(now time.Time, end bool) int64 {
	if s.seqs.pending == 0 {
		return 0
	}
	if p := s.plan(); p != nil {
		return s.seqs.settle(now, end, func(from, to int64) int64 { return p.takenIn(s.opts.expect.key, from, to) })
	}
	return s.seqs.settle(now, end, nil)
}

// leave shuts the stream when it has got all that the server has taken for it up to now, or after patience. So what a stream
// lacks at its end was not merely on its way.
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

// shutIfThrough shuts a stream that is leaving and has got everything.
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

// reconcile compares what a stream has got, at its end, with what it should have got.
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

// undelivered is how many events a stream should have got, and how many of them neither came nor are in a hole between two that
// came. left is zero if the stream ended without leaving.
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
