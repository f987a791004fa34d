package measure

import (
	"encoding/json"
	"fmt"
	"math"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// Bounds of what histograms hold: 1 us to an hour, to 3 significant digits.
const (
	lowestMicros  = 1
	highestMicros = 3_600_000_000
	digits        = 3
)

// Histogram of durations in microseconds. It travels as JSON in HdrHistogram's own V2 encoding. The zero value is
// empty; it isn't safe for concurrent use.
type Histogram struct{ h *hdr.Histogram }

// Record a duration. What is out of bounds counts at the bound.
func (h *Histogram) Record(micros int64) {
	if h.h == nil {
		h.h = hdr.New(lowestMicros, highestMicros, digits)
	}
	_ = h.h.RecordValue(min(max(micros, lowestMicros), highestMicros)) // in bounds: it can't fail
}

// RecordN records a duration n times.
func (h *Histogram) RecordN(micros, n int64) {
	if h.h == nil {
		h.h = hdr.New(lowestMicros, highestMicros, digits)
	}
	_ = h.h.RecordValues(min(max(micros, lowestMicros), highestMicros), n)
}

// Merge adds another's recordings.
func (h *Histogram) Merge(o *Histogram) {
	if o == nil || o.h == nil {
		return
	}
	if h.h == nil {
		h.h = hdr.New(lowestMicros, highestMicros, digits)
	}
	h.h.Merge(o.h)
}

// Count of recordings.
func (h *Histogram) Count() int64 {
	if h == nil || h.h == nil {
		return 0
	}
	return h.h.TotalCount()
}

// Quantile is the duration below or at which q percent are, in microseconds; 0 for an empty histogram.
func (h *Histogram) Quantile(q float64) int64 {
	if h.Count() == 0 {
		return 0
	}
	if q <= 0 {
		return h.h.Min() // the library gives the lowest value that it could hold
	}
	return h.h.ValueAtPercentile(q)
}

// MarshalJSON encodes it.
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

// UnmarshalJSON decodes what MarshalJSON made.
func (h *Histogram) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil || s == "" {
		h.h = nil
		return err
	}
	if len(s) < 40 { // shorter than the encoding's own heads, which Decode takes for granted
		return fmt.Errorf("histogram: %q is none", s)
	}
	d, err := hdr.Decode([]byte(s))
	if err != nil {
		return fmt.Errorf("histogram: %w", err)
	}
	h.h = d
	return nil
}

// Summary is a histogram in figures, all in microseconds but Count.
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
	// Unfinished is how many of Count were not over when the run stopped waiting: they took at least what was recorded.
	Unfinished int64  `json:"unfinished,omitempty"`
	Histogram  string `json:"histogram,omitempty"` // HdrHistogram V2, compressed, base64: for merging with other runs
}

// AtLeast tells whether the true quantile of q percent may be above the one that is shown, because of what was unfinished.
func (s *Summary) AtLeast(q float64) bool {
	return s.Unfinished > 0 && int64(math.Ceil(q/100*float64(s.Count))) > s.Count-s.Unfinished
}

// Summary of what was recorded.
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

// kinds bounds a tally: messages with a number or a time in them must not fill the memory.
const kinds = 50

// Tally counts a message.
func Tally(m map[string]int64, message string) {
	if _, ok := m[message]; !ok && len(m) >= kinds {
		message = "others"
	}
	m[message]++
}
