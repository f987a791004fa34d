package schedule

import "github.com/prometheus/client_golang/prometheus"

// The reasons of failures.
const (
	reasonTimeout = "timeout"
	reasonSize    = "size"
	reasonCommand = "command" // could not be started, or ended with an error
	reasonRequest = "request" // no answer, or not all of it
	reasonStatus  = "status"  // an answer other than 2xx
	reasonPayload = "payload" // the bytes are not what Schedule.Payload says
	reasonPublish = "publish" // the server refused the event
)

// metrics are labelled by the schedule's name, of which there are as many as were configured.
type metrics struct {
	schedules prometheus.Gauge
	runs      *prometheus.CounterVec
	failures  *prometheus.CounterVec
	skipped   *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	success   *prometheus.GaugeVec
}

func newMetrics() *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{"schedule"}, labels...))
	}
	return &metrics{
		schedules: prometheus.NewGauge(prometheus.GaugeOpts{Name: "fanfare_schedules", Help: "Schedules that run."}),
		runs:      counter("fanfare_schedule_runs_total", "Runs of a schedule, by result: published, unchanged, empty, failed.", "result"),
		failures:  counter("fanfare_schedule_failures_total", "Failed runs of a schedule, by reason.", "reason"),
		skipped:   counter("fanfare_schedule_skipped_total", "Runs left out: the one before took too long (overlap), or nobody is subscribed (idle).", "reason"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "fanfare_schedule_seconds", Help: "Time of a run, from its start to the publish.",
			Buckets: []float64{1e-4, 1e-3, 1e-2, 5e-2, 1e-1, 5e-1, 1, 5, 10, 60}}, []string{"schedule"}),
		success: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "fanfare_schedule_last_success_timestamp_seconds", Help: "When a run last ended without a failure, Unix time."}, []string{"schedule"}),
	}
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.schedules, m.runs, m.failures, m.skipped, m.seconds, m.success}
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

// begin makes the series that alerts are about, so that the first failure is a rise and not a beginning.
func (m *metrics) begin(name string) {
	for _, result := range []string{resultPublished, resultFailed} {
		m.runs.WithLabelValues(name, result)
	}
	for _, reason := range []string{reasonTimeout, reasonSize, reasonCommand, reasonRequest, reasonStatus, reasonPayload, reasonPublish} {
		m.failures.WithLabelValues(name, reason)
	}
}

// forget ends the series of a schedule that is no more.
func (m *metrics) forget(name string) {
	labels := prometheus.Labels{"schedule": name}
	for _, v := range []interface {
		DeletePartialMatch(prometheus.Labels) int
	}{m.runs, m.failures, m.skipped, m.seconds, m.success} {
		v.DeletePartialMatch(labels)
	}
}
