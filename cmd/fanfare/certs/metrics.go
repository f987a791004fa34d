package certs

import (
	"crypto/x509"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	expiryName  = "fanfare_tls_certificate_expiry_timestamp_seconds"
	expiryHelp  = "When the certificate in effect expires, in seconds since 1970."
	failureName = "fanfare_tls_certificate_failures_total"
	failureHelp = "Certificates that could not be reloaded, obtained or renewed, by attempt."
)

// Describe implements prometheus.Collector. Register the Store of each listener with the server's registry.
func (s *Store) Describe(out chan<- *prometheus.Desc) {
	expiry, failures := s.descriptions()
	out <- expiry
	out <- failures
}

func (s *Store) descriptions() (expiry, failures *prometheus.Desc) {
	labels := prometheus.Labels{"listener": s.listener}
	return prometheus.NewDesc(expiryName, expiryHelp, []string{"name"}, labels), prometheus.NewDesc(failureName, failureHelp, nil, labels)
}

// Collect implements prometheus.Collector. Of several certificates with the same first name, the one that expires first counts.
func (s *Store) Collect(out chan<- prometheus.Metric) {
	expiry, failures := s.descriptions()
	n := s.current.Load()
	first := map[string]time.Time{}
	add := func(leaf *x509.Certificate) {
		name := strings.ToValidUTF8(names(leaf)[0], "\uFFFD")
		if t, ok := first[name]; !ok || leaf.NotAfter.Before(t) {
			first[name] = leaf.NotAfter
		}
	}
	for _, c := range n.pairs {
		add(c.pair.Leaf)
	}
	if n.acme != nil {
		for _, leaf := range n.acme.leaves() {
			add(leaf)
		}
	}
	for name, t := range first {
		out <- prometheus.MustNewConstMetric(expiry, prometheus.GaugeValue, float64(t.Unix()), name)
	}
	out <- prometheus.MustNewConstMetric(failures, prometheus.CounterValue, float64(s.failures.Load()))
}

// names are those that a certificate is valid for, or else its subject. There is at least one.
func names(leaf *x509.Certificate) (list []string) {
	list = append(list, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		list = append(list, ip.String())
	}
	if len(list) == 0 {
		list = append(list, leaf.Subject.String())
	}
	return list
}
