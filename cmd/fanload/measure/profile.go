package measure

import (
	"math"
	"math/bits"
	"slices"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// profileBits is how many leading bits of a duration a profile keeps. A duration is at most 0.8 % too long.
const profileBits = 8

// Bar is a duration in microseconds, and the number of its recordings.
type Bar [2]int64

// Profile is a histogram of one interval of a run, small enough to keep one for each interval. It has the bars in order, without
// empty ones: at most 3,300, usually about 100. Its JSON is [[37,2],[38,5],…].
type Profile []Bar

// halfBuckets is how many counts an HdrHistogram with 3 digits has for each power of two.
const halfBuckets = 1024

// Drain moves all recordings to sum and returns their profile. It reads the counts by their place in HdrHistogram's layout. The
// library's iterator takes ten times as long, and this happens ten times per second while measuring.
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
		_ = sum.h.RecordValues(lowest, n) // in bounds: both have the same layout
		p = p.add(Bar{coarse(lowest + width - 1), n})
	}
	h.h.Reset()
	return p
}

// coarse rounds up to a value with profileBits leading bits followed by ones.
func coarse(micros int64) int64 {
	behind := max(0, bits.Len64(uint64(micros))-profileBits)
	return micros | (1<<behind - 1)
}

// add adds a bar at the end.
func (p Profile) add(b Bar) Profile {
	if n := len(p); n > 0 && p[n-1][0] == b[0] {
		p[n-1][1] += b[1]
		return p
	}
	return append(p, b)
}

// Merge returns the recordings of both. It changes neither.
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

// Count is the number of recordings.
func (p Profile) Count() (n int64) {
	for _, b := range p {
		n += b[1]
	}
	return n
}

// Spread returns the figures of the recordings, or nil if there are none.
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

// Spread has the figures of a profile, in microseconds except Count.
type Spread struct {
	Count int64 `json:"count"`
	P50   int64 `json:"p50_us"`
	P99   int64 `json:"p99_us"`
	P999  int64 `json:"p99_9_us"`
	Max   int64 `json:"max_us"`
}
