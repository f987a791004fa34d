package swarm

import (
	"maps"

	"fanfare/cmd/fanload/measure"
)

// Counts are the counts of a loop, a process or a run. All except the gauges only grow.
type Counts struct {
	Open      int64 `json:"open"`      // gauge: subscribed now
	Opening   int64 `json:"opening"`   // gauge: connecting, or waiting for the head
	Waiting   int64 `json:"waiting"`   // gauge: before a reconnect
	Connected int64 `json:"connected"` // subscribers that have been subscribed
	Failed    int64 `json:"failed"`    // subscribers that never were
	Stalled   int64 `json:"stalled"`   // subscribers that stopped reading

	Events    int64 `json:"events"` // of this run, including duplicates
	Delivered int64 `json:"delivered"`
	Measured  int64 `json:"measured"` // delivered, published after the warm-up
	Duplicate int64 `json:"duplicate"`
	Reordered int64 `json:"reordered"` // delivered, but after a later one
	Late      int64 `json:"late"`      // too far behind to tell whether it is a duplicate
	Misrouted int64 `json:"misrouted"` // of a key to which the subscriber is not subscribed
	Malformed int64 `json:"malformed"` // events of this run whose data is cut off or garbled
	Foreign   int64 `json:"foreign"`   // events that this run did not publish
	Gaps      int64 `json:"gaps"`      // events by which the server reports a loss
	Comments  int64 `json:"comments"`
	Bytes     int64 `json:"bytes"` // read, including heads

	Lost          int64 `json:"lost"`             // events lost between two that arrived; during the run, only at subscribers that have left
	Undelivered   int64 `json:"undelivered"`      // events lost before the first one that arrived, or after the last
	LostOf        int64 `json:"lost_subscribers"` // subscribers that lost any event
	Charged       int64 `json:"charged"`          // latencies recorded for events that were not accepted or not sent
	Ended         int64 `json:"ended"`            // streams that the server ended
	StalledEnded  int64 `json:"stalled_ended"`
	StallFelt     int64 `json:"stall_felt"`  // stalled streams, not ended, that blocked the server's writes
	StallGiven    int64 `json:"stall_given"` // bytes of data published to stalled streams that were not ended
	StallKept     int64 `json:"stall_kept"`  // bytes of these streams in the kernel's buffers at the end
	Reconnects    int64 `json:"reconnects"`
	ReconnectFail int64 `json:"reconnect_failures"`
	GaveUp        int64 `json:"gave_up"` // subscribers that were subscribed and could not reconnect
	Churned       int64 `json:"churned"`
	Expected      int64 `json:"expected"`    // events that subscribers had to get that replaced others
	NotBack       int64 `json:"not_back"`    // subscribers that had not reconnected at the end
	Retries       int64 `json:"retry_hints"` // retry fields that changed the reconnection delay

	LastDelivery  int64 `json:"last_delivery"`  // microseconds, monotonic
	LastConnected int64 `json:"last_connected"` // when the last subscriber was first subscribed; the same clock
}

// Add adds the counts of another loop or process.
func (c *Counts) Add(o *Counts) {
	c.Open += o.Open
	c.Opening += o.Opening
	c.Waiting += o.Waiting
	c.Connected += o.Connected
	c.Failed += o.Failed
	c.Stalled += o.Stalled
	c.Events += o.Events
	c.Delivered += o.Delivered
	c.Measured += o.Measured
	c.Duplicate += o.Duplicate
	c.Reordered += o.Reordered
	c.Late += o.Late
	c.Misrouted += o.Misrouted
	c.Malformed += o.Malformed
	c.Foreign += o.Foreign
	c.Gaps += o.Gaps
	c.Comments += o.Comments
	c.Bytes += o.Bytes
	c.Lost += o.Lost
	c.Undelivered += o.Undelivered
	c.Charged += o.Charged
	c.LostOf += o.LostOf
	c.Ended += o.Ended
	c.StalledEnded += o.StalledEnded
	c.StallFelt += o.StallFelt
	c.StallGiven += o.StallGiven
	c.StallKept += o.StallKept
	c.Reconnects += o.Reconnects
	c.ReconnectFail += o.ReconnectFail
	c.GaveUp += o.GaveUp
	c.Churned += o.Churned
	c.Expected += o.Expected
	c.NotBack += o.NotBack
	c.Retries += o.Retries
	c.LastDelivery = max(c.LastDelivery, o.LastDelivery)
	c.LastConnected = max(c.LastConnected, o.LastConnected)
}

// Result is the result of a loop, a process or a run.
type Result struct {
	Counts     Counts            `json:"counts"`
	Window     measure.Profile   `json:"window"`      // the latencies since the last Window
	Latency    measure.Histogram `json:"latency"`     // all: publish (scheduled) to read by the subscriber
	Connect    measure.Histogram `json:"connect"`     // TCP
	TLS        measure.Histogram `json:"tls"`         // the handshake after the TCP connect
	Head       measure.Histogram `json:"head"`        // from the start of the connect to the response's head, or to the failure
	FirstEvent measure.Histogram `json:"first_event"` // from the start of the connect to the first event
	Reconnect  measure.Histogram `json:"reconnect"`   // from the end of a stream to the head of the next
	Ciphers    map[string]int64  `json:"ciphers"`     // TLS versions and cipher suites of the connections
	Failures   map[string]int64  `json:"failures"`    // attempts that did not open a stream, by reason
	Statuses   map[string]int64  `json:"statuses"`    // responses that were not a stream, by status
	Errors     map[string]int64  `json:"errors"`      // by kind
	CPU        int64             `json:"cpu_us"`      // of the process, since measuring began
}

// Merge adds the result of another loop or process.
func (r *Result) Merge(o *Result) {
	r.Counts.Add(&o.Counts)
	r.Window = r.Window.Merge(o.Window)
	r.Latency.Merge(&o.Latency)
	r.Connect.Merge(&o.Connect)
	r.TLS.Merge(&o.TLS)
	r.Head.Merge(&o.Head)
	r.FirstEvent.Merge(&o.FirstEvent)
	r.Reconnect.Merge(&o.Reconnect)
	r.Ciphers = addCounts(r.Ciphers, o.Ciphers)
	r.Failures = addCounts(r.Failures, o.Failures)
	r.Statuses = addCounts(r.Statuses, o.Statuses)
	r.Errors = addCounts(r.Errors, o.Errors)
	r.CPU += o.CPU
}

func addCounts(dst, src map[string]int64) map[string]int64 {
	if dst == nil {
		return maps.Clone(src)
	}
	for k, n := range src {
		dst[k] += n
	}
	return dst
}
