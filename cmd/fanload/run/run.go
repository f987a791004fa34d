//go:build linux

package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"fanfare/cmd/fanload/ledger"
	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/publish"
	"fanfare/cmd/fanload/report"
	"fanfare/cmd/fanload/sequence"
	"fanfare/cmd/fanload/swarm"
	"fanfare/cmd/fanload/team"
)

// settlePoll is how often the end of connecting and of the drain is looked for, at least.
const settlePoll = 20 * time.Millisecond

// runner is a run under way. It belongs to one goroutine, but for the sampler's part.
type runner struct {
	s          *Settings
	team       *team.Team
	publisher  *publish.Publisher // nil: the mode sends nothing
	sampler    *sampler
	begun      int64      // measure.Now at the start
	from       int64      // events published from then on are measured
	mu         sync.Mutex // guards what follows, where several rounds are under way at once
	rounds     measure.Histogram
	unfinished int64 // of them, those that were not over in time
	timeouts   int64 // those of the warm-up, too

	unsent    sequence.Unsent // of the open loop
	published float64         // events a second, achieved
	behind    int64
	connected int64 // when all were
	began     int64 // the first connect
	start     measure.Usage
	before    measure.Usage
	opened    measure.Usage
	openCount int64
	clientCPU int64           // of this process at from
	machine   measure.Machine // at from
}

// Run carries it out. The result is there even if the context ends before, or an error says that the run was worthless.
func Run(ctx context.Context, s *Settings) (*report.Result, error) {
	limit, cancel := context.WithTimeout(ctx, s.Plan.Limit)
	defer cancel()
	r := &runner{s: s, begun: measure.Now()}
	started := time.Now()
	tree := (*measure.Tree)(nil)
	if len(s.PIDs) > 0 {
		var err error
		if tree, err = measure.NewTree(s.PIDs); err != nil {
			return nil, err
		}
	}
	var book *ledger.Ledger
	if s.publishes() {
		var err error
		if book, err = ledger.New(s.Plan.Keys); err != nil {
			return nil, err
		}
		defer book.Close() //nolint:errcheck // nobody reads it any more
		if r.publisher, err = publish.New(&s.Plan, book); err != nil {
			return nil, err
		}
		defer r.publisher.Flush()
	}
	// A thread for the pacer, and some for what reads answers, beside those of the loops.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 4))
	var err error
	if r.team, err = team.Start(&s.Plan, s.WorkerArgv, book); err != nil {
		return nil, err
	}
	defer r.team.Close()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-r.team.Failed():
			cancel() // Finish says why
		case <-ended:
		}
	}()
	r.sampler = newSampler(r.team, tree, r.publisher, s, r.begun)
	r.sampler.start()
	defer r.sampler.stop()

	err = r.phases(limit)
	end := measure.Now()
	endUsage := r.sampler.usage()
	clientCPU, machine := measure.CPU(), measure.ReadMachine()
	published := &sequence.Published{Last: make([]int64, s.Plan.Keys), Unsent: r.unsent}
	open := r.team.Counts().Open
	if r.publisher != nil {
		published.Last, published.Failed = r.publisher.Last(), r.publisher.Failed()
		if n, bad := r.team.Behind(r.publisher.Taken()); bad == nil {
			r.behind = n
		}
	}
	r.sampler.stop()
	joined, bad := r.team.Finish(published)
	err = errors.Join(err, bad)
	r.sampler.finish(joined.Counts, open, endUsage)
	result := r.result(joined, started, end, endUsage, clientCPU)
	r.othersResult(result, machine)
	result.Streams.OpenAtEnd = open
	result.Interrupted = ctx.Err() != nil
	if err == nil {
		err = worth(result, s)
	}
	if errors.Is(limit.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
		err = errors.Join(err, fmt.Errorf("the run took longer than its limit of %s", s.Plan.Limit))
	}
	result.Check(s.Checks, s.Thresholds)
	if ended := r.sampler.serverEnded(); ended != nil {
		err = errors.Join(err, fmt.Errorf("%w; its figures are those until then", ended))
		result.Server.Ended = true
	}
	for _, t := range s.Thresholds {
		result.Thresholds = append(result.Thresholds, t.Judge(result))
	}
	return result, err
}

