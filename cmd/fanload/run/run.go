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
	"fanfare/cmd/fanload/team"
)

// settlePoll is the shortest interval between checks for the end of connecting and of the drain.
const settlePoll = 20 * time.Millisecond

// runner is a run under way. It belongs to one goroutine, except for what the sampler calls.
type runner struct {
	s          *Settings
	team       *team.Team
	publisher  *publish.Publisher // nil: the run publishes nothing
	sampler    *sampler
	begun      int64      // measure.Now at the start
	from       int64      // events published from this time on are measured
	mu         sync.Mutex // guards the next three fields, because several rounds may be under way
	rounds     measure.Histogram
	unfinished int64 // rounds of the histogram that did not end in time
	timeouts   int64 // the same, including those of the warm-up

	unsent    sequence.Unsent // of the open loop
	published float64         // achieved events per second
	behind    int64           // subscribers that missed events after the drain
	connected int64           // when the last subscriber was connected
	began     int64           // when the first connect began
	start     measure.Usage
	before    measure.Usage
	opened    measure.Usage
	openCount int64
	clientCPU int64           // of this process at from
	machine   measure.Machine // at from
}

// Run runs the plan. It returns a result even if the context ends early, or if the error says that the run measured nothing.
func Run(ctx context.Context, s *Settings) (*report.Result, error) {
	limit, cancel := context.WithTimeout(ctx, s.Plan.Limit)
	defer cancel()

	// Start the publisher, the workers and the sampler.
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
		defer book.Close() //nolint:errcheck // it is no longer used
		if r.publisher, err = publish.New(&s.Plan, book); err != nil {
			return nil, err
		}
		defer r.publisher.Flush()
	}
	// The pacer needs a thread, and so do the readers of answers, in addition to those of the loops.
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
			cancel() // Finish returns the reason
		case <-ended:
		}
	}()
	r.sampler = newSampler(r.team, tree, r.publisher, s, r.begun)
	r.sampler.start()
	defer r.sampler.stop()

	// Run the phases, and read the clocks at their end.
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

	// End the workers, and make the result of their results.
	r.sampler.stop()
	joined, bad := r.team.Finish(published)
	err = errors.Join(err, bad)
	r.sampler.finish(joined.Counts, open, endUsage)
	result := r.result(joined, started, end, endUsage, clientCPU)
	r.othersResult(result, machine)
	result.Streams.OpenAtEnd = open
	result.Interrupted = ctx.Err() != nil

	// Judge the result.
	if err == nil {
		err = nothingMeasured(result, s)
	}
	if errors.Is(limit.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
		err = errors.Join(err, fmt.Errorf("the run took longer than its limit of %s", s.Plan.Limit))
	}
	result.Check(s.Checks, s.Thresholds)
	if ended := r.sampler.serverEnded(); ended != nil {
		err = errors.Join(err, fmt.Errorf("%w: its figures are those until then", ended))
		result.Server.Ended = true
	}
	for _, t := range s.Thresholds {
		result.Thresholds = append(result.Thresholds, t.Judge(result))
	}
	return result, err
}

// phases runs the phases. It returns at the first error, or without one when the context ends.
func (r *runner) phases(ctx context.Context) error {
	r.before = r.sampler.usage()
	if err := r.connect(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	if r.team.Counts().Connected == 0 {
		return nil // nobody to publish to: nothingMeasured reports it, now and not after the whole duration
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
	// The schedule begins a moment later, so that the first event is not late.
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

// measureNow takes the readings at the beginning of the measured part. After a warm-up the sampler's goroutine calls it. The
// sampler is stopped before the readings are used.
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

// drain waits until all subscribers have the last event, nothing has arrived for a second, or the time is over.
func (r *runner) drain(ctx context.Context) error {
	r.sampler.phase("drain")
	// The last sequences of a million keys are a large message, so ask less often.
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

// nothingMeasured returns an error that says why a completed run measured nothing, or nil if it did.
func nothingMeasured(r *report.Result, s *Settings) error {
	switch {
	case r.Interrupted:
		return errors.New("interrupted")
	case r.Connect.Connected == 0:
		return fmt.Errorf("no subscriber could connect to %s: %s", s.Plan.Address, most(r.Statuses, r.Errors))
	case r.Publish.Events > 0 && r.Publish.Failed == r.Publish.Events:
		return fmt.Errorf("no event could be published: %s", most(r.Publish.Errors))
	case s.Plan.Mode == Churn && r.Publish.Events > 0 && r.Streams.Expected == 0:
		return fmt.Errorf("nothing was tested: %d subscribers were replaced, but no event was published while a new one was subscribed: give a higher "+
			"--rate or --churn, or a longer --duration", r.Streams.Churned)
	case s.Plan.Mode == Stall && r.Streams.Stalled == 0:
		return errors.New("no subscriber stalled: give more --subscribers, or a higher --percent")
	case s.Plan.Mode == Stall && r.Streams.Backpressure() == 0:
		return fmt.Errorf("nothing was tested: the subscribers that do not read did not block the server's writes, and it ended none of them. The kernel "+
			"buffered all the %d bytes that were published to each: it buffers up to some megabytes per connection (net.ipv4.tcp_wmem). Publish "+
			"more, with --size, --rate, --duration or fewer --keys", r.Streams.StalledGiven/r.Streams.Stalled)
	case r.Publish.Events > 0 && r.Deliveries.Total == 0:
		return fmt.Errorf("none of %d events was delivered: check that the subscribe and the publish route use the same key", r.Publish.Events)
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
	return "the reason is unknown"
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
