//go:build linux

package run

import (
	"time"

	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/report"
	"fanfare/cmd/fanload/swarm"
)

// result makes the result of the run from the merged results of the workers and the readings of the runner.
func (r *runner) result(joined *swarm.Result, started time.Time, end int64, usage measure.Usage, clientCPU int64) *report.Result {
	c := &joined.Counts
	out := &report.Result{
		Version: r.s.Version, Command: r.s.Command, Started: started.UTC().Format(time.RFC3339), Machine: machine(),
		Plan: r.s.Plan, Rate: r.s.Rate, Statuses: joined.Statuses, Errors: joined.Errors,
		Latency: joined.Latency.Summary(), Round: r.rounds.Summary(), Reconnect: joined.Reconnect.Summary(),
		Curve: report.Curve(&joined.Latency), Timeline: r.sampler.timeline(),
	}
	out.Latency.Unfinished, out.Round.Unfinished, out.Reconnect.Unfinished = c.Charged, r.unfinished, c.NotBack
	out.Connect = report.Connect{
		Asked: int64(r.s.Plan.Subscribers), Connected: c.Connected, Failed: c.Failed,
		TCP: joined.Connect.Summary(), TLS: joined.TLS.Summary(), Ciphers: joined.Ciphers, Failures: joined.Failures, Head: joined.Head.Summary(), FirstEvent: joined.FirstEvent.Summary(),
	}
	if r.connected = c.LastConnected; r.s.Churn == 0 && r.connected > r.began {
		out.Connect.Seconds = float64(r.connected-r.began) / 1e6
	} else if t := r.sampler.connectSeconds(); t > 0 {
		out.Connect.Seconds = t
	}
	if out.Connect.Seconds > 0 {
		out.Connect.PerSecond = float64(r.openCount) / out.Connect.Seconds
	}
	out.Sequence = report.Sequence{
		Lost: c.Lost + c.Undelivered, Undelivered: c.Undelivered, LostSubscribers: c.LostOf, Duplicated: c.Duplicate, OutOfOrder: c.Reordered, Late: c.Late,
		Misrouted: c.Misrouted, Malformed: c.Malformed, Foreign: c.Foreign, Gaps: c.Gaps,
	}
	out.Streams = report.Streams{
		Ended: c.Ended, Reconnects: c.Reconnects, ReconnectFailed: c.ReconnectFail, GaveUp: c.GaveUp, Churned: c.Churned, Expected: c.Expected,
		Stalled: c.Stalled, StalledEnded: c.StalledEnded, StalledFelt: c.StallFelt, StalledGiven: c.StallGiven, StalledKept: c.StallKept,
		Comments: c.Comments, BehindAfterDrain: r.behind,
	}
	out.Deliveries = report.Deliveries{Total: c.Delivered, Measured: c.Measured, Bytes: c.Bytes}
	measured := float64(end-r.from) / 1e6
	if r.from == 0 {
		measured = 0
	}
	if out.Seconds = measured; c.LastDelivery > r.from && r.from > 0 {
		out.Seconds = float64(c.LastDelivery-r.from) / 1e6
	}
	if out.Seconds > 0 {
		out.Deliveries.PerSecond = float64(c.Measured) / out.Seconds
	}
	if busy := out.Round.Mean * float64(out.Round.Count); busy > 0 && r.s.Plan.PublishesInFlight > 1 {
		out.Deliveries.BusyPerSecond = out.Deliveries.PerSecond // a round is always under way
	} else if busy > 0 {
		out.Deliveries.BusyPerSecond = float64(c.Measured) / busy * 1e6
	}
	r.publishResult(out)
	r.usageResult(out, joined, measured, usage, clientCPU)
	return out
}

func (r *runner) publishResult(out *report.Result) {
	if r.publisher == nil {
		return
	}
	p := r.publisher.Stats()
	out.Publish = report.Publish{
		Events: p.Events, Failed: p.Refused + p.Unanswered, Refused: p.Refused, Unanswered: p.Unanswered, Unsent: r.unsent.Events(), Requests: p.Requests, PerSecond: r.published, LateMax: p.LateMax,
		Latency: p.Latency.Summary(), Timeouts: r.timeouts, Errors: p.Errors,
	}
}

// othersResult sets how busy other programs kept the machine.
func (r *runner) othersResult(out *report.Result, end measure.Machine) {
	if out.Seconds <= 0 || r.machine == (measure.Machine{}) {
		return
	}
	busy := end.Busy - r.machine.Busy - out.Client.CPU
	if out.Server != nil {
		busy -= out.Server.CPU
	}
	out.Others = &report.Others{
		Cores:  float64(max(busy, 0)) / 1e6 / out.Seconds,
		Stolen: float64(end.Stolen-r.machine.Stolen) / 1e6 / out.Seconds,
	}
}

func (r *runner) usageResult(out *report.Result, joined *swarm.Result, seconds float64, end measure.Usage, clientCPU int64) {
	out.Client = report.Client{Processes: r.s.Plan.Processes, CPU: joined.CPU}
	if r.s.Plan.Processes > 1 || r.from == 0 {
		out.Client.CPU += clientCPU - r.clientCPU // of the parent; the worker of a team of one is part of it
	} else {
		out.Client.CPU = clientCPU - r.clientCPU
	}
	n := float64(out.Deliveries.Measured)
	if n > 0 {
		out.Client.CPUPerDelivery = float64(out.Client.CPU) / n
	}
	if seconds > 0 {
		out.Client.Cores = float64(out.Client.CPU) / 1e6 / seconds
	}
	if len(r.s.PIDs) == 0 {
		return
	}
	v := &report.Server{
		PIDs: r.s.PIDs, Processes: end.Processes, CPU: end.CPU - r.start.CPU,
		RSSBefore: r.before.Resident, RSSConnected: r.opened.Resident, RSSEnd: end.Resident, RSSMax: end.Resident,
	}
	for _, p := range out.Timeline {
		v.RSSMax = max(v.RSSMax, p.RSS)
	}
	if n > 0 {
		v.CPUPerDelivery = float64(v.CPU) / n
	}
	if seconds > 0 {
		v.Cores = float64(v.CPU) / 1e6 / seconds
		v.GrowthBytesPerMin = report.Growth(out.Timeline, float64(r.from-r.begun)/1e6)
	}
	if open := float64(r.openCount); open > 0 {
		v.ConnectCPU = float64(r.opened.CPU-r.before.CPU) / open
		v.RSSPerConnection = float64(v.RSSConnected-v.RSSBefore) / open
		v.EndPerConnection = float64(v.RSSEnd-v.RSSBefore) / open
	}
	out.Server = v
}
