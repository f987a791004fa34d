// Package plan describes a run of fanload: where to subscribe and publish, with how many subscribers, for how long. A Plan is
// plain data, because it is sent to worker processes as JSON.
package plan

import (
	"fmt"
	"strings"
	"time"
)

// Bounds of a plan. A load generator must always stop by itself, and never use more than its user intends.
const (
	MaxSubscribers = 1_000_000
	MaxKeys        = 1_000_000
	MaxProcesses   = 256
	MaxRate        = 1_000_000
	MaxSize        = 8 << 20
	MaxDuration    = 7 * 24 * time.Hour
)

// Values of Plan.Ready: when a subscriber counts as subscribed.
const (
	ReadyHead = "head" // the response's head has arrived
	ReadySent = "sent" // the request was sent; for servers that hold the head back until the first event
)

// Request is a request as templates. They can use the fields of [Vars].
type Request struct {
	Method  string   `json:"method"`
	URL     string   `json:"url"`
	Headers []string `json:"headers"` // "Name: value"; a header with an empty value is left out
	Body    string   `json:"body,omitempty"`
}

// Plan is everything that the parent and its workers need to know.
type Plan struct {
	Run  string `json:"run"` // a name that distinguishes this run's events from those of other runs
	Mode string `json:"mode"`

	Preset      string  `json:"preset"`
	Base        string  `json:"base"`
	PublishBase string  `json:"publish_base"`
	Subscribe   Request `json:"subscribe"`
	Publish     Request `json:"publish"`
	Key         string  `json:"key"` // template of a key's name
	Ready       string  `json:"ready"`
	GapEvent    string  `json:"gap_event"` // the type of the event by which the server reports a loss

	HTTP2                bool `json:"http2,omitempty"` // of the streams; publish requests are HTTP/1.1
	StreamsPerConnection int  `json:"streams_per_connection,omitempty"`

	Subscribers int `json:"subscribers"`
	Keys        int `json:"keys"`
	Size        int `json:"size"`  // bytes of an event's data; at least the bytes of seq, ts and run
	Batch       int `json:"batch"` // events in one publish request
	Processes   int `json:"processes"`
	Loops       int `json:"loops"`   // epoll loops in each process
	Sources     int `json:"sources"` // source addresses; 0: the kernel chooses

	AllowRemote bool   `json:"allow_remote"`
	Address     string `json:"address"`         // IP:port of the stream, resolved once
	PublishAddr string `json:"publish_address"` // IP:port of the publish route, resolved once

	// The names that the two certificates must have; "": the URL is http, without TLS.
	Certified        string `json:"certified,omitempty"`
	PublishCertified string `json:"publish_certified,omitempty"`
	Trust            Trust  `json:"tls,omitzero"`

	// PublishesInFlight is how many keys are published to at the same time, each on its own connection. 1: one after the other.
	PublishesInFlight int           `json:"publishes_in_flight"`
	Publishers        int           `json:"publishers"`
	Pipeline          int           `json:"pipeline"`
	PublishTimeout    time.Duration `json:"publish_timeout"`

	ConnectRate    float64       `json:"connect_rate"` // connections per second over all processes; 0: no limit
	InFlight       int           `json:"in_flight"`    // connections being opened at the same time over all processes
	ConnectTimeout time.Duration `json:"connect_timeout"`
	Reconnect      bool          `json:"reconnect"` // when the server ends a stream
	ReconnectDelay time.Duration `json:"reconnect_delay"`
	Settle         time.Duration `json:"settle"`       // after this time the server has certainly read a request
	Patience       time.Duration `json:"patience"`     // how long a leaving subscriber waits for events that are still missing
	StallBuffer    int           `json:"stall_buffer"` // SO_RCVBUF of the subscribers that will stall
	StallPercent   float64       `json:"stall_percent"`

	// Status is how often workers report their counts, and the latencies since the last report.
	Status time.Duration `json:"status_every"`

	// Limit is how long the whole run may take. After it workers end by themselves, even without the parent.
	Limit time.Duration `json:"limit"`
}

// Span formats a duration as people write it: 168h, not 168h0m0s.
func Span(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Stalls reports whether a subscriber will stop reading: StallPercent of them do, spread evenly.
func (p *Plan) Stalls(subscriber int) bool {
	at := func(i int) int { return int(float64(i) * p.StallPercent / 100) }
	return at(subscriber+1) > at(subscriber)
}

// Group is how many subscribers share a connection. Subscriber i is on connection i / Group.
func (p *Plan) Group() int {
	if !p.HTTP2 {
		return 1
	}
	return max(1, p.StreamsPerConnection)
}

// Connections is how many connections the streams need.
func (p *Plan) Connections() int { return (p.Subscribers + p.Group() - 1) / p.Group() }

// Check refuses a plan with numbers out of range. The error names the flag.
func (p *Plan) Check() error {
	for _, c := range []struct {
		flag            string
		value, low, top int
	}{
		{"--subscribers", p.Subscribers, 1, MaxSubscribers},
		{"--keys", p.Keys, 1, MaxKeys},
		{"--size", p.Size, 0, MaxSize},
		{"--batch", p.Batch, 1, 10_000},
		{"--processes", p.Processes, 0, MaxProcesses},
		{"--loops", p.Loops, 0, 256},
		{"--sources", p.Sources, 0, 60_000},
		{"--publishers", p.Publishers, 1, 1024},
		{"--publishes-in-flight", p.PublishesInFlight, 1, 1024},
		{"--pipeline", p.Pipeline, 1, 1024},
		{"--in-flight", p.InFlight, 1, 100_000},
		{"--stall-buffer", p.StallBuffer, 0, 1 << 30},
		{"--streams-per-connection", p.StreamsPerConnection, 0, 10_000},
	} {
		if c.value < c.low || c.value > c.top {
			return fmt.Errorf("%s %d is out of range: give %d to %d", c.flag, c.value, c.low, c.top)
		}
	}
	if p.StreamsPerConnection > 0 && !p.HTTP2 {
		return fmt.Errorf("--streams-per-connection %d: only HTTP/2 has several: give --http2, or remove it", p.StreamsPerConnection)
	}
	if p.PublishesInFlight > p.Keys {
		return fmt.Errorf("--publishes-in-flight %d: each needs its own key, to keep the events of a key in order, but --keys is %d: "+
			"give at most as many, or more --keys", p.PublishesInFlight, p.Keys)
	}
	if p.Ready != ReadyHead && p.Ready != ReadySent {
		return fmt.Errorf("--ready %q is unknown: give %s or %s", p.Ready, ReadyHead, ReadySent)
	}
	if !(p.ConnectRate >= 0 && p.ConnectRate <= MaxRate) {
		return fmt.Errorf("--connect-rate %g is out of range: give 0 to %d per second; 0 is no limit", p.ConnectRate, MaxRate)
	}
	if !(p.StallPercent >= 0 && p.StallPercent <= 100) {
		return fmt.Errorf("--percent %g is out of range: give 0 to 100", p.StallPercent)
	}
	return nil
}
