package redis

import (
	"github.com/prometheus/client_golang/prometheus"

	"fanfare/internal/redisconn"
)

// metrics are the metrics of all sources, each labelled by its source.
type metrics struct {
	connected, leads, streams, behind      *prometheus.GaugeVec
	messages, gaps, reconnects, connErrors *prometheus.CounterVec
	refused                                *prometheus.CounterVec
}

// sourceMetrics are the metrics of one source.
type sourceMetrics struct {
	connected, leads           prometheus.Gauge
	streams, behind            prometheus.Gauge
	messages, gaps, reconnects prometheus.Counter
	errors, refused            *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"source"})
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{"source"}, labels...))
	}
	m := &metrics{
		connected:  gauge("fanfare_redis_connected", "1 while the source works, 0 while it is being connected."),
		leads:      gauge("fanfare_redis_leads", "1 while this server publishes what the source delivers: in a fleet one node does."),
		streams:    gauge("fanfare_redis_streams", "Streams that are read."),
		behind:     gauge("fanfare_redis_behind_entries", "Entries of streams not read yet, at the last poll."),
		messages:   counter("fanfare_redis_messages_total", "Messages and entries read, including refused ones."),
		gaps:       counter("fanfare_redis_gaps_total", "Gaps reported to keys."),
		reconnects: counter("fanfare_redis_reconnects_total", "Connections made after the first one."),
		connErrors: counter("fanfare_redis_errors_total", "Connections lost and attempts failed, by reason.", "reason"),
		refused:    counter("fanfare_redis_refused_total", "Messages refused, by reason.", "reason"),
	}
	if r != nil {
		r.MustRegister(m.connected, m.leads, m.streams, m.behind, m.messages, m.gaps, m.reconnects, m.connErrors, m.refused)
	}
	return m
}

func (m *metrics) source(name string) sourceMetrics {
	s := sourceMetrics{
		connected: m.connected.WithLabelValues(name), leads: m.leads.WithLabelValues(name),
		messages: m.messages.WithLabelValues(name), gaps: m.gaps.WithLabelValues(name), reconnects: m.reconnects.WithLabelValues(name),
		errors: m.connErrors, refused: m.refused,
	}
	if name == "streams" {
		s.streams, s.behind = m.streams.WithLabelValues(name), m.behind.WithLabelValues(name)
	}
	for _, reason := range refusals {
		m.refused.WithLabelValues(name, reason)
	}
	for _, reason := range redisconn.Reasons {
		m.connErrors.WithLabelValues(name, reason)
	}
	return s
}
