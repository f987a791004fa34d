package swarm

import (
	"maps"

	"fanfare/cmd/fanload/measure"
)

// Counts of a loop, a process or a run. All but the gauges only grow.
type Counts struct {
	Open      int64 `json:"open"`      // gauge: subscribed now
	Opening   int64 `json:"opening"`   // gauge: connecting, or waiting for the head
	Waiting   int64 `json:"waiting"`   // gauge: before a reconnect
	Connected int64 `json:"connected"` // subscribers that were subscribed once
	Failed    int64 `json:"failed"`    // subscribers that never were
	Stalled   int64 `json:"stalled"`   // that stopped reading

	Events    int64 `json:"events"` // of this run, duplicates too
	Delivered int64 `json:"delivered"`
	Measured  int64 `json:"measured"` // delivered, published after the warm-up
	Duplicate int64 `json:"duplicate"`
	Reordered int64 `json:"reordered"` // delivered, but behind a later one
	Late      int64 `json:"late"`      // too far behind to tell whether it is a duplicate
	Misrouted int64 `json:"misrouted"` // of a key that the subscriber has not asked for
	Malformed int64 `json:"malformed"` // events of this run whose data is cut off or garbled
	Foreign   int64 `json:"foreign"`   // events that this run has not published
	Gaps      int64 `json:"gaps"`      // events by which the server admits a loss
	Comments  int64 `json:"comments"`
	Bytes     int64 `json:"bytes"` // read, heads included

	Lost          int64 `json:"lost"`             // between two events that came; at subscribers that have left, at the end: at all
	Undelivered   int64 `json:"undelivered"`      // before the first event that came, or after the last
	LostOf        int64 `json:"lost_subscribers"` // of which either is true
	Charged       int64 `json:"charged"`          // latencies of events that never came, and were not taken or not sent
	Ended         int64 `json:"ended"`            // streams that the server ended
	StalledEnded  int64 `json:"stalled_ended"`
	StallFelt     int64 `json:"stall_felt"`  // of the others, those that the server was held up by
	StallGiven    int64 `json:"stall_given"` // bytes of data that were published to the others
	StallKept     int64 `json:"stall_kept"`  // bytes of their streams that the kernel held at the end
	Reconnects    int64 `json:"reconnects"`
	ReconnectFail int64 `json:"reconnect_failures"`
	GaveUp        int64 `json:"gave_up"` // subscribers that were subscribed, and could not be again
	Churned       int64 `json:"churned"`
	Expected      int64 `json:"expected"`    // events that those had to get who took the place of others
	NotBack       int64 `json:"not_back"`    // subscribers that were not back at the end
	Retries       int64 `json:"retry_hints"` // retry fields that changed the reconnection time

	LastDelivery  int64 `json:"last_delivery"`  // microseconds, monotonic
	LastConnected int64 `json:"last_connected"` // when the newest first connection was subscribed; the same clock
}

// Add another's counts.
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

// Result is what a loop, a process or a run has to say at the end.
type Result struct {
	Counts     Counts            `json:"counts"`
	Window     measure.Profile   `json:"window"`      // the latencies that no Window has told of
	Latency    measure.Histogram `json:"latency"`     // all: publish (scheduled) to read by the subscriber
	Connect    measure.Histogram `json:"connect"`     // TCP
	TLS        measure.Histogram `json:"tls"`         // the handshake behind it
	Head       measure.Histogram `json:"head"`        // from the start of the connect to the answer's head, or to the failure
	FirstEvent measure.Histogram `json:"first_event"` // from the start of the connect to the first event
	Reconnect  measure.Histogram `json:"reconnect"`   // from the end of a stream to the head of the next
	Ciphers    map[string]int64  `json:"ciphers"`     // TLS versions and cipher suites of the connections
	Failures   map[string]int64  `json:"failures"`    // attempts that opened no stream, by reason
	Statuses   map[string]int64  `json:"statuses"`    // answers that were no stream, by status
	Errors     map[string]int64  `json:"errors"`      // by kind
	CPU        int64             `json:"cpu_us"`      // of the process, since measuring began
}

// Merge another's result.
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
