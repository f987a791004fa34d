package metrics

import "github.com/prometheus/client_golang/prometheus"

// Publishers counts what senders of requests to the publish API may not do.
type Publishers struct {
	denied map[string]prometheus.Counter // by reason
}

// reasons are the values of the label of fanfare_publish_denied_total: the codes of package auth, and "later".
var reasons = []string{"credential-missing", "credential-invalid", "credential-expired", "key-denied", "right-denied", "denied", "later", "other"}

func newPublishers(r registrar) Publishers {
	p := Publishers{denied: map[string]prometheus.Counter{}}
	v := r.counters("fanfare_publish_denied_total", "reason", "Requests to the publish API, and lines of batches, whose sender has no valid credential or no right to them, by reason.")
	for _, reason := range reasons {
		p.denied[reason] = v.WithLabelValues(reason)
	}
	return p
}

// Denied counts a refusal. Reasons of an embedding program's own are "other".
func (p Publishers) Denied(reason string) {
	c, ok := p.denied[reason]
	if !ok {
		c = p.denied["other"]
	}
	c.Inc()
}
