package sequence

import "slices"

// maxHoles bounds what a checker remembers of what is missing before its window.
const maxHoles = 64

// past is what left a checker's window unseen: 16 bytes for each hole. Only a stream that misses something has one.
type past struct {
	holes    []hole // in rising order
	unlisted int64  // sequences that were missing in holes that are forgotten
}

// hole is a range of sequences that have not come.
type hole struct{ from, to int64 }

// add a hole behind all others. The oldest one is forgotten, where there are too many.
func (p *past) add(h hole) {
	if n := len(p.holes); n > 0 && p.holes[n-1].to+1 == h.from {
		p.holes[n-1].to = h.to
		return
	}
	p.holes = append(p.holes, h)
	p.bound()
}

func (p *past) bound() {
	if len(p.holes) > maxHoles {
		p.unlisted += p.holes[0].to - p.holes[0].from + 1
		p.holes = slices.Delete(p.holes, 0, 1)
	}
}

// find the hole that a sequence is in.
func (p *past) find(seq int64) (at int, found bool) {
	return slices.BinarySearchFunc(p.holes, seq, func(h hole, seq int64) int {
		switch {
		case h.to < seq:
			return -1
		case h.from > seq:
			return 1
		}
		return 0
	})
}

func (p *past) lacks(seq int64) bool {
	_, found := p.find(seq)
	return found
}

// fill takes a sequence out of its hole; false if it is in none.
func (p *past) fill(seq int64) bool {
	i, found := p.find(seq)
	if !found {
		return false
	}
	h := p.holes[i]
	rest := make([]hole, 0, 2)
	for _, part := range []hole{{h.from, seq - 1}, {seq + 1, h.to}} {
		if part.from <= part.to {
			rest = append(rest, part)
		}
	}
	p.holes = slices.Replace(p.holes, i, i+1, rest...)
	p.bound()
	return true
}
