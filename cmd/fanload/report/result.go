// Package report has the result of a run, and its outputs: a table, JSON, a page with plots, and the verdicts on thresholds.
package report

import (
	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/plan"
)

// Result has everything that a run measured. docs/fanload.md explains each figure.
type Result struct {
	Version     string    `json:"fanload"`
	Command     string    `json:"command"`
	Started     string    `json:"started"` // RFC 3339
	Machine     Machine   `json:"machine"`
	Plan        plan.Plan `json:"plan"`
	Rate        float64   `json:"rate,omitempty"` // requested events per second
	Seconds     float64   `json:"seconds"`        // measured time: from the end of the warm-up to the last delivery
	Interrupted bool      `json:"interrupted,omitempty"`

	Connect    Connect         `json:"connect"`
	Publish    Publish         `json:"publish"`
	Counters   Counters        `json:"counters"`
	Deliveries Deliveries      `json:"deliveries"`
	Sequence   Sequence        `json:"sequence"`
	Streams    Streams         `json:"streams"`
	Latency    measure.Summary `json:"latency"`
	Round      measure.Summary `json:"round"`     // closed, burst: from publish to the last subscriber
	Reconnect  measure.Summary `json:"reconnect"` // from the end of a stream to the head of the next
	Server     *Server         `json:"server,omitempty"`
	Client     Client          `json:"client"`
	Others     *Others         `json:"others,omitempty"`

	Statuses map[string]int64 `json:"statuses,omitempty"` // responses that were not a stream
	Errors   map[string]int64 `json:"errors,omitempty"`
	Curve    []CurvePoint     `json:"latency_curve,omitempty"`
	Timeline []Point          `json:"timeline,omitempty"`

	Checks     []Verdict `json:"checks,omitempty"` // the failed ones
	Thresholds []Verdict `json:"thresholds,omitempty"`
}

// Machine is the machine of the run.
type Machine struct {
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Memory int64  `json:"memory_bytes"`
	Go     string `json:"go"`
}

// Connect is about opening the subscribers.
type Connect struct {
	Asked      int64           `json:"asked"`
	Connected  int64           `json:"connected"`
	Failed     int64           `json:"failed"`
	Seconds    float64         `json:"seconds"` // from the first connect to the last head
	PerSecond  float64         `json:"per_second"`
	TCP        measure.Summary `json:"tcp"`
	TLS        measure.Summary `json:"tls"` // the handshake after the TCP connect
	Head       measure.Summary `json:"head"`
	FirstEvent measure.Summary `json:"first_event"`

	Failures map[string]int64 `json:"failures,omitempty"` // attempts that did not open a stream, including reconnects, by reason
	Ciphers  map[string]int64 `json:"ciphers,omitempty"`  // TLS version and cipher suite of the connections
}

// Publish is about the publish requests.
type Publish struct {
	Events     int64            `json:"events"`
	Failed     int64            `json:"failed"` // refused or unanswered
	Refused    int64            `json:"refused"`
	Unanswered int64            `json:"unanswered"`
	Unsent     int64            `json:"unsent"` // of the open loop's schedule
	Requests   int64            `json:"requests"`
	PerSecond  float64          `json:"events_per_second"`
	LateMax    int64            `json:"late_max_us"` // behind the schedule
	Latency    measure.Summary  `json:"latency"`
	Timeouts   int64            `json:"round_timeouts"` // closed, burst: rounds that some subscribers did not complete
	Errors     map[string]int64 `json:"errors,omitempty"`
}

// Counters are the faults, by the names of their metrics. k6/x/sse has the same names where both have a metric.
type Counters map[string]int64

// Deliveries counts the events that reached subscribers, without duplicates.
type Deliveries struct {
	Total         int64   `json:"total"`
	Measured      int64   `json:"measured"` // published after the warm-up
	PerSecond     float64 `json:"per_second"`
	BusyPerSecond float64 `json:"busy_per_second,omitempty"` // closed, burst: during rounds only
	Bytes         int64   `json:"bytes"`
}

// Sequence is the result of checking every subscriber's sequence.
type Sequence struct {
	Lost            int64 `json:"lost"`             // all events that never arrived
	Undelivered     int64 `json:"undelivered"`      // those of them before the first event that arrived, or after the last
	LostSubscribers int64 `json:"lost_subscribers"` // subscribers that lost any event
	Duplicated      int64 `json:"duplicated"`
	OutOfOrder      int64 `json:"out_of_order"`
	Late            int64 `json:"late"`
	Misrouted       int64 `json:"misrouted"`
	Malformed       int64 `json:"malformed"`
	Foreign         int64 `json:"foreign"`
	Gaps            int64 `json:"gap_events"`
}

