// Package metrics holds the figures of a server, as /metrics serves them. No
// label is a key, since there may be millions of keys: GET /keys has the largest
// ones.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/puzpuzpuz/xsync/v3"

	"fanfare/engine"
)

// Metrics are the counters and histograms of a server. The rooms of package
// transport count in them directly; all methods of their types may be called
// concurrently. What every delivery counts is striped over the cores.
type Metrics struct {
	Registry *prometheus.Registry

	// Streams.
	Opened      prometheus.Counter
	Closed      [engine.NumReasons]prometheus.Counter
	Refused     map[string]prometheus.Counter // by the limit that refused, see limits
	Strange     prometheus.Counter
	IdleEvicted prometheus.Counter
	Handshakes  *prometheus.CounterVec // by result: ok, failed, timeout
	HTTP2Errors *prometheus.CounterVec // by kind
	Replays     map[engine.Resumed]prometheus.Counter

	// Deliveries.
	Deliveries *xsync.Counter // events
	Bytes      *xsync.Counter
	Delivery   prometheus.Histogram
	Lag        prometheus.Histogram
	Pings      prometheus.Counter
	Gaps       map[engine.GapReason]prometheus.Counter
	Missed     prometheus.Counter
	Slow       map[engine.Policy]prometheus.Counter

	// Publishing.
	Events       prometheus.Counter
	EventBytes   prometheus.Counter
	PublishFails prometheus.Counter
	Duplicates   prometheus.Counter
	Reserved     prometheus.Counter
	Publish      prometheus.Histogram
	Publishers

	// Faults.
	Panics       prometheus.Counter
	AcceptErrors prometheus.Counter
}

// Streams are the figures that are computed when they are read.
type Streams struct {
	Open    func() int   // streams
	Blocked func() int   // streams that wait for their client
	Pinned  func() int64 // bytes of events that only slow clients keep
	Idle    func() int   // connections on stream listeners that have no request
	Limit   int          // maxConnections
	// Authorizing are the requests that wait to be authorized.
	Authorizing func() int
	// Waiting are the streams that wait for older events from the log, and OlderBytes
	// those events' bytes.
	Waiting    func() int
	OlderBytes func() int64
}

// Admin are the figures of the admin listener that are computed when they are read.
type Admin struct {
	Connections func() int   // open on the admin listener
	BodyBytes   func() int64 // that the bodies of requests take
	// IdempotencyKeys are the message IDs that are remembered.
	IdempotencyKeys func() int
}

// Serve registers the figures of the admin listener.
func (m *Metrics) Serve(a Admin) {
	r := registrar{m.Registry}
	r.gauge("fanfare_admin_connections", "Connections open on the admin listener (maxAdminConnections).", func() float64 { return float64(a.Connections()) })
	r.gauge("fanfare_admin_body_bytes", "Bytes that the bodies of requests on the admin listener take (maxBodyTotalBytes).", func() float64 { return float64(a.BodyBytes()) })
	r.gauge("fanfare_idempotency_keys", "Idempotency-Keys that are remembered (maxIdempotencyKeys).", func() float64 { return float64(a.IdempotencyKeys()) })
}

// limits are the values of the label of fanfare_rejected_total.
var limits = []string{"maxClients", "maxConnections", "maxKeys", "maxSubscriberKeys", "keyTotalBytes", "maxEventBytes", "maxIdBytes", "maxBodyBytes", "maxBodyTotalBytes", "maxBatchLines", "maxPublishRate", "maxIdempotencyKeys", "maxRewindEvents", "maxOlderBytes", "maxAdminConnections", "minReadRate", "maxPinnedBytes", "maxConnectionsPerAddress", "proxyProtocol", "maxConnectionsPerSubject", "maxConnectRate", "maxConnectRatePerAddress", "maxAuthorizing", "unauthorized", "authorizeLater", "drain", "request"}

