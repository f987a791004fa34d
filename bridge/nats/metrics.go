package nats

import "github.com/prometheus/client_golang/prometheus"

// metrics are the figures of a bridge.
type metrics struct {
	connected, leads      prometheus.Gauge
	messages, gaps        prometheus.Counter
	reconnects            prometheus.Counter
	connErrors, refusedBy *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	vector := func(name, help string, reasons []string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"reason"})
		for _, reason := range reasons { // so that the first one is an increase
			v.WithLabelValues(reason)
		}
		return v
	}
	m := &metrics{
		connected:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "fanfare_nats_connected", Help: "1 while the subscriptions to NATS work."}),
		leads:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "fanfare_nats_leads", Help: "1 while this server publishes what it receives from subjects: in a fleet one node does."}),
		messages:   counter("fanfare_nats_messages_total", "Messages received from subjects, including refused ones."),
		gaps:       counter("fanfare_nats_gaps_total", "Gaps reported to keys."),
		reconnects: counter("fanfare_nats_reconnects_total", "Connections made after the first one."),
		connErrors: vector("fanfare_nats_errors_total", "Connections lost and attempts failed, by reason.", failures),
		refusedBy:  vector("fanfare_nats_refused_total", "Messages refused, by reason.", refusals),
	}
	if r != nil {
		r.MustRegister(m.connected, m.leads, m.messages, m.gaps, m.reconnects, m.connErrors, m.refusedBy)
	}
	return m
}

// Reasons why messages are refused, as they appear in metrics and logs.
const (
	reasonSize    = "maxEventBytes" // ErrTooLarge
	reasonKeys    = "maxKeys"
	reasonInvalid = "invalid" // not UTF-8, not the JSON that the mode requires, a field with a line break, …
)

var refusals = []string{reasonSize, reasonKeys, reasonInvalid}

// Reasons why connections fail, as they appear in metrics and logs.
const (
	failureLogin      = "login"
	failurePermission = "permission"
	failureTimeout    = "timeout"
	failureRefused    = "refused"
	failureClosed     = "closed"
	failureSlow       = "slow"
	failureOther      = "other"
)

var failures = []string{failureLogin, failurePermission, failureTimeout, failureRefused, failureClosed, failureSlow, failureOther}
