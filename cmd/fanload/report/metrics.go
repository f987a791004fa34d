package report

import (
	"maps"
	"slices"

	"fanfare/cmd/fanload/measure"
)

// unit is the unit of a metric. It decides how a threshold's value may be written.
type unit uint8

const (
	count   unit = iota
	micros       // durations
	bytes        // sizes
	perTime      // a rate
)

// metric is a figure that a threshold can name.
type metric struct {
	unit    unit
	server  bool // needs --server-pid
	summary bool // one of the figures of a summary
	value   func(*Result) (v float64, ok bool)

	atLeast func(*Result) bool // whether the value is only a lower bound; nil: it never is
}

var metrics = allMetrics()

// figures are the names of the figures of a summary.
var figures = []string{"min", "mean", "p50", "p90", "p99", "p999", "p9999", "max"}

func metricOf(u unit, f func(*Result) float64) metric {
	return metric{unit: u, value: func(r *Result) (float64, bool) { return f(r), true }}
}

func countOf(f func(*Result) float64) metric { return metricOf(count, f) }

func allMetrics() map[string]metric {
	m := map[string]metric{}
	number := func(name string, u unit, f func(*Result) float64) {
		m[name] = metricOf(u, f)
	}
	server := func(name string, u unit, f func(*Server) float64) {
		m[name] = metric{unit: u, server: true, value: func(r *Result) (float64, bool) {
			if r.Server == nil {
				return 0, false
			}
			return f(r.Server), true
		}}
	}
	summary := func(prefix string, f func(*Result) *measure.Summary) {
		for name, v := range map[string]struct {
			value   func(*measure.Summary) float64
			percent float64
		}{
			"min":   {func(s *measure.Summary) float64 { return float64(s.Min) }, 0},
			"mean":  {func(s *measure.Summary) float64 { return s.Mean }, 100},
			"p50":   {func(s *measure.Summary) float64 { return float64(s.P50) }, 50},
			"p90":   {func(s *measure.Summary) float64 { return float64(s.P90) }, 90},
			"p99":   {func(s *measure.Summary) float64 { return float64(s.P99) }, 99},
			"p999":  {func(s *measure.Summary) float64 { return float64(s.P999) }, 99.9},
			"p9999": {func(s *measure.Summary) float64 { return float64(s.P9999) }, 99.99},
			"max":   {func(s *measure.Summary) float64 { return float64(s.Max) }, 100},
		} {
			m[prefix+name] = metric{
				unit:    micros,
				summary: true,
				value: func(r *Result) (float64, bool) {
					s := f(r)
					return v.value(s), s.Count > 0
				},
				atLeast: func(r *Result) bool { return f(r).AtLeast(v.percent) },
			}
		}
	}
	summary("", func(r *Result) *measure.Summary { return &r.Latency })
	summary("round_", func(r *Result) *measure.Summary { return &r.Round })
	summary("connect_", func(r *Result) *measure.Summary { return &r.Connect.TCP })
	summary("tls_", func(r *Result) *measure.Summary { return &r.Connect.TLS })
	summary("head_", func(r *Result) *measure.Summary { return &r.Connect.Head })
	summary("first_event_", func(r *Result) *measure.Summary { return &r.Connect.FirstEvent })
	summary("reconnect_", func(r *Result) *measure.Summary { return &r.Reconnect })
	summary("publish_", func(r *Result) *measure.Summary { return &r.Publish.Latency })

	number("connected", count, func(r *Result) float64 { return float64(r.Connect.Connected) })
	number("failed", count, func(r *Result) float64 { return float64(r.Connect.Failed) })
	number("connects_per_second", perTime, func(r *Result) float64 { return r.Connect.PerSecond })
	number("published", count, func(r *Result) float64 { return float64(r.Publish.Events) })
	number("events_per_second", perTime, func(r *Result) float64 { return r.Publish.PerSecond })
	number("deliveries", count, func(r *Result) float64 { return float64(r.Deliveries.Total) })
	number("deliveries_per_second", perTime, func(r *Result) float64 { return r.Deliveries.PerSecond })
	number("lost", count, func(r *Result) float64 { return float64(r.Sequence.Lost) })
	number("duplicated", count, func(r *Result) float64 { return float64(r.Sequence.Duplicated) })
	number("out_of_order", count, func(r *Result) float64 { return float64(r.Sequence.OutOfOrder) })
	number("late", count, func(r *Result) float64 { return float64(r.Sequence.Late) })
	number("misrouted", count, func(r *Result) float64 { return float64(r.Sequence.Misrouted) })
	number("foreign", count, func(r *Result) float64 { return float64(r.Sequence.Foreign) })
	number("gap_events", count, func(r *Result) float64 { return float64(r.Sequence.Gaps) })
	number("ended", count, func(r *Result) float64 { return float64(r.Streams.Ended) })
	number("reconnects", count, func(r *Result) float64 { return float64(r.Streams.Reconnects) })
	number("reconnect_failed", count, func(r *Result) float64 { return float64(r.Streams.ReconnectFailed) })
	number("gave_up", count, func(r *Result) float64 { return float64(r.Streams.GaveUp) })
	number("backpressure", count, func(r *Result) float64 { return float64(r.Streams.Backpressure()) })
	number("client_cpu_per_delivery", micros, func(r *Result) float64 { return r.Client.CPUPerDelivery })
	number("client_cores", count, func(r *Result) float64 { return r.Client.Cores })

	number("publish_failed", count, func(r *Result) float64 { return float64(r.Publish.Failed) })
	for _, f := range faults {
		number(f.name, count, func(r *Result) float64 { return float64(f.value(r)) })
	}
	m["worst_p99"] = metric{unit: micros, value: func(r *Result) (float64, bool) {
		if p := r.Worst(); p != nil {
			return float64(p.Latency.P99), true
		}
		return 0, false
	}}
	m["other_cores"] = metric{unit: count, value: func(r *Result) (float64, bool) {
		if r.Others == nil {
			return 0, false
		}
		return r.Others.Cores + r.Others.Stolen, true
	}}

	server("cpu_per_delivery", micros, func(s *Server) float64 { return s.CPUPerDelivery })
	server("cpu_per_connect", micros, func(s *Server) float64 { return s.ConnectCPU })
	server("server_cores", count, func(s *Server) float64 { return s.Cores })
	server("rss_connected", bytes, func(s *Server) float64 { return float64(s.RSSConnected) })
	server("rss_end", bytes, func(s *Server) float64 { return float64(s.RSSEnd) })
	server("rss_max", bytes, func(s *Server) float64 { return float64(s.RSSMax) })
	server("rss_per_connection", bytes, func(s *Server) float64 { return s.RSSPerConnection })
	server("rss_end_per_connection", bytes, func(s *Server) float64 { return s.EndPerConnection })
	server("rss_growth_per_minute", bytes, func(s *Server) float64 { return s.GrowthBytesPerMin })
	return m
}

// MetricNames returns the metrics that thresholds can use, sorted.
func MetricNames() []string { return slices.Sorted(maps.Keys(metrics)) }