// New registers the metrics of a server over eng.
func New(eng *engine.Engine, streams Streams) *Metrics {
	m := &Metrics{
		Registry:   prometheus.NewRegistry(),
		Deliveries: xsync.NewCounter(),
		Bytes:      xsync.NewCounter(),
		Refused:    map[string]prometheus.Counter{},
		Gaps:       map[engine.GapReason]prometheus.Counter{},
		Slow:       map[engine.Policy]prometheus.Counter{},
		Replays:    map[engine.Resumed]prometheus.Counter{},
	}
	r := registrar{m.Registry}

	r.gauge("fanfare_connections", "Streams open.", func() float64 { return float64(streams.Open()) })
	r.gauge("fanfare_connections_limit", "Streams that may be open (maxConnections).", func() float64 { return float64(streams.Limit) })
	r.gauge("fanfare_connections_blocked", "Streams whose client is not reading for now.", func() float64 { return float64(streams.Blocked()) })
	r.gauge("fanfare_idle_connections", "Connections to stream listeners without a request, on Linux.", func() float64 { return float64(streams.Idle()) })
	r.gauge("fanfare_authorizing", "Requests for streams that wait to be authorized (maxAuthorizing).", func() float64 { return float64(streams.Authorizing()) })
	m.IdleEvicted = r.counter("fanfare_idle_connections_closed_total", "Connections without a request that were closed because there were too many (maxIdleConnections).")
	r.gauge("fanfare_pinned_bytes", "Bytes of events that the history has dropped and slow clients keep in memory (maxPinnedBytes).", func() float64 { return float64(streams.Pinned()) })
	r.gauge("fanfare_connections_waiting", "Streams that wait for older events from the log of the backplane.", func() float64 { return float64(streams.Waiting()) })
	r.gauge("fanfare_older_bytes", "Bytes of older events that were fetched from the log of the backplane and streams have not read yet (maxOlderBytes).", func() float64 { return float64(streams.OlderBytes()) })
	m.Handshakes = r.counters("fanfare_tls_handshakes_total", "result", "TLS handshakes on stream listeners, by result: ok, failed, timeout.")
	for _, result := range []string{"ok", "failed", "timeout"} {
		m.Handshakes.WithLabelValues(result)
	}
	m.HTTP2Errors = r.counters("fanfare_http2_errors_total", "kind", "Errors of HTTP/2 clients, by the kind that net/http names.")
	for _, kind := range []string{"over_max_streams", "too_many_early_resets"} { // the others appear when they happen
		m.HTTP2Errors.WithLabelValues(kind)
	}
	m.Opened = r.counter("fanfare_connections_opened_total", "Streams opened.")
	closed := r.counters("fanfare_connections_closed_total", "reason", "Streams ended, by reason.")
	for _, reason := range engine.Reasons() {
		m.Closed[reason] = closed.WithLabelValues(reason.String())
	}
	refused := r.counters("fanfare_rejected_total", "limit", "Requests refused, by the limit that refused them.")
	for _, l := range limits {
		m.Refused[l] = refused.WithLabelValues(l)
	}
	m.Strange = r.counter("fanfare_unknown_parameters_total", "Streams requested with an unknown parameter, such as key in place of connectKey.")
	m.AcceptErrors = r.counter("fanfare_accept_errors_total", "Errors of accept, such as no free descriptor.")
	m.Panics = r.counter("fanfare_panics_total", "Panics that ended one stream or request.")

	m.Events = r.counter("fanfare_events_total", "Events published; one to all keys counts once.")
	m.EventBytes = r.counter("fanfare_event_bytes_total", "Bytes of frames published.")
	m.PublishFails = r.counter("fanfare_publish_errors_total", "Publish requests refused, whatever the reason.")
	m.Duplicates = r.counter("fanfare_duplicate_events_total", "Events that were not published again, since one with the same Idempotency-Key was before.")
	m.Publishers = newPublishers(r)
	m.Reserved = r.counter("fanfare_reserved_events_total", "Events published, or refused by reservedEvents, under a name that clients take for something else: error, open, gap, position, expired.")
	m.Publish = r.histogram("fanfare_publish_seconds", "Time of a publish in the engine, for the caller.", []float64{1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2, 1e-1})
	r.computedCounter("fanfare_deliveries_total", "Events written to streams.", func() float64 { return float64(m.Deliveries.Value()) })
	r.computedCounter("fanfare_delivered_bytes_total", "Bytes of events written to streams.", func() float64 { return float64(m.Bytes.Value()) })
	m.Delivery = r.histogram("fanfare_delivery_seconds", "Time from publish to the socket write, of a sample of the deliveries.", []float64{1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1, 1, 10})
	m.Lag = r.histogram("fanfare_lag_events", "Events that waited for a stream and left in one write, where there was more than one.", prometheus.ExponentialBuckets(2, 2, 9))
	m.Pings = r.counter("fanfare_pings_total", "Heartbeats sent.")

	gaps := r.counters("fanfare_gaps_total", "reason", "Gaps found, by reason.")
	for _, reason := range engine.GapReasons() {
		m.Gaps[reason] = gaps.WithLabelValues(reason.String())
	}
	m.Missed = r.counter("fanfare_missed_events_total", "Events that streams did not get, where their number is known.")
	slow := r.counters("fanfare_slow_actions_total", "policy", "Actions on slow subscribers, by policy.")
	for p := engine.Skip; p <= engine.Disconnect; p++ {
		m.Slow[p] = slow.WithLabelValues(p.String())
	}
	replays := r.counters("fanfare_replays_total", "result", "Streams opened with a last event id: hit if everything after it was kept, miss if not.")
	m.Replays[engine.ResumedExact] = replays.WithLabelValues("hit")
	m.Replays[engine.ResumedGap] = replays.WithLabelValues("miss")

	r.gauge("fanfare_keys", "Keys that exist.", func() float64 { return float64(eng.Stats().Keys) })
	r.gauge("fanfare_key_bytes", "Bytes of the names of the keys that exist.", func() float64 { return float64(eng.Stats().KeyBytes) })
	r.gauge("fanfare_history_bytes", "Bytes of frames kept for replay.", func() float64 { return float64(eng.Stats().HistoryBytes) })
	r.gauge("fanfare_ring_bytes", "Bytes of the rings' slots, as the last pass over the keys found them.", func() float64 { return float64(eng.Stats().RingBytes) })
	r.computedCounter("fanfare_log_unwanted_events_total", "Events of the backplane that were not kept in memory, because interest is keys and their key has no client here.",
		func() float64 { return float64(eng.Stats().Unwanted) })
	m.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Delivered counts frames and bytes written, or about to be.
func (m *Metrics) Delivered(events, bytes int) {
	m.Deliveries.Add(int64(events))
	m.Bytes.Add(int64(bytes))
}

// registrar makes metrics and registers them.
type registrar struct{ registry *prometheus.Registry }

func (r registrar) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	r.registry.MustRegister(c)
	return c
}

func (r registrar) counters(name, label, help string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	r.registry.MustRegister(c)
	return c
}

func (r registrar) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	r.registry.MustRegister(h)
	return h
}

func (r registrar) computedCounter(name, help string, f func() float64) {
	r.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, f))
}

func (r registrar) gauge(name, help string, f func() float64) {
	r.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
}
