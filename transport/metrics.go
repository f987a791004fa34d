package transport

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/puzpuzpuz/xsync/v3"

	"fanfare/engine"
)

// metrics are the server's figures. No label is a key: GET /keys has the
// largest ones. What every delivery counts is striped over the cores.
type metrics struct {
	registry *prometheus.Registry

	deliveries *xsync.Counter
	bytes      *xsync.Counter

	opened       prometheus.Counter
	closed       [engine.NumReasons]prometheus.Counter
	refused      map[string]prometheus.Counter
	events       prometheus.Counter
	eventBytes   prometheus.Counter
	publishFails prometheus.Counter
	strange      prometheus.Counter
	reserved     prometheus.Counter
	pings        prometheus.Counter
	missed       prometheus.Counter
	panics       prometheus.Counter
	acceptErrors prometheus.Counter
	gaps         map[engine.GapReason]prometheus.Counter
	slow         map[engine.Policy]prometheus.Counter
	replays      map[engine.Resumed]prometheus.Counter
	publish      prometheus.Histogram
	delivery     prometheus.Histogram
	lag          prometheus.Histogram
}

// limits are the values of the label of fanfare_rejected_total.
var limits = []string{"maxClients", "maxConnections", "maxKeys", "maxEventBytes", "maxIdBytes", "maxBodyBytes", "drain", "request"}

func newMetrics(s *Server) *metrics {
	m := &metrics{
		registry:   prometheus.NewRegistry(),
		deliveries: xsync.NewCounter(),
		bytes:      xsync.NewCounter(),
		refused:    map[string]prometheus.Counter{},
		gaps:       map[engine.GapReason]prometheus.Counter{},
		slow:       map[engine.Policy]prometheus.Counter{},
		replays:    map[engine.Resumed]prometheus.Counter{},
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		m.registry.MustRegister(c)
		return c
	}
	labelled := func(name, label, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		m.registry.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
		m.registry.MustRegister(h)
		return h
	}
	computed := func(counter bool, name, help string, f func() float64) {
		if counter {
			m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, f))
		} else {
			m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
		}
	}

	computed(false, "fanfare_connections", "Streams open.", func() float64 { return float64(s.open.Load()) })
	computed(false, "fanfare_connections_limit", "Streams that may be open (maxConnections).", func() float64 { return float64(s.settings.Load().MaxConnections) })
	computed(false, "fanfare_connections_blocked", "Streams whose client takes nothing for now.", func() float64 { return float64(s.blocked.Load()) })
	m.opened = counter("fanfare_connections_opened_total", "Streams opened.")
	closed := labelled("fanfare_connections_closed_total", "reason", "Streams ended, by reason.")
	for _, r := range engine.Reasons() {
		m.closed[r] = closed.WithLabelValues(r.String())
	}
	refused := labelled("fanfare_rejected_total", "limit", "Requests refused, by the limit that refused them.")
	for _, l := range limits {
		m.refused[l] = refused.WithLabelValues(l)
	}
	m.strange = counter("fanfare_unknown_parameters_total", "Streams asked for with a parameter that is not understood, such as key in place of connectKey.")
	m.acceptErrors = counter("fanfare_accept_errors_total", "Errors of accept, such as no free descriptor.")
	m.panics = counter("fanfare_panics_total", "Panics that ended one stream or request.")

	m.events = counter("fanfare_events_total", "Events published; one to all keys counts once.")
	m.eventBytes = counter("fanfare_event_bytes_total", "Bytes of frames published.")
	m.publishFails = counter("fanfare_publish_errors_total", "Publish requests refused, whatever the reason.")
	m.reserved = counter("fanfare_reserved_events_total", "Events published, or refused by reservedEvents, under a name that clients take for something else: error, open, gap, position.")
	m.publish = histogram("fanfare_publish_seconds", "Time of a publish in the engine, for the caller.", []float64{1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2, 1e-1})
	computed(true, "fanfare_deliveries_total", "Events written to streams.", func() float64 { return float64(m.deliveries.Value()) })
	computed(true, "fanfare_delivered_bytes_total", "Bytes of events written to streams.", func() float64 { return float64(m.bytes.Value()) })
	m.delivery = histogram("fanfare_delivery_seconds", "Time from publish to the socket write, of a sample of the deliveries.", []float64{1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1, 1, 10})
	m.lag = histogram("fanfare_lag_events", "Events that waited for a stream and left in one write, where there was more than one.", prometheus.ExponentialBuckets(2, 2, 9))
	m.pings = counter("fanfare_pings_total", "Heartbeats sent.")

	gaps := labelled("fanfare_gaps_total", "reason", "Gaps found, by reason.")
	for _, r := range engine.GapReasons() {
		m.gaps[r] = gaps.WithLabelValues(r.String())
	}
	m.missed = counter("fanfare_missed_events_total", "Events that streams did not get, where their number is known.")
	slow := labelled("fanfare_slow_actions_total", "policy", "Slow subscribers dealt with, by policy.")
	for p := engine.Skip; p <= engine.Disconnect; p++ {
		m.slow[p] = slow.WithLabelValues(p.String())
	}
	replays := labelled("fanfare_replays_total", "result", "Streams that came with a last event id: hit if all that followed it was kept, miss if not.")
	m.replays[engine.ResumedExact] = replays.WithLabelValues("hit")
	m.replays[engine.ResumedGap] = replays.WithLabelValues("miss")

	computed(false, "fanfare_keys", "Keys that exist.", func() float64 { return float64(s.eng.Stats().Keys) })
	computed(false, "fanfare_history_bytes", "Bytes of frames kept for replay.", func() float64 { return float64(s.eng.Stats().HistoryBytes) })
	computed(false, "fanfare_ring_bytes", "Bytes of the rings' slots, as the last pass over the keys found them.", func() float64 { return float64(s.eng.Stats().RingBytes) })
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// delivered counts frames and bytes written, or about to be.
func (m *metrics) delivered(events, bytes int) {
	m.deliveries.Add(int64(events))
	m.bytes.Add(int64(bytes))
}

// Registry returns the server's Prometheus registry, which /metrics serves, for
// embedding programs that serve it themselves or add to it.
func (s *Server) Registry() *prometheus.Registry { return s.metrics.registry }
