// Package run runs a plan: it opens the swarm, publishes by the schedule of the mode, stalls, replaces or disconnects subscribers
// as the mode requires, waits until all events have arrived, and makes the result.
//
//	err := settings.Prepare(openFiles)
//	result, err := run.Run(ctx, settings)
package run

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/report"
)

// The modes.
const (
	Closed = "closed"
	Open   = "open"
	Burst  = "burst"
	Ramp   = "ramp"
	Churn  = "churn"
	Storm  = "storm"
	Stall  = "stall"
)

// Settings are the settings of a run: its plan, and what only the parent process needs.
type Settings struct {
	Plan plan.Plan

	Duration     time.Duration // of publishing, or of holding the connections, after the warm-up
	Warmup       time.Duration // of publishing that is not measured
	WarmupPasses int           // over all keys, before Warmup
	Settle       time.Duration // between the last connect and the first event
	Drain        time.Duration // longest wait after the last event for missing deliveries
	Rate         float64       // events per second, over all keys; 0: none
	Events       int64         // at most this many; 0: only the duration counts
	Burst        int           // events in a burst
	Every        time.Duration // between bursts, or storms
	Round        time.Duration // closed, burst: longest wait for the last subscriber
	Fraction     float64       // of the subscribers that a storm disconnects
	Jitter       time.Duration // over which they reconnect
	Churn        float64       // subscribers replaced per second

	PIDs   []int
	Sample time.Duration // between two samples of the timeline

	Command    string   // for the report
	Version    string   // of fanload
	WorkerArgv []string // the command that runs a worker
	Thresholds []report.Threshold
	Checks     bool           // the run fails if the server has faults
	Progress   func(Progress) // called for each sample; nil: no progress is shown
}

// Progress has the figures of the progress line.
type Progress struct {
	Phase   string
	Elapsed time.Duration
	Point   report.Point
	Rate    float64 // deliveries per second since the last sample
	Failed  int64   // connects
	Ended   int64   // streams
}

// streamsPerConnection is the default for HTTP/2: the least that servers should allow (RFC 9113 6.5.2).
const streamsPerConnection = 100

// maxPoints bounds the timeline. When it is full, each two points are merged and the sampling rate is halved. It must be even.
const maxPoints = 1200

// connectTime is how long opening the subscribers may take: at the requested rate, or 100 per second, and a last timeout.
func (s *Settings) connectTime() time.Duration {
	seconds := float64(s.Plan.Subscribers) / 100
	if s.Plan.ConnectRate > 0 {
		seconds = max(seconds, float64(s.Plan.Subscribers)/s.Plan.ConnectRate*1.2)
	}
	return time.Duration(seconds*float64(time.Second)) + 2*s.Plan.ConnectTimeout
}

// Prepare checks the settings and completes the plan: the addresses, the number of processes and source addresses, the time
// limit.
func (s *Settings) Prepare(filesPerProcess int) error {
	p := &s.Plan
	if err := s.check(); err != nil {
		return err
	}
	if err := p.Check(); err != nil {
		return err
	}
	if err := s.resolve(); err != nil {
		return err
	}
	if err := s.measurable(); err != nil {
		return err
	}
	// Epoll, pipes, the publisher's connections and the runtime also need files.
	if p.HTTP2 && p.StreamsPerConnection == 0 {
		p.StreamsPerConnection = streamsPerConnection
	}
	connections := p.Connections()
	room := filesPerProcess - 64 - max(p.Publishers, p.PublishesInFlight)
	if room < 1 {
		return fmt.Errorf("the limit of open files is %d: raise it (ulimit -n)", filesPerProcess)
	}
	if need := (connections + room - 1) / room; need > max(1, p.Processes) {
		p.Processes = need
	}
	p.Processes = max(1, min(p.Processes, connections))
	if p.Processes > plan.MaxProcesses {
		return fmt.Errorf("--subscribers %d need %d processes of %d open files, more than %d: raise the limit (ulimit -n)",
			p.Subscribers, p.Processes, filesPerProcess, plan.MaxProcesses)
	}
	if p.Sources == 0 {
		p.Sources = 1 + connections/4000 // with about 28,000 ports each, so that finding a free port is quick
	}
	p.Publishers = min(max(p.Publishers, p.PublishesInFlight), p.Keys)
	p.Status = statusEvery(s.Sample)
	p.Settle, p.Patience = s.Settle, s.Drain
	p.Limit = s.connectTime() + s.Settle + s.passesTime() + s.Warmup + s.Duration + s.Drain + s.Round + p.PublishTimeout + time.Minute
	return nil
}

