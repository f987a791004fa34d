package sse

import (
	"slices"
	"time"
)

const (
	// maxKeys bounds how many sequences a stream distinguishes by measure.key. Events of further keys are counted and their
	// latency is measured, but not their order.
	maxKeys = 10_000

	// reorderGrace is how long a skipped number may still arrive. After it, or at the end of the stream, the number is lost.
	reorderGrace = 5 * time.Second

	// maxHoles bounds the holes that one sequence remembers. If there are too many, the oldest is counted as lost and forgotten.
	maxHoles = 1024
)

// track is one sequence of a stream. Every number from first to last has arrived, except for those in its holes.
type track struct {
	first, last int64
	seen        bool
	holes       []hole // in ascending order
}

// hole is a range of numbers that were skipped.
type hole struct {
	from, to int64
	since    time.Time
	lost     bool // it has been counted as lost
}

func (h hole) size() int64 { return h.to - h.from + 1 }

// sequences are the sequences of a stream. The zero value has seen nothing.
//
// A number that arrives late is reordered, and neither lost nor a duplicate. So a hole is not counted as lost when it opens, but
// when it has been open for reorderGrace, or at the end of the stream.
type sequences struct {
	one     track // without keys
	keys    map[string]*track
	pending int64     // numbers in holes that are not counted as lost
	oldest  time.Time // not later than the opening of any such hole; only valid while pending > 0
}

// counts are the counts of sequences.
type counts struct{ lost, duplicate, reordered int64 }

func (c *counts) add(other counts) {
	c.lost += other.lost
	c.duplicate += other.duplicate
	c.reordered += other.reordered
}

// next records a sequence number. Counting begins with the first one of a key.
func (s *sequences) next(key string, seq int64, now time.Time) counts {
	t := &s.one
	if key != "" {
		if t = s.keys[key]; t == nil {
			if len(s.keys) >= maxKeys {
				return counts{}
			}
			if s.keys == nil {
				s.keys = make(map[string]*track)
			}
			t = new(track)
			s.keys[key] = t
		}
	}
	switch {
	case !t.seen:
		t.first, t.last, t.seen = seq, seq, true
	case seq > t.last:
		lost := s.open(t, len(t.holes), hole{from: t.last + 1, to: seq - 1, since: now})
		t.last = seq
		return counts{lost: lost}
	case seq < t.first:
		lost := s.open(t, 0, hole{from: seq + 1, to: t.first - 1, since: now})
		t.first = seq
		return counts{lost: lost, reordered: 1}
	case s.fill(t, seq):
		return counts{reordered: 1}
	default:
		return counts{duplicate: 1}
	}
	return counts{}
}

// open adds a hole. It returns how many numbers of the oldest hole are lost because there are too many holes.
func (s *sequences) open(t *track, at int, h hole) (lost int64) {
	if h.from > h.to {
		return 0
	}
	if s.pending == 0 || h.since.Before(s.oldest) {
		s.oldest = h.since
	}
	s.pending += h.size()
	t.holes = slices.Insert(t.holes, at, h)
	if len(t.holes) > maxHoles {
		if first := t.holes[0]; !first.lost {
			lost = first.size()
			s.pending -= lost
		}
		t.holes = slices.Delete(t.holes, 0, 1)
	}
	return lost
}

// fill removes a number from its hole, if it is in one.
func (s *sequences) fill(t *track, seq int64) bool {
	i, _ := slices.BinarySearchFunc(t.holes, seq, func(h hole, seq int64) int {
		if h.to < seq {
			return -1
		}
		return 1
	})
	if i == len(t.holes) || t.holes[i].from > seq {
		return false
	}
	h := t.holes[i]
	if !h.lost {
		s.pending--
	}
	before, after := h, h
	before.to, after.from = seq-1, seq+1
	rest := make([]hole, 0, 2)
	for _, part := range []hole{before, after} {
		if part.from <= part.to {
			rest = append(rest, part)
		}
	}
	t.holes = slices.Replace(t.holes, i, i+1, rest...)
	return true
}

// settle counts holes as lost that have been open for reorderGrace, or, at the end, all of them. taken returns how many numbers
// of a range were published; nil: all.
func (s *sequences) settle(now time.Time, end bool, taken func(from, to int64) int64) (lost int64) {
	if s.pending == 0 || !end && now.Sub(s.oldest) < reorderGrace {
		return 0
	}
	s.oldest = now
	var charged int64
	charge := func(t *track) {
		for i := range t.holes {
			h := &t.holes[i]
			switch {
			case h.lost:
			case end || now.Sub(h.since) >= reorderGrace:
				h.lost = true
				charged += h.size()
				if taken == nil {
					lost += h.size()
				} else {
					lost += taken(h.from, h.to)
				}
			case h.since.Before(s.oldest):
				s.oldest = h.since
			}
		}
	}
	charge(&s.one)
	for _, t := range s.keys {
		charge(t)
	}
	s.pending -= charged
	return lost
}
