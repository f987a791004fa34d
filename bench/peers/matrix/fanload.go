package matrix

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"fanfare/bench/peers/launch"
	"fanfare/bench/peers/report"
)

// result has the part of fanload's JSON that is used. docs/fanload.md explains each figure.
type result struct {
	Machine report.Machine `json:"machine"`
	Connect struct {
		Asked     int64   `json:"asked"`
		Connected int64   `json:"connected"`
		Failed    int64   `json:"failed"`
		PerSecond float64 `json:"per_second"`

		Ciphers map[string]int64 `json:"ciphers"`
	} `json:"connect"`
	Publish struct {
		Events   int64   `json:"events"`
		Failed   int64   `json:"failed"`
		Latency  summary `json:"latency"`
		Timeouts int64   `json:"round_timeouts"`
		Unsent   int64   `json:"unsent"`
	} `json:"publish"`
	Deliveries struct {
		Total         int64   `json:"total"`
		Measured      int64   `json:"measured"`
		BusyPerSecond float64 `json:"busy_per_second"`
		PerSecond     float64 `json:"per_second"`
	} `json:"deliveries"`
	Sequence struct {
		Lost       int64 `json:"lost"`
		Duplicated int64 `json:"duplicated"`
		OutOfOrder int64 `json:"out_of_order"`
		Misrouted  int64 `json:"misrouted"`
		Malformed  int64 `json:"malformed"`
		Gaps       int64 `json:"gap_events"`
	} `json:"sequence"`
	Streams struct {
		Ended  int64 `json:"ended"`
		Behind int64 `json:"behind_after_drain"`
	} `json:"streams"`
	Latency  summary `json:"latency"`
	Round    summary `json:"round"`
	Timeline []point `json:"timeline"`
	Server   *struct {
		CPUPerDelivery   float64 `json:"cpu_us_per_delivery"`
		CPUPerConnect    float64 `json:"cpu_us_per_connect"`
		Cores            float64 `json:"cores"`
		RSSBefore        float64 `json:"rss_before"`
		EndPerConnection float64 `json:"rss_end_per_connection"`
	} `json:"server"`
	Client struct {
		Cores float64 `json:"cores"`
	} `json:"client"`
	Others struct {
		Cores  float64 `json:"cores"`
		Stolen float64 `json:"stolen_cores"`
	} `json:"others"`
}

type summary struct {
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	Unfinished int64   `json:"unfinished"` // recorded with the time that had passed
}

type point struct {
	Delivered float64         `json:"delivered"` // so far
	CPU       float64         `json:"cpu_us"`    // of the server, so far
	Latency   json.RawMessage `json:"latency"`   // absent if nothing was measured in the interval
}

// arguments returns fanload's arguments for a scenario against a running peer.
func arguments(s report.Scenario, o *Options, peer *launch.Running, jsonFile string) []string {
	r := peer.Peer.Routes
	ready := "head"
	if r.HoldsHead {
		ready = "sent"
	}
	mode, duration := "closed", duration(s, o)
	var more []string
	switch s.Kind {
	case report.Idle, report.H2Idle, report.TabsIdle:
		mode, duration = "ramp", o.Hold
	case report.Connect:
		mode, duration = "ramp", shortHold
	case report.Resume:
		// The first connections have no ticket yet: few at once are few of them.
		mode, duration, more = "ramp", shortHold, []string{"--resume-sessions", "--in-flight", strconv.Itoa(min(resumeInFlight, 1+s.Subscribers/100))}
	case report.Paced:
		mode, more = "open", []string{"--rate", strconv.FormatFloat(s.Rate, 'f', -1, 64)}
	case report.Burst:
		mode, more = "burst", []string{"--burst", strconv.Itoa(s.Burst), "--every", "500ms", "--round-timeout", "10s"}
	default:
		more = []string{"--round-timeout", "10s"}
	}
	if s.InFlight > 0 {
		more = append(more, "--publishes-in-flight", strconv.Itoa(s.InFlight))
	}
	if s.Streams > 0 {
		more = append(more, "--http2", "--streams-per-connection", strconv.Itoa(s.Streams))
	}
	if peer.Plan.CA != "" {
		more = append(more, "--ca", peer.Plan.CA)
	}
	if !silent(s.Kind) {
		more = append(more, "--warmup-passes", strconv.Itoa(passes(s)))
	}
	args := []string{
		mode, "--preset", "none", "--base", peer.Plan.Base, "--publish-base", peer.Plan.PublishBase,
		"--subscribe", r.Subscribe, "--publish", r.Publish, "--publish-body", r.PublishBody, "--ready", ready,
		"--subscribers", strconv.Itoa(s.Subscribers), "--keys", strconv.Itoa(s.Keys), "--size", strconv.Itoa(s.Size),
		"--duration", duration.String(), "--settle", o.Settle.String(), "--drain", "10s", "--connect-timeout", "30s",
		"--progress", "off", "--json", jsonFile, "--sample", "200ms", "--no-checks", // figures reports what was not delivered
	}
	for _, h := range r.PublishHeaders {
		args = append(args, "--publish-header", h)
	}
	if r.InFlight > 0 {
		args = append(args, "--in-flight", strconv.Itoa(r.InFlight))
	}
	for _, pid := range peer.PIDs {
		args = append(args, "--server-pid", strconv.Itoa(pid))
	}
	return append(args, more...)
}

const (
	shortHold      = 100 * time.Millisecond // of scenarios that only connect
	resumeInFlight = 16                     // connections opened at the same time
)

// warm is the least number of deliveries before a server is measured. By then code is compiled and tables have grown.
const warm = 50_000

// passes is how many events every key has before the measurement. The first one fills caches by key.
func passes(s report.Scenario) int { return max(3, min(100, warm/s.Subscribers)) }

