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
	"syscall"
	"time"

	"fanfare/bench/peers/launch"
	"fanfare/bench/peers/report"
)

// result is what is read of fanload's JSON; its docs/fanload.md says what each figure means.
type result struct {
	Machine report.Machine `json:"machine"`
	Connect struct {
		Asked     int64   `json:"asked"`
		Connected int64   `json:"connected"`
		Failed    int64   `json:"failed"`
		PerSecond float64 `json:"per_second"`
	} `json:"connect"`
	Publish struct {
		Events   int64   `json:"events"`
		Failed   int64   `json:"failed"`
		Latency  summary `json:"latency"`
		Timeouts int64   `json:"round_timeouts"`
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
		Gaps       int64 `json:"gap_events"`
	} `json:"sequence"`
	Streams struct {
		Ended  int64 `json:"ended"`
		Behind int64 `json:"behind_after_drain"`
	} `json:"streams"`
	Latency summary `json:"latency"`
	Round   summary `json:"round"`
	Server  *struct {
		CPUPerDelivery   float64 `json:"cpu_us_per_delivery"`
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
	P50 float64 `json:"p50_us"`
	P99 float64 `json:"p99_us"`
}

// arguments of fanload for a scenario against a running peer.
func arguments(s report.Scenario, o *Options, peer *launch.Running, jsonFile string) []string {
	r := peer.Peer.Routes
	ready := "head"
	if r.HoldsHead {
		ready = "sent"
	}
	mode, duration := "closed", o.Duration
	var more []string
	switch s.Kind {
	case report.Idle:
		mode, duration = "ramp", o.Hold
	case report.Paced:
		mode, more = "open", []string{"--rate", strconv.FormatFloat(s.Rate, 'f', -1, 64)}
	case report.Burst:
		mode, more = "burst", []string{"--burst", strconv.Itoa(s.Burst), "--every", "500ms", "--round-timeout", "10s"}
	default:
		more = []string{"--round-timeout", "10s"}
	}
	if s.Kind != report.Idle {
		more = append(more, "--warmup", warmup.String())
	}
	args := []string{
		mode, "--preset", "none", "--base", peer.Plan.Base, "--publish-base", peer.Plan.PublishBase,
		"--subscribe", r.Subscribe, "--publish", r.Publish, "--publish-body", r.PublishBody, "--ready", ready,
		"--subscribers", strconv.Itoa(s.Subscribers), "--keys", strconv.Itoa(s.Keys), "--size", strconv.Itoa(s.Size),
		"--duration", duration.String(), "--settle", o.Settle.String(), "--drain", "10s", "--connect-timeout", "30s",
		"--progress", "off", "--json", jsonFile,
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

// warmup is published and not measured.
const warmup = 500 * time.Millisecond

// limit of one run of fanload. Connecting is the longest part: some peers take a few hundred connections a second.
func limit(s report.Scenario, o *Options) time.Duration {
	return time.Minute + 2*(o.Duration+o.Hold+o.Settle) + time.Duration(s.Subscribers)*5*time.Millisecond
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
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	failed := cmd.Run()
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("fanload: %w: %s", errors.Join(failed, ctx.Err()), bytes.TrimSpace(said.Bytes()))
	}
	r := new(result)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("fanload's JSON: %w", err)
	}
	if failed != nil {
		return r, fmt.Errorf("fanload: %w: %s", failed, bytes.TrimSpace(said.Bytes()))
	}
	return r, nil
}

// figures of a result, nil if the run was too short for this server, and what was not delivered as it should.
func figures(s report.Scenario, r *result) (*report.Figures, []string) {
	f := &report.Figures{
		ConnectsPerSecond: r.Connect.PerSecond,
		LatencyP50:        r.Latency.P50, LatencyP99: r.Latency.P99,
		PublishP50: r.Publish.Latency.P50, PublishP99: r.Publish.Latency.P99,
		RoundP50: r.Round.P50, ClientCores: r.Client.Cores, OtherCores: r.Others.Cores, StolenCores: r.Others.Stolen,
		DeliveriesPerSecond: r.Deliveries.BusyPerSecond,
	}
	if s.Kind == report.Paced {
		f.DeliveriesPerSecond = r.Deliveries.PerSecond
	}
	if v := r.Server; v != nil {
		f.BaseBytes, f.IdleBytes, f.CPUPerDelivery, f.ServerCores = v.RSSBefore, v.EndPerConnection, v.CPUPerDelivery, v.Cores
	}
	var problems []string
	for _, p := range []struct {
		n    int64
		what string
	}{
		{r.Connect.Asked - r.Connect.Connected, "subscribers could not connect"},
		{r.Publish.Failed, "publish requests failed"},
		{r.Sequence.Lost, "deliveries lost"},
		{r.Sequence.Duplicated, "deliveries doubled"},
		{r.Sequence.OutOfOrder, "deliveries out of order"},
		{r.Sequence.Misrouted, "deliveries to subscribers of another key"},
		{r.Sequence.Gaps, "gaps told by the server"},
		{r.Streams.Ended, "streams ended by the server"},
		{r.Streams.Behind, "subscribers still behind after 10 s"},
		{r.Publish.Timeouts, "rounds not complete after 10 s"},
	} {
		if p.n > 0 {
			problems = append(problems, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	switch {
	case s.Kind == report.Idle:
	case r.Deliveries.Total == 0:
		problems = append(problems, "nothing was delivered")
	case r.Deliveries.Measured == 0:
		return nil, problems // too short: nothing was measured, which is not the server's fault
	}
	return f, problems
}
