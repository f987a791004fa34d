package measure

import (
	"encoding/json"
	"fmt"
	"math"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// Bounds of a histogram: 1 us to an hour, with 3 significant digits.
const (
	lowestMicros  = 1
	highestMicros = 3_600_000_000
	digits        = 3
)

// Histogram is a histogram of durations in microseconds. Its JSON is HdrHistogram's V2 encoding. The zero value is empty. It is
// not safe for concurrent use.
type Histogram struct{ h *hdr.Histogram }

// Record records a duration. A duration out of bounds counts as the bound.
func (h *Histogram) Record(micros int64) {
	if h.h == nil {
		h.h = hdr.New(lowestMicros, highestMicros, digits)
	}
	_ = h.h.RecordValue(min(max(micros, lowestMicros), highestMicros)) // in bounds, so it cannot fail
}

// RecordN records a duration n times.
func (h *Histogram) RecordN(micros, n int64) {
	if h.h == nil {
		h.h = hdr.New(lowestMicros, highestMicros, digits)
	}
	_ = h.h.RecordValues(min(max(micros, lowestMicros), highestMicros), n)
}

// Merge adds the recordings of another histogram.
func (h *Histogram) Merge(o *Histogram) {
	if o == nil || o.h == nil {
		return
	}
	if h.h == nil {
		h.h = hdr.New(lowestMicros, highestMicros, digits)
	}
	h.h.Merge(o.h)
}

// Count is the number of recordings.
func (h *Histogram) Count() int64 {
	if h == nil || h.h == nil {
		return 0
	}
	return h.h.TotalCount()
}

// Quantile is the duration in microseconds that q percent of the recordings do not exceed. It is 0 for an empty histogram.
func (h *Histogram) Quantile(q float64) int64 {
	if h.Count() == 0 {
		return 0
	}
	if q <= 0 {
		return h.h.Min() // the library would return the lowest value of the bucket
	}
	return h.h.ValueAtPercentile(q)
}

// MarshalJSON encodes the histogram.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	if h.Count() == 0 {
		return []byte(`""`), nil
	}
	b, err := h.h.Encode(hdr.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, err
	}
	return json.Marshal(string(b))
}

// UnmarshalJSON decodes the output of MarshalJSON.
func (h *Histogram) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil || s == "" {
		h.h = nil
		return err
	}
	if len(s) < 40 { // shorter than the headers of the encoding, which Decode does not check
		return fmt.Errorf("histogram: %q is not a histogram", s)
	}
	d, err := hdr.Decode([]byte(s))
	if err != nil {
		return fmt.Errorf("histogram: %w", err)
	}
	h.h = d
	return nil
}

// Summary has the figures of a histogram, all in microseconds except Count.
type Summary struct {
	Count  int64   `json:"count"`
	Min    int64   `json:"min_us"`
	Mean   float64 `json:"mean_us"`
	StdDev float64 `json:"stddev_us"`
	P50    int64   `json:"p50_us"`
	P90    int64   `json:"p90_us"`
	P99    int64   `json:"p99_us"`
	P999   int64   `json:"p99_9_us"`
	P9999  int64   `json:"p99_99_us"`
	Max    int64   `json:"max_us"`
	// Unfinished is how many of Count had not ended when the run stopped waiting. They took at least as long as recorded.
	Unfinished int64  `json:"unfinished,omitempty"`
	Histogram  string `json:"histogram,omitempty"` // HdrHistogram V2, compressed, base64; for merging with other runs
}

// AtLeast reports whether the true quantile of q percent may be above the recorded one, because of the unfinished ones.
func (s *Summary) AtLeast(q float64) bool {
	return s.Unfinished > 0 && int64(math.Ceil(q/100*float64(s.Count))) > s.Count-s.Unfinished
}

// Summary returns the figures of the recordings.
func (h *Histogram) Summary() Summary {
	if h.Count() == 0 {
		return Summary{}
	}
	s := Summary{
		Count: h.h.TotalCount(), Min: h.h.Min(), Mean: round(h.h.Mean()), StdDev: round(h.h.StdDev()),
		P50: h.Quantile(50), P90: h.Quantile(90), P99: h.Quantile(99), P999: h.Quantile(99.9), P9999: h.Quantile(99.99),
		Max: h.h.Max(),
	}
	if b, err := h.h.Encode(hdr.V2CompressedEncodingCookieBase); err == nil {
		s.Histogram = string(b)
	}
	return s
}

func round(f float64) float64 { return math.Round(f*10) / 10 }

// kinds bounds a tally, because messages that contain numbers or times could fill the memory.
const kinds = 50

// Tally counts a message in a map with a bounded number of messages.
func Tally(m map[string]int64, message string) {
	if _, ok := m[message]; !ok && len(m) >= kinds {
		message = "others"
	}
	m[message]++
}
