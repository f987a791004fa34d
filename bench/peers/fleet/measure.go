//go:build linux

package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fanfare/bench/peers/report"
)

// Scenarios are what each fleet does in a round. subscribers is their number on each node where there are many; scale multiplies the
// numbers of events and keys.
func Scenarios(subscribers int, scale float64) []report.FleetScenario {
	scaled := func(n int) int { return max(1, int(float64(n)*scale)) }
	return []report.FleetScenario{
		{Name: "single", Keys: 1, Subscribers: 1, Publishers: 1, LockStep: true, WarmUp: scaled(300), Events: scaled(1500)},
		{Name: "steady", Keys: 64, Subscribers: 1, Publishers: 64, Rate: 500, WarmUp: scaled(500), Events: scaled(3000)},
		{Name: "saturated", Keys: 64, Subscribers: 1, Publishers: 64, WarmUp: scaled(4000), Events: scaled(20_000)},
		{Name: "fanout", Keys: 1, Subscribers: subscribers, Publishers: 1, LockStep: true, WarmUp: scaled(50), Events: scaled(300)},
		{Name: "keys", Keys: scaled(20_000), Publishers: 64, Events: scaled(20_000)},
	}
}

const (
	probe         = -1              // the number of events that only show that a stream receives something
	runWithin     = 2 * time.Minute // bounds a run; a run needs some seconds
	lockStepWaits = 5               // how often a run in lock step waits in vain before it ends early
	connectAtOnce = 32              // streams
)

// run is one run of a scenario. Event e of all is number e/keys of key e%keys, and is published by publisher e%publishers. So each
// key has one publisher, and its events have an order: each is published when the one before it was answered.
type run struct {
	*target
	scenario    report.FleetScenario
	keys        []string
	subscribers []*subscriber  // those of a key are at KEY, KEY+keys, KEY+2*keys and so on
	ended       chan error     // of streams
	reading     sync.WaitGroup // streams
	publishers  []*publisher

	published []time.Time     // when each event was published, or was due; zero: never
	acks      []time.Duration // from then to the answer
	missing   []atomic.Int64  // deliveries of each event, in lock step
	complete  chan int        // events that all subscribers have, in lock step
}

// node is the node to which an event is published: each publisher uses them in turn.
func (r *run) node(event int) int {
	publishers := r.scenario.Publishers
	return (event%publishers + event/publishers) % len(r.publish)
}

// publisher has a connection to each node.
type publisher struct{ connections []*connection }

// measure runs a scenario: connect, warm up, measure, count faults.
func (t *target) measure(ctx context.Context, s report.FleetScenario) (_ *report.FleetFigures, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, runWithin, fmt.Errorf("the run took longer than %v", runWithin))
	total := s.WarmUp + s.Events
	r := &run{target: t, scenario: s, published: make([]time.Time, total), acks: make([]time.Duration, total),
		missing: make([]atomic.Int64, total), complete: make(chan int, total)}
	defer func() {
		if err != nil {
			err = errors.Join(err, context.Cause(ctx))
		}
		cancel()
		r.reading.Wait()
	}()
	for i := range s.Keys {
		r.keys = append(r.keys, fmt.Sprintf("%s-%d", s.Name, i))
	}
	if err := r.subscribe(ctx); err != nil {
		return nil, err
	}
	for range s.Publishers {
		p := &publisher{}
		for _, host := range t.publish {
			c, err := dial(ctx, host)
			if err != nil {
				return nil, err
			}
			p.connections = append(p.connections, c)
		}
		r.publishers = append(r.publishers, p)
	}

	// Warm up: caches by key are filled, connections are established, heaps have grown.
	if _, err := r.publishAll(ctx, 0, s.WarmUp); err != nil {
		return nil, err
	}
	nodes, broker := t.usage()
	self, busy, begin := processCPU(0), machineBusy(), time.Now()
	publishing, err := r.publishAll(ctx, s.WarmUp, total)
	if err != nil {
		return nil, err
	}
	elapsed := time.Since(begin)
	nodesAfter, brokerAfter := t.usage()
	figures := &report.FleetFigures{
		Publishing: publishing,
		NodesCPU:   nodesAfter.cpu - nodes.cpu, BrokerCPU: brokerAfter.cpu - broker.cpu, ClientCPU: processCPU(0) - self,
		NodesBytes: nodesAfter.memory, BrokerBytes: brokerAfter.memory,
		NodesGrowth: nodesAfter.memory - nodes.memory, BrokerGrowth: brokerAfter.memory - broker.memory,
	}
	others := machineBusy() - busy - figures.NodesCPU - figures.BrokerCPU - figures.ClientCPU
	figures.OtherCores = max(0, others.Seconds()/elapsed.Seconds())
	r.evaluate(figures)
	return figures, nil
}