// Streams is about streams that ended.
type Streams struct {
	Ended            int64 `json:"ended"`
	Reconnects       int64 `json:"reconnects"`
	ReconnectFailed  int64 `json:"reconnect_failed"`
	GaveUp           int64 `json:"gave_up"`
	Churned          int64 `json:"churned"`
	Expected         int64 `json:"newcomers_expected"` // events that new subscribers had to get
	Stalled          int64 `json:"stalled"`
	StalledEnded     int64 `json:"stalled_ended"`
	StalledFelt      int64 `json:"stalled_felt"`        // not ended, but blocking the server's writes: more was published than the kernel buffers
	StalledGiven     int64 `json:"stalled_given_bytes"` // bytes of data published to those that were not ended
	StalledKept      int64 `json:"stalled_kept_bytes"`  // bytes of it in the kernel's buffers at the end
	Comments         int64 `json:"comments"`
	OpenAtEnd        int64 `json:"open_at_end"`
	BehindAfterDrain int64 `json:"behind_after_drain"`
}

// Backpressure is how many stalled streams the server noticed: its writes to them blocked, or it ended them.
func (s *Streams) Backpressure() int64 { return s.StalledEnded + s.StalledFelt }

// Server is the resource usage of the processes of --server-pid and their children.
type Server struct {
	PIDs              []int   `json:"pids"`
	Ended             bool    `json:"ended,omitempty"` // a process ended during the run
	Processes         int     `json:"processes"`
	CPU               int64   `json:"cpu_us"` // while measuring
	CPUPerDelivery    float64 `json:"cpu_us_per_delivery"`
	Cores             float64 `json:"cores"`
	ConnectCPU        float64 `json:"cpu_us_per_connect"`
	RSSBefore         int64   `json:"rss_before"`
	RSSConnected      int64   `json:"rss_connected"`
	RSSEnd            int64   `json:"rss_end"`
	RSSMax            int64   `json:"rss_max"`
	RSSPerConnection  float64 `json:"rss_per_connection"`     // (connected - before) / open
	EndPerConnection  float64 `json:"rss_end_per_connection"` // (end - before) / open
	GrowthBytesPerMin float64 `json:"rss_growth_per_minute"`  // slope of the line fitted to the measured part of the timeline
}

// Client is the resource usage of fanload itself, in all its processes.
type Client struct {
	CPU            int64   `json:"cpu_us"`
	CPUPerDelivery float64 `json:"cpu_us_per_delivery"`
	Cores          float64 `json:"cores"`
	Processes      int     `json:"processes"`
}

// Others is the processor time that other programs than fanload and the processes of --server-pid used while measuring, to
// about 10 ms. A measurement beside a busy program is worth little.
type Others struct {
	Cores  float64 `json:"cores"`
	Stolen float64 `json:"stolen_cores"` // time that the host of a virtual machine gave to others
}

// CurvePoint is a point of the latency distribution.
type CurvePoint struct {
	Percentile float64 `json:"percentile"`
	Micros     int64   `json:"us"`
}

// Point is a sample in time.
type Point struct {
	At        float64 `json:"t"` // seconds since the run began
	Open      int64   `json:"open"`
	Delivered int64   `json:"delivered"` // so far
	Lost      int64   `json:"lost"`      // known so far
	RSS       int64   `json:"rss,omitempty"`
	CPU       int64   `json:"cpu_us,omitempty"` // of the server, so far
	Published int64   `json:"published"`        // events, so far
	Late      int64   `json:"late_us"`          // largest delay behind the schedule since the previous point

	Latency *measure.Spread `json:"latency,omitempty"` // of deliveries measured since the previous point; nil: none
}

// Worst is the point of the timeline with the highest p99, or nil if nothing was measured.
func (r *Result) Worst() (worst *Point) {
	for i := range r.Timeline {
		if p := &r.Timeline[i]; p.Latency != nil && (worst == nil || p.Latency.P99 > worst.Latency.P99) {
			worst = p
		}
	}
	return worst
}

// Curve samples a histogram, with more points at high percentiles.
func Curve(h *measure.Histogram) (points []CurvePoint) {
	if h.Count() == 0 {
		return nil
	}
	for _, q := range []float64{
		0, 5, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 92.5, 95, 97, 98, 99,
		99.25, 99.5, 99.75, 99.9, 99.95, 99.975, 99.99, 99.995, 99.999, 99.9999, 100,
	} {
		points = append(points, CurvePoint{Percentile: q, Micros: h.Quantile(q)})
	}
	return points
}

// Growth fits a line to the RSS of the points from a time on, and returns its slope in bytes per minute.
func Growth(points []Point, from float64) float64 {
	var n, sx, sy, sxx, sxy float64
	for _, p := range points {
		if p.At < from || p.RSS == 0 {
			continue
		}
		x, y := p.At-from, float64(p.RSS)
		n, sx, sy, sxx, sxy = n+1, sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	if d := n*sxx - sx*sx; n >= 3 && d > 0 {
		return (n*sxy - sx*sy) / d * 60
	}
	return 0
}
