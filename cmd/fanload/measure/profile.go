package measure

import (
	"math"
	"math/bits"
	"slices"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// profileBits is how many leading bits of a duration a profile keeps: it is at most 0.8 % too long.
const profileBits = 8

// Bar is a duration in microseconds, and how often it was recorded.
type Bar [2]int64

// Profile is a histogram of one interval of a run, small enough to be kept for each: bars in order, without the empty ones,
// at most 3,300 of them and some 100 as a rule. As JSON it is [[37,2],[38,5],…].
type Profile []Bar

// halfBuckets is how many counts an HdrHistogram of 3 digits has for each power of two.
const halfBuckets = 1024

// Drain moves all recordings to sum, and gives their profile. It looks at the counts by their place in HdrHistogram's
// layout: the library's own iterator takes ten times as long, and this is done ten times a second while measuring.
func (h *Histogram) Drain(sum *Histogram) (p Profile) {
	if h.Count() == 0 {
		return nil
	}
	if sum.h == nil {
		sum.h = hdr.New(lowestMicros, highestMicros, digits)
	}
	for i, n := range h.h.Export().Counts {
		if n == 0 {
			continue
		}
		lowest, width := int64(i), int64(1) // to 2,047 each value has its count
		if power := i/halfBuckets - 1; power > 0 {
			lowest, width = int64(i%halfBuckets+halfBuckets)<<power, int64(1)<<power
		}
		_ = sum.h.RecordValues(lowest, n) // as a part of the same layout, it is in bounds
		p = p.add(Bar{coarse(lowest + width - 1), n})
	}
	h.h.Reset()
	return p
}

// coarse rounds up to what has profileBits leading bits, and ones behind them.
func coarse(micros int64) int64 {
	behind := max(0, bits.Len64(uint64(micros))-profileBits)
	return micros | (1<<behind - 1)
}

// add a bar at the end.
func (p Profile) add(b Bar) Profile {
	if n := len(p); n > 0 && p[n-1][0] == b[0] {
		p[n-1][1] += b[1]
		return p
	}
	return append(p, b)
}

// Merge gives what both have recorded; neither is changed.
func (p Profile) Merge(o Profile) Profile {
	if len(p) == 0 || len(o) == 0 {
		return slices.Concat(p, o)
	}
	sum := make(Profile, 0, len(p)+len(o))
	for len(p) > 0 || len(o) > 0 {
		if len(o) == 0 || len(p) > 0 && p[0][0] <= o[0][0] {
			sum, p = sum.add(p[0]), p[1:]
		} else {
			sum, o = sum.add(o[0]), o[1:]
		}
	}
	return sum
}

// Count of recordings.
func (p Profile) Count() (n int64) {
	for _, b := range p {
		n += b[1]
	}
	return n
}

// Spread of the recordings; nil if there are none.
func (p Profile) Spread() *Spread {
	n := p.Count()
	if n == 0 {
		return nil
	}
	return &Spread{Count: n, P50: p.quantile(n, 50), P99: p.quantile(n, 99), P999: p.quantile(n, 99.9), Max: p[len(p)-1][0]}
}

func (p Profile) quantile(n int64, percent float64) int64 {
	left := int64(math.Ceil(float64(n) * percent / 100))
	for _, b := range p {
		if left -= b[1]; left <= 0 {
			return b[0]
		}
	}
	return p[len(p)-1][0]
}

// Spread is a profile in figures, microseconds but Count.
type Spread struct {
	Count int64 `json:"count"`
	P50   int64 `json:"p50_us"`
	P99   int64 `json:"p99_us"`
	P999  int64 `json:"p99_9_us"`
	Max   int64 `json:"max_us"`
}