// phases of a run. The first error ends it, and so does the context, which is none.
func (r *runner) phases(ctx context.Context) error {
	r.before = r.sampler.usage()
	if err := r.connect(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	if r.team.Counts().Connected == 0 {
		return nil // there is nobody to publish to: worth says so, now and not when the duration is over
	}
	r.sampler.phase("settle")
	sleep(ctx, r.s.Settle)
	r.opened, r.openCount = r.sampler.usage(), r.team.Counts().Open
	if err := r.team.Begin(); err != nil {
		return err
	}
	if err := r.warm(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	// The schedule begins a moment ahead, so that the first event isn't late already.
	start := measure.Now() + 2000
	r.from = start + r.s.Warmup.Microseconds()
	if err := r.team.Measure(r.from); err != nil {
		return err
	}
	if r.publisher != nil {
		r.publisher.Measure(r.from)
	}
	if r.s.Warmup == 0 {
		r.measureNow()
	} else {
		r.sampler.at(r.from, r.measureNow)
	}
	r.sampler.phase(r.s.Plan.Mode)
	err := r.mode(ctx, start)
	if r.publisher != nil {
		r.publisher.Flush()
		err = errors.Join(err, r.drain(ctx))
	}
	return err
}

// measureNow takes the readings at the beginning of what is measured. The sampler's goroutine calls it behind a warm-up;
// it is done before the sampler is stopped, which is before the readings are used.
func (r *runner) measureNow() {
	r.start, r.clientCPU, r.machine = r.sampler.usage(), measure.CPU(), measure.ReadMachine()
}

func (r *runner) connect(ctx context.Context) error {
	r.sampler.phase("connect")
	r.began = measure.Now()
	if err := r.team.Connect(); err != nil {
		return err
	}
	stop := time.Now().Add(r.s.connectTime())
	for {
		c := r.team.Counts()
		if c.Connected+c.Failed >= int64(r.s.Plan.Subscribers) || time.Now().After(stop) || ctx.Err() != nil {
			return nil
		}
		sleep(ctx, settlePoll)
	}
}

// drain waits until all subscribers have the last event, nothing has come for a second, or the time is over.
func (r *runner) drain(ctx context.Context) error {
	r.sampler.phase("drain")
	// A million keys' last sequences are a large message: ask less often.
	poll := settlePoll + time.Duration(r.s.Plan.Keys)*10*time.Microsecond
	stop := time.Now().Add(r.s.Drain)
	seen, at := int64(-1), time.Now()
	for time.Now().Before(stop) && ctx.Err() == nil {
		n, err := r.team.Behind(r.publisher.Taken())
		if err != nil || n == 0 {
			return err
		}
		c := r.team.Counts()
		if c.Delivered != seen || c.Waiting+c.Opening > 0 {
			seen, at = c.Delivered, time.Now()
		}
		if time.Since(at) > time.Second {
			return nil
		}
		sleep(ctx, poll)
	}
	return nil
}

// worth says why a run that was carried out has measured nothing.
func worth(r *report.Result, s *Settings) error {
	switch {
	case r.Interrupted:
		return errors.New("interrupted")
	case r.Connect.Connected == 0:
		return fmt.Errorf("no subscriber could connect to %s: %s", s.Plan.Address, most(r.Statuses, r.Errors))
	case r.Publish.Events > 0 && r.Publish.Failed == r.Publish.Events:
		return fmt.Errorf("no event could be published: %s", most(r.Publish.Errors))
	case s.Plan.Mode == Churn && r.Publish.Events > 0 && r.Streams.Expected == 0:
		return fmt.Errorf("nothing was tested: %d subscribers were replaced, and no event was published while a newcomer lived: give a higher "+
			"--rate or --churn, or a longer --duration", r.Streams.Churned)
	case s.Plan.Mode == Stall && r.Streams.Stalled == 0:
		return errors.New("nobody stalled: give more --subscribers, or a higher --percent")
	case s.Plan.Mode == Stall && r.Streams.Backpressure() == 0:
		return fmt.Errorf("nothing was tested: no server was held up by subscribers that do not read, and none of them was ended. The kernel took "+
			"all the %d bytes that were published to each: it holds up to some megabytes of a connection (net.ipv4.tcp_wmem). Give more by "+
			"--size, --rate, --duration or fewer --keys", r.Streams.StalledGiven/r.Streams.Stalled)
	case r.Publish.Events > 0 && r.Deliveries.Total == 0:
		return fmt.Errorf("nothing was delivered of %d events: are the subscribe and the publish route of the same key?", r.Publish.Events)
	}
	return nil
}

// most is the most frequent message.
func most(all ...map[string]int64) string {
	for _, m := range all {
		if len(m) > 0 {
			return slices.MaxFunc(slices.Sorted(maps.Keys(m)), func(a, b string) int { return int(m[a] - m[b]) })
		}
	}
	return "no reason is known"
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

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
		out.Deliveries.BusyPerSecond = out.Deliveries.PerSecond // there is always a round under way
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

// othersResult says how quiet the machine was.
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
		out.Client.CPU += clientCPU - r.clientCPU // of the parent; a team of one is in it
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
