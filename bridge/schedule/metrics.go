package schedule

import "github.com/prometheus/client_golang/prometheus"

// Reasons why runs fail, as they appear in metrics and logs.
const (
	reasonTimeout = "timeout"
	reasonSize    = "size"
	reasonCommand = "command" // the command could not be started, or ended with an error
	reasonRequest = "request" // no answer, or only a part of it
	reasonStatus  = "status"  // a status other than 2xx
	reasonPayload = "payload" // the bytes are not what Schedule.Payload says
	reasonPublish = "publish" // the server refused the event
)

// metrics are labelled by the schedule's name. The configuration bounds the number of names.
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
		skipped:   counter("fanfare_schedule_skipped_total", "Runs skipped: the previous run was still under way (overlap), nobody was subscribed (idle), or another server of the fleet has published (late).", "reason"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "fanfare_schedule_seconds", Help: "Duration of a run, from its start until the event is published.",
			Buckets: []float64{1e-4, 1e-3, 1e-2, 5e-2, 1e-1, 5e-1, 1, 5, 10, 60}}, []string{"schedule"}),
		success: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "fanfare_schedule_last_success_timestamp_seconds", Help: "Unix time of the end of the last run that did not fail."}, []string{"schedule"}),
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

// begin creates the series that alerts use with the value 0, so that the first failure is an increase.
func (m *metrics) begin(name string) {
	for _, result := range []string{resultPublished, resultFailed} {
		m.runs.WithLabelValues(name, result)
	}
	for _, reason := range []string{reasonTimeout, reasonSize, reasonCommand, reasonRequest, reasonStatus, reasonPayload, reasonPublish} {
		m.failures.WithLabelValues(name, reason)
	}
}

// forget deletes the series of a schedule that has been removed.
func (m *metrics) forget(name string) {
	labels := prometheus.Labels{"schedule": name}
	for _, v := range []interface {
		DeletePartialMatch(prometheus.Labels) int
	}{m.runs, m.failures, m.skipped, m.seconds, m.success} {
		v.DeletePartialMatch(labels)
	}
}
