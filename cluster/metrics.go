package cluster

import "github.com/prometheus/client_golang/prometheus"

// Results of publishes and fetches, as they appear in metrics.
const (
	resultStored    = "stored"
	resultDuplicate = "duplicate"
	resultQueued    = "queued"
	resultUnknown   = "unknown"
	resultAway      = "away"
	resultRefused   = "refused" // too large, or the log is full

	olderFetched = "fetched" // from the log
	olderShared  = "shared"  // from what was fetched for another subscriber
	olderPart    = "part"    // of a rewind or a list: the rest is too old, or over the bounds
	olderTooOld  = "too_old"
	olderFailed  = "failed"
)

// metrics are the metrics of a node.
type metrics struct {
	appendSeconds                      prometheus.Histogram
	publishes, older                   *prometheus.CounterVec
	epochs, holes, invalid, reconnects prometheus.Counter
	lost, silent, conflicts            prometheus.Counter

	gauges []prometheus.Collector // computed from the node's state
}

func newMetrics(n *Node) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string, get func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, get)
	}
	m := &metrics{
		appendSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "fanfare_log_append_seconds",
			Help:    "Time until the log has answered a publish, including repetitions.",
			Buckets: []float64{1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1, 3, 10, 30}}),
		publishes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fanfare_log_publishes_total",
			Help: "Events published to the log, by result: stored, duplicate, queued, unknown, away, refused."}, []string{"result"}),
		older: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fanfare_log_older_total",
			Help: "Ranges of older events that clients needed from the log, by result: fetched, shared, part, too_old, failed."}, []string{"result"}),
		epochs:     counter("fanfare_log_epochs_total", "Epochs that began while this node was reading: the log has gone back, or may have."),
		holes:      counter("fanfare_log_holes_total", "Ranges of entries that the log has lost."),
		invalid:    counter("fanfare_log_invalid_total", "Entries of the log that could not be delivered: not valid events."),
		reconnects: counter("fanfare_log_reconnects_total", "Sessions of reading after the first one of each partition."),
		lost:       counter("fanfare_log_queue_lost_total", "Queued events that were lost: refused by the log, or still queued at the end of the process."),
		silent:     counter("fanfare_fleet_silent_total", "Nodes that have not answered a question in time."),
		conflicts:  counter("fanfare_fleet_name_conflicts_total", "Messages of another node with the name of this one."),
		gauges: []prometheus.Collector{
			gauge("fanfare_log_connected", "1 while the broker of the log can be reached, otherwise 0.", func() float64 {
				if n.o.Log.Connected() {
					return 1
				}
				return 0
			}),
			gauge("fanfare_log_behind_entries", "Entries that the log has and this node has not applied.", func() float64 { return float64(n.behind()) }),
			gauge("fanfare_log_queued_events", "Events that wait in this process for the broker.", func() float64 { return float64(n.queue.len()) }),
			gauge("fanfare_fleet_nodes", "Nodes that were heard of within the last seconds, this one too.", func() float64 {
				heard, _ := n.fleet.names()
				return float64(len(heard))
			}),
			gauge("fanfare_fleet_silent_nodes", "Nodes that are not heard of any more and have not said good-bye (fleetForgetAfter).", func() float64 {
				_, silent := n.fleet.names()
				return float64(len(silent))
			}),
		},
	}
	// Create the series that alerts use with the value 0, so that the first failure is an increase.
	for _, result := range []string{resultStored, resultDuplicate, resultQueued, resultUnknown, resultAway, resultRefused} {
		m.publishes.WithLabelValues(result)
	}
	for _, result := range []string{olderFetched, olderShared, olderTooOld, olderFailed} {
		m.older.WithLabelValues(result)
	}
	return m
}

func (m *metrics) collectors() []prometheus.Collector {
	return append([]prometheus.Collector{m.appendSeconds, m.publishes, m.older, m.epochs, m.holes, m.invalid, m.reconnects,
		m.lost, m.silent, m.conflicts}, m.gauges...)
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(c chan<- *prometheus.Desc) {
	for _, each := range m.collectors() {
		each.Describe(c)
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(c chan<- prometheus.Metric) {
	for _, each := range m.collectors() {
		each.Collect(c)
	}
}
