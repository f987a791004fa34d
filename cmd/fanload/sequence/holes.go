package sequence

import "slices"

// maxHoles bounds how many missing ranges before its window a checker remembers.
const maxHoles = 64

// past has the sequences that left a checker's window unseen, with 16 bytes for each hole. Only a stream that misses some has
// one.
type past struct {
	holes    []hole // in ascending order
	unlisted int64  // sequences in holes that were forgotten
}

// hole is a range of sequences that have not arrived.
type hole struct{ from, to int64 }

// add adds a hole after all others. If there are too many, the oldest one is forgotten.
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

// find returns the hole that contains a sequence.
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

// fill removes a sequence from its hole. It returns false if no hole contains it.
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