// passesTime bounds the warm-up passes. 50 ms per key is more than a server that answers needs.
func (s *Settings) passesTime() time.Duration {
	if s.WarmupPasses == 0 {
		return 0
	}
	return time.Minute + min(time.Hour, time.Duration(s.WarmupPasses*s.Plan.Keys)*50*time.Millisecond)
}

// roundTime is the longest wait for the last subscriber of a round.
func (s *Settings) roundTime() time.Duration { return cmp.Or(s.Round, 5*time.Second) }

// statusEvery divides sample into equal parts of at most 100 ms. Then each sample has the same number of statuses, and a steady
// rate is a level line. If no division is exact, 1/20 of sample is close enough.
func statusEvery(sample time.Duration) time.Duration {
	micros := sample.Microseconds()
	for n := (micros + 99_999) / 100_000; n <= 20; n++ {
		if micros%n == 0 {
			return sample / time.Duration(n)
		}
	}
	return min(sample/20, 100*time.Millisecond)
}

func (s *Settings) check() error {
	every := time.Duration(0)
	if s.Plan.Mode == Burst || s.Plan.Mode == Storm {
		every = time.Millisecond
	}
	for _, c := range []struct {
		flag   string
		value  time.Duration
		lowest time.Duration
	}{
		{"--duration", s.Duration, time.Millisecond}, {"--warmup", s.Warmup, 0}, {"--settle", s.Settle, 0}, {"--drain", s.Drain, 0},
		{"--every", s.Every, every}, {"--round-timeout", s.Round, 0}, {"--jitter", s.Jitter, 0}, {"--sample", s.Sample, 10 * time.Millisecond},
		{"--connect-timeout", s.Plan.ConnectTimeout, time.Millisecond}, {"--publish-timeout", s.Plan.PublishTimeout, time.Millisecond},
		{"--reconnect-delay", s.Plan.ReconnectDelay, 0},
	} {
		if c.value < c.lowest || c.value > plan.MaxDuration {
			return fmt.Errorf("%s %s is out of range: give %s to %s", c.flag, plan.Span(c.value), plan.Span(c.lowest), plan.Span(plan.MaxDuration))
		}
	}
	needsRate := s.Plan.Mode == Open || s.Plan.Mode == Churn || s.Plan.Mode == Storm || s.Plan.Mode == Stall
	switch {
	case !(s.Rate >= 0 && s.Rate <= plan.MaxRate):
		return fmt.Errorf("--rate %g is out of range: give 0 to %d events per second", s.Rate, plan.MaxRate)
	case needsRate && s.Rate == 0:
		return fmt.Errorf("--rate 0: this mode publishes: give more than 0 and at most %d events per second", plan.MaxRate)
	case s.Plan.Mode == Burst && (s.Burst < 1 || s.Burst > 1_000_000):
		return fmt.Errorf("--burst %d is out of range: give 1 to 1000000 events", s.Burst)
	case !(s.Fraction >= 0 && s.Fraction <= 1):
		return fmt.Errorf("--fraction %g is out of range: give 0 to 1", s.Fraction)
	case s.Plan.Mode == Storm && s.Fraction == 0:
		return errors.New("--fraction 0: a storm disconnects subscribers: give more than 0")
	case s.Plan.Mode == Storm && s.Every >= s.Warmup+s.Duration:
		return fmt.Errorf("--every %s: the run ends before the first storm: give less than --warmup and --duration together, %s",
			plan.Span(s.Every), plan.Span(s.Warmup+s.Duration))
	case s.Plan.Mode == Churn && s.Churn == 0:
		return errors.New("--churn 0: this mode replaces subscribers: give more than 0")
	case s.Plan.Mode == Stall && s.Plan.HTTP2:
		return errors.New("--http2: this mode needs HTTP/1.1, because a connection that is not read stalls all its streams: remove --http2")
	case s.Plan.Mode == Stall && s.Plan.StallPercent == 0:
		return errors.New("--percent 0: this mode stalls subscribers: give more than 0")
	case !(s.Churn >= 0 && s.Churn <= plan.MaxRate):
		return fmt.Errorf("--churn %g is out of range: give 0 to %d subscribers per second", s.Churn, plan.MaxRate)
	case s.WarmupPasses < 0 || s.WarmupPasses > 1000:
		return fmt.Errorf("--warmup-passes %d is out of range: give 0 to 1000 passes over all keys", s.WarmupPasses)
	case s.WarmupPasses > 0 && !s.publishes():
		return fmt.Errorf("--warmup-passes %d: this run publishes nothing: give --rate, or remove it", s.WarmupPasses)
	case s.Events < 0:
		return fmt.Errorf("--events %d is out of range: give 0 or more; 0 is no limit", s.Events)
	}
	return nil
}