// duration is the time of publishing. The paced scenario gets at least 100 events, which a percentile needs, but at most 10 s.
func duration(s report.Scenario, o *Options) time.Duration {
	if s.Kind != report.Paced {
		return o.Duration
	}
	return max(o.Duration, min(10*time.Second, time.Duration(enough/s.Rate*float64(time.Second))))
}

const enough = 101 // events

// limit is the time limit of a run of fanload. Connecting is the longest part: some peers accept only a few hundred connections
// per second.
func limit(s report.Scenario, o *Options) time.Duration {
	return 2*time.Minute + 2*(duration(s, o)+o.Hold+o.Settle) + time.Duration(s.Subscribers)*5*time.Millisecond
}

// measure runs fanload once.
func measure(ctx context.Context, fanload, dir string, s report.Scenario, o *Options, peer *launch.Running) (*result, error) {
	ctx, cancel := context.WithTimeout(ctx, limit(s, o))
	defer cancel()
	file := filepath.Join(dir, "fanload.json")
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, fanload, arguments(s, o, peer, file)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	failed := cmd.Run()
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("fanload: %w: %s", errors.Join(failed, ctx.Err()), bytes.TrimSpace(output.Bytes()))
	}
	r := new(result)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("fanload's JSON: %w", err)
	}
	if failed != nil {
		return r, fmt.Errorf("fanload: %w: %s", failed, bytes.TrimSpace(output.Bytes()))
	}
	return r, nil
}

// figures returns the figures of a result, or nil if the run was too short for the server, and what was not delivered correctly.
func figures(s report.Scenario, r *result) (*report.Figures, []string) {
	f := &report.Figures{
		ConnectsPerSecond: r.Connect.PerSecond,
		LatencyP50:        r.Latency.P50, LatencyP99: r.Latency.P99,
		PublishP50: r.Publish.Latency.P50, PublishP99: r.Publish.Latency.P99,
		RoundP50: r.Round.P50, AtLeast: r.Round.Unfinished > 0, Drift: r.drift(), ClientCores: r.Client.Cores, OtherCores: r.Others.Cores, StolenCores: r.Others.Stolen,
		DeliveriesPerSecond: r.Deliveries.BusyPerSecond,
	}
	f.Events = int(r.Deliveries.Measured) * s.Keys / s.Subscribers
	if s.Kind == report.Paced || s.Kind == report.Flight {
		f.DeliveriesPerSecond = r.Deliveries.PerSecond
	}
	if v := r.Server; v != nil {
		f.BaseBytes, f.IdleBytes, f.CPUPerDelivery, f.ServerCores = v.RSSBefore, v.EndPerConnection, v.CPUPerDelivery, v.Cores
		f.CPUPerConnect = v.CPUPerConnect
	}
	f.Encryption = r.Connect.Ciphers
	var problems []string
	for _, p := range []struct {
		n    int64
		what string
	}{
		{r.Connect.Asked - r.Connect.Connected, "subscribers could not connect"},
		{r.Publish.Failed, "publish requests failed"},
		{r.Publish.Unsent, "events were never sent, because the publish route did not answer"},
		{r.Sequence.Lost, "deliveries lost"},
		{r.Sequence.Duplicated, "deliveries duplicated"},
		{r.Sequence.OutOfOrder, "deliveries out of order"},
		{r.Sequence.Malformed, "deliveries cut off"},
		{r.Sequence.Misrouted, "deliveries to subscribers of another key"},
		{r.Sequence.Gaps, "gaps reported by the server"},
		{r.Streams.Ended, "streams ended by the server"},
		{r.Streams.Behind, "subscribers still behind after 10 s"},
		{r.Publish.Timeouts, "rounds not complete after 10 s"},
	} {
		if p.n > 0 {
			problems = append(problems, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if full, resumed := r.handshakes(); s.Kind == report.Resume && resumed < 9*full {
		problems = append(problems, fmt.Sprintf("only %d of %d connections were resumed", resumed, full+resumed))
	}
	switch {
	case silent(s.Kind):
	case r.Deliveries.Total == 0:
		problems = append(problems, "nothing was delivered")
	case r.Deliveries.Measured == 0:
		return nil, problems // the run was too short to measure anything, which is not the server's fault
	}
	return f, problems
}

// handshakes is how many connections had a full handshake, and how many were resumed.
func (r *result) handshakes() (full, resumed int64) {
	for text, n := range r.Connect.Ciphers {
		if strings.HasSuffix(text, ", resumed") {
			resumed += n
		} else {
			full += n
		}
	}
	return full, resumed
}

// drift is the server's CPU per delivery in the second half of the measured time, divided by that in the first. It is 0 if the
// halves are too short for the kernel's clock of 10 ms.
func (r *result) drift() float64 {
	var measured []point
	for i, p := range r.Timeline {
		if p.Latency != nil && i > 0 {
			if len(measured) == 0 {
				measured = append(measured, r.Timeline[i-1])
			}
			measured = append(measured, p)
		}
	}
	const least = 200_000 // us of CPU time in each half, for an error of 5 %
	if len(measured) < 3 {
		return 0
	}
	first, last := measured[0], measured[len(measured)-1]
	half := measured[len(measured)/2]
	for _, p := range measured { // halve by deliveries, so that a pause counts in neither half
		if p.Delivered-first.Delivered >= (last.Delivered-first.Delivered)/2 {
			half = p
			break
		}
	}
	a, b := half.CPU-first.CPU, last.CPU-half.CPU
	n, m := half.Delivered-first.Delivered, last.Delivered-half.Delivered
	if a < least || b < least || n <= 0 || m <= 0 {
		return 0
	}
	return (b / m) / (a / n)
}