// subscribe opens the streams, and publishes probes until each has received one: nothing else shows for all servers that a stream
// will receive the next event.
func (r *run) subscribe(ctx context.Context) error {
	each := r.scenario.Subscribers * len(r.streams)
	r.ended = make(chan error, each*len(r.keys))
	permits := make(chan struct{}, connectAtOnce)
	for i := range each * len(r.keys) {
		key := r.keys[i%len(r.keys)]
		s := &subscriber{
			key: key, at: make([]time.Time, (len(r.published)-i%len(r.keys)+len(r.keys)-1)/len(r.keys)), arrived: r.arrived,
			node: func(number int) int { return r.node(number*len(r.keys) + i%len(r.keys)) },
		}
		r.subscribers = append(r.subscribers, s)
		host := r.streams[i/len(r.keys)%len(r.streams)]
		r.reading.Go(func() { r.ended <- s.read(ctx, host, r.fleet.Subscribe(key), permits) })
	}
	if len(r.subscribers) == 0 {
		return nil
	}
	for e := range r.missing {
		r.missing[e].Store(int64(each))
	}
	c, err := dial(ctx, r.publish[0])
	if err != nil {
		return err
	}
	defer c.Close()
	for waiting := -1; waiting != 0; {
		waiting = 0
		for k, key := range r.keys {
			silent := 0
			for i := k; i < len(r.subscribers); i += len(r.keys) {
				if !r.subscribers[i].started() {
					silent++
				}
			}
			if waiting += silent; silent > 0 {
				if err := c.publish(r.fleet, key, probe); err != nil {
					return err
				}
			}
		}
		if waiting > 0 {
			if err := r.pause(ctx, 50*time.Millisecond); err != nil {
				return fmt.Errorf("%d of %d streams receive nothing: %w", waiting, len(r.subscribers), err)
			}
		}
	}
	return nil
}

// pause waits, unless a stream ends.
func (r *run) pause(ctx context.Context, d time.Duration) error {
	select {
	case err := <-r.ended:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// arrived is called for each delivery. In lock step there is one key, so the number is that of the event.
func (r *run) arrived(number int) {
	if r.scenario.LockStep && r.missing[number].Add(-1) == 0 {
		r.complete <- number
	}
}

// publishAll publishes the events from one to another, waits until all subscribers have them, and returns how long publishing took.
func (r *run) publishAll(ctx context.Context, from, to int) (time.Duration, error) {
	begin := time.Now()
	failed := make(chan error, len(r.publishers))
	for i, p := range r.publishers {
		go func() { failed <- r.publishEach(ctx, p, i, begin, from, to) }()
	}
	var err error
	for range r.publishers {
		err = errors.Join(err, <-failed)
	}
	took := time.Since(begin)
	if err != nil {
		return 0, err
	}
	return took, r.drain(ctx)
}

// publishEach publishes those events of a range that are a publisher's.
func (r *run) publishEach(ctx context.Context, p *publisher, index int, begin time.Time, from, to int) error {
	vain := 0
	for e := from + (index-from%len(r.publishers)+len(r.publishers))%len(r.publishers); e < to && vain < lockStepWaits; e += len(r.publishers) {
		since := time.Now()
		if r.scenario.Rate > 0 {
			due := begin.Add(time.Duration(float64(e-from) / r.scenario.Rate * float64(time.Second)))
			if since.Before(due) {
				time.Sleep(due.Sub(since))
				since = time.Now() // the client's timer may be late, which is not the fleet's delay
			} else {
				since = due // the answer to the last event was late, which is
			}
		}
		r.published[e] = since
		c := p.connections[r.node(e)]
		if err := c.publish(r.fleet, r.keys[e%len(r.keys)], e/len(r.keys)); err != nil {
			return err
		}
		r.acks[e] = time.Since(since)
		if r.scenario.LockStep && !r.completed(ctx, e) {
			vain++
		}
	}
	return nil
}

// completed waits until all subscribers have an event, and reports whether they have.
func (r *run) completed(ctx context.Context, event int) bool {
	timer := time.NewTimer(r.patience)
	defer timer.Stop()
	for {
		select {
		case e := <-r.complete:
			if e == event {
				return true // an earlier one, if it was late
			}
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// drain waits until all subscribers have all events, or nothing comes any more.
func (r *run) drain(ctx context.Context) error {
	if len(r.subscribers) == 0 {
		return nil
	}
	expected := 0
	for e := range r.published {
		if !r.published[e].IsZero() {
			expected += len(r.subscribers) / len(r.keys)
		}
	}
	for last, since := -1, time.Now(); ; {
		total := 0
		for _, s := range r.subscribers {
			total += s.count()
		}
		if total >= expected {
			return nil
		}
		if total != last {
			last, since = total, time.Now()
		} else if time.Since(since) > r.patience {
			return nil // the rest is lost
		}
		if err := r.pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

// evaluate computes times of the measured events, and counts the faults of all.
func (r *run) evaluate(f *report.FleetFigures) {
	var acks, delays []time.Duration
	for e := r.scenario.WarmUp; e < len(r.published); e++ {
		if !r.published[e].IsZero() {
			acks = append(acks, r.acks[e])
		}
	}
	for i, s := range r.subscribers {
		s.mu.Lock()
		f.Faults.Add(s.faults)
		for n, at := range s.at {
			switch e := n*len(r.keys) + i%len(r.keys); {
			case r.published[e].IsZero(): // the run has ended early
				if !at.IsZero() {
					f.Faults.Foreign++
				}
			case at.IsZero():
				f.Faults.Lost++
			case e >= r.scenario.WarmUp:
				delays = append(delays, at.Sub(r.published[e]))
			}
		}
		s.mu.Unlock()
	}
	f.Events, f.Deliveries = len(acks), len(delays)
	f.AckP50, f.AckP99 = quantiles(acks)
	f.DeliverP50, f.DeliverP99 = quantiles(delays)
}

func quantiles(d []time.Duration) (p50, p99 time.Duration) {
	if len(d) == 0 {
		return 0, 0
	}
	slices.Sort(d)
	return d[len(d)/2], d[len(d)*99/100]
}
