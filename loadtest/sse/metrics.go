package sse

import (
	"fmt"

	"go.k6.io/k6/metrics"
)

// sseMetrics are the metrics of the module. Durations are in milliseconds, as everywhere in k6.
type sseMetrics struct {
	root *metrics.TagSet // of the registry

	event             *metrics.Metric // counter: events dispatched, without comments and unfinished events
	connecting        *metrics.Metric // trend: from the first packet to the response's head, or to the failure of the attempt; tag result
	connectSuccess    *metrics.Metric // rate: attempts that opened a stream; tag status, "0" without a response
	connectFailed     *metrics.Metric // counter: attempts that did not open a stream; tag reason
	active            *metrics.Metric // gauge: open streams of the process, without the tags of a scenario
	disconnects       *metrics.Metric // counter: open streams that ended without the script asking for it; tag reason
	eventLatency      *metrics.Metric // trend: from the payload's timestamp to the read that received the event; tag phase
	firstEvent        *metrics.Metric // trend: from the start of an attempt to the first event of its stream
	reconnectDuration *metrics.Metric // trend: from the loss of a stream until it is open again, including pauses
	lost              *metrics.Metric // counter: sequence numbers that were skipped and did not arrive late
	duplicate         *metrics.Metric // counter: events whose sequence number had arrived before
	reordered         *metrics.Metric // counter: events that first arrived after one with a higher number

	// For streams with the option expect.
	expected    *metrics.Metric // counter: events that were published while the stream was open
	undelivered *metrics.Metric // counter: those of them before the first one that arrived, and after the last
	misrouted   *metrics.Metric // counter: events of another key
	malformed   *metrics.Metric // counter: events whose data is cut off, or has no sequence or key

	dataReceived *metrics.Metric // counter: bytes of the streams, without heads and chunk lines
}

func registerMetrics(registry *metrics.Registry) (*sseMetrics, error) {
	m := sseMetrics{root: registry.RootTagSet()}
	for _, d := range []struct {
		to   **metrics.Metric
		name string
		kind metrics.MetricType
		of   metrics.ValueType
	}{
		{&m.event, "sse_event", metrics.Counter, metrics.Default},
		{&m.connecting, "sse_connecting", metrics.Trend, metrics.Time},
		{&m.connectSuccess, "sse_connect_success", metrics.Rate, metrics.Default},
		{&m.connectFailed, "sse_connect_failed", metrics.Counter, metrics.Default},
		{&m.active, "sse_active", metrics.Gauge, metrics.Default},
		{&m.disconnects, "sse_disconnects", metrics.Counter, metrics.Default},
		{&m.eventLatency, "sse_event_latency", metrics.Trend, metrics.Time},
		{&m.firstEvent, "sse_first_event", metrics.Trend, metrics.Time},
		{&m.reconnectDuration, "sse_reconnect_duration", metrics.Trend, metrics.Time},
		{&m.lost, "sse_lost", metrics.Counter, metrics.Default},
		{&m.duplicate, "sse_duplicate", metrics.Counter, metrics.Default},
		{&m.reordered, "sse_reordered", metrics.Counter, metrics.Default},
		{&m.expected, "sse_expected", metrics.Counter, metrics.Default},
		{&m.undelivered, "sse_undelivered", metrics.Counter, metrics.Default},
		{&m.misrouted, "sse_misrouted", metrics.Counter, metrics.Default},
		{&m.malformed, "sse_malformed", metrics.Counter, metrics.Default},
		{&m.dataReceived, "sse_data_received", metrics.Counter, metrics.Data},
	} {
		metric, err := registry.NewMetric(d.name, d.kind, d.of)
		if err != nil {
			return nil, fmt.Errorf("k6/x/sse cannot register its metric %s: %w: rename the script's own metric", d.name, err)
		}
		*d.to = metric
	}
	return &m, nil
}