// measurable refuses thresholds for a metric that a run with these settings cannot have. They would fail, but only after the run.
func (s *Settings) measurable() error {
	p := &s.Plan
	comesBack := p.Reconnect || p.Mode == Churn || p.Mode == Storm
	for _, t := range s.Thresholds {
		for _, c := range []struct {
			group string
			has   bool
			needs string
		}{
			{"round_", p.Mode == Closed || p.Mode == Burst, "closed or burst"},
			{"tls_", p.Certified != "", "an https:// address of the streams"},
			{"reconnect_", comesBack, "--reconnect"},
			{"publish_", s.publishes(), "--rate"},
			{"first_event_", s.publishes(), "--rate"},
			{"", s.publishes(), "--rate"}, // latencies
			{"backpressure", p.Mode == Stall, "the mode stall"},
		} {
			if !c.has && t.IsOf(c.group) {
				return fmt.Errorf("--threshold %q: this run cannot measure the metric: it needs %s", t.Text, c.needs)
			}
		}
	}
	return nil
}

// publishes reports whether the mode sends events.
func (s *Settings) publishes() bool { return s.Plan.Mode != Ramp || s.Rate > 0 }

// resolve renders both requests once, which reveals mistakes in their templates, and looks up the addresses.
func (s *Settings) resolve() (err error) {
	p := &s.Plan
	keys, err := p.KeyNames()
	if err != nil {
		return err
	}
	name, err := keys.Name(0)
	if err != nil {
		return err
	}
	if p.Keys > 1 {
		if second, _ := keys.Name(1); second == name {
			return fmt.Errorf("--key %q: all %d keys have the name %q: add {{.KeyIndex}}, or give --keys 1", p.Key, p.Keys, name)
		}
	}
	if p.Address, p.Certified, err = address(p, p.Subscribe, "subscribe", name); err != nil {
		return err
	}
	if s.publishes() {
		if p.PublishAddr, p.PublishCertified, err = address(p, p.Publish, "publish", name); err != nil {
			return err
		}
	}
	return p.Trust.Check(p.Certified+p.PublishCertified != "")
}

// address returns the address of a URL, and the name that the certificate there must have.
func address(p *plan.Plan, r plan.Request, what, key string) (addr, certified string, err error) {
	if r.URL == "" {
		return "", "", fmt.Errorf("--%s is missing, because the preset %s has no such route: give the URL's template", what, p.Preset)
	}
	c, err := r.Compile(what)
	if err != nil {
		return "", "", err
	}
	v := plan.Vars{Base: p.Base, PublishBase: p.PublishBase, Run: p.Run, Key: key, Payload: "{}", Seq: 1}
	if _, err := c.Append(nil, &v); err != nil {
		return "", "", err
	}
	return plan.Resolve("--"+what, c.Origin(), p.AllowRemote)
}
