package sse

import (
	"fmt"

	"go.k6.io/k6/metrics"
)

// sseMetrics are the metrics of the module. Durations are milliseconds, as everywhere in k6.
type sseMetrics struct {
	root *metrics.TagSet // of the registry

	event             *metrics.Metric // counter: events dispatched; comments and unfinished events are none
	connecting        *metrics.Metric // trend: from the first packet to the response's head, of attempts that opened a stream
	connectSuccess    *metrics.Metric // rate: attempts that opened a stream; tag status, "0" without a response
	active            *metrics.Metric // gauge: open streams of the process, and so without tags of a scenario
	disconnects       *metrics.Metric // counter: open streams that ended without being asked to; tag reason
	eventLatency      *metrics.Metric // trend: from the payload's timestamp to the read that brought the event; tag phase
	firstEvent        *metrics.Metric // trend: from the start of an attempt to the first event of its stream
	reconnectDuration *metrics.Metric // trend: from the loss of a stream to its being open again, the pauses included
	lost              *metrics.Metric // counter: sequence numbers passed over
	duplicate         *metrics.Metric // counter: events whose sequence number had been seen or passed over
	dataReceived      *metrics.Metric // counter: bytes of the streams, without heads and chunk lines
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
		{&m.active, "sse_active", metrics.Gauge, metrics.Default},
		{&m.disconnects, "sse_disconnects", metrics.Counter, metrics.Default},
		{&m.eventLatency, "sse_event_latency", metrics.Trend, metrics.Time},
		{&m.firstEvent, "sse_first_event", metrics.Trend, metrics.Time},
		{&m.reconnectDuration, "sse_reconnect_duration", metrics.Trend, metrics.Time},
		{&m.lost, "sse_lost", metrics.Counter, metrics.Default},
		{&m.duplicate, "sse_duplicate", metrics.Counter, metrics.Default},
		{&m.dataReceived, "sse_data_received", metrics.Counter, metrics.Data},
	} {
		metric, err := registry.NewMetric(d.name, d.kind, d.of)
		if err != nil {
			return nil, fmt.Errorf("k6/x/sse can't register its metric %s: %w; rename the script's own metric", d.name, err)
		}
		*d.to = metric
	}
	return &m, nil
}
