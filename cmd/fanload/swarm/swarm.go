//go:build linux

package swarm

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"fanfare/cmd/fanload/ledger"
	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/sequence"
)

// Swarm has one process's share of the subscribers. Only one goroutine at a time may call its methods, except for Counts and
// Window, which another goroutine may call.
type Swarm struct {
	plan  *plan.Plan
	loops []*loop
	done  sync.WaitGroup
	meter *time.Timer  // reads cpu when measuring begins
	cpu   atomic.Int64 // processor time when measuring began

	mu       sync.Mutex          // guards the fields below
	latency  measure.Histogram   // the sum of all windows; the rest is still in the loops
	spare    []measure.Histogram // empty, one for each loop
	measured int64               // deliveries at the last window
}

// New makes the loops for every shards-th subscriber of the plan, or group of subscribers that share a connection. The ledger says what has been published when a
// subscriber joins and leaves. If it is nil, the first event that a subscriber gets is the beginning. Call Close or Finish in the
// end.
func New(p *plan.Plan, shard, shards int, l *ledger.Ledger) (*Swarm, error) {
	addr, err := netip.ParseAddrPort(p.Address)
	if err != nil {
		return nil, fmt.Errorf("address of the stream: %w", err)
	}
	mine := []int{}
	for i := range p.Subscribers {
		if i/p.Group()%shards == shard {
			mine = append(mine, i)
		}
	}
	n := p.Loops
	if n == 0 {
		n = max(1, runtime.NumCPU()/shards)
	}
	s := &Swarm{plan: p}
	s.cpu.Store(measure.CPU())
	for i := range n {
		loop, err := newLoop(p, addr, share(mine, i, n, p.Group()), float64(shards*n))
		if err != nil {
			s.Close()
			return nil, err
		}
		loop.number, loop.ledger = i, l
		s.loops, s.spare = append(s.loops, loop), append(s.spare, measure.Histogram{})
		s.done.Go(loop.run)
	}
	return s, nil
}

// share deals the subscribers out in groups that share a connection.
func share(all []int, at, of, group int) (mine []int) {
	for i, s := range all {
		if i/group%of == at {
			mine = append(mine, s)
		}
	}
	return mine
}

// Threads is how many threads the loops use.
func (s *Swarm) Threads() int { return len(s.loops) }

// Connect begins to open all subscribers.
func (s *Swarm) Connect() error { return s.all(func(l *loop) { l.startConnecting() }) }

// Measure records the latencies of events published at or after a time.
func (s *Swarm) Measure(from int64) error {
	if s.meter != nil {
		s.meter.Stop()
	}
	s.meter = time.AfterFunc(time.Duration(from-measure.Now())*time.Microsecond, func() { s.cpu.Store(measure.CPU()) })
	return s.all(func(l *loop) { l.measureFrom = from })
}

// Begin expects every event that is published from now on, at all open subscribers.
func (s *Swarm) Begin() error { return s.all(func(l *loop) { l.begin() }) }

// Await calls reached, once and from another goroutine, when all subscribers of the key have the event. Each key can have its own
// await.
func (s *Swarm) Await(key int, seq int64, reached func()) error {
	var mu sync.Mutex
	left := len(s.loops)
	one := func() {
		mu.Lock()
		defer mu.Unlock()
		if left--; left == 0 {
			reached()
		}
	}
	return s.all(func(l *loop) { l.startAwait(key, seq, one) })
}

// Storm disconnects a fraction of the subscribers at once. They reconnect with their last event id, spread over jitter.
func (s *Swarm) Storm(fraction float64, jitter time.Duration) error {
	return s.all(func(l *loop) { l.storm(fraction, jitter.Microseconds()) })
}

// Churn replaces a number of subscribers per second over all processes by new ones. 0 stops it.
func (s *Swarm) Churn(rate float64) error {
	return s.all(func(l *loop) { l.churn(rate / l.loopsOfAll) })
}

// Stall makes the chosen subscribers stop reading, see [plan.Plan.Stalls].
func (s *Swarm) Stall() error { return s.all(func(l *loop) { l.stall() }) }

// Behind is how many open subscribers do not have the last event of their key yet, or are about to reconnect.
func (s *Swarm) Behind(last []int64) (int64, error) {
	var n int64
	var mu sync.Mutex
	err := s.all(func(l *loop) {
		b := l.behind(last)
		mu.Lock()
		n += b
		mu.Unlock()
	})
	return n, err
}

// Counts returns the counts as of up to some milliseconds ago.
func (s *Swarm) Counts() Counts {
	var sum Counts
	for _, l := range s.loops {
		l.mu.Lock()
		sum.Add(&l.snapshot)
		l.mu.Unlock()
	}
	return sum
}

// Window returns the latencies recorded since the last call, as of up to some milliseconds ago. Each loop only exchanges its
// histogram for an empty one; the caller does the work of reading the full ones.
func (s *Swarm) Window() (measure.Profile, error) {
	measured := s.Counts().Measured
	s.mu.Lock()
	defer s.mu.Unlock()
	if measured == s.measured {
		return nil, nil // nothing was measured: do not wake the loops
	}
	s.measured = measured
	return s.take()
}

// take takes the loops' histograms. mu must be held.
func (s *Swarm) take() (p measure.Profile, err error) {
	full := make([]measure.Histogram, len(s.loops))
	err = s.all(func(l *loop) {
		full[l.number], l.result.Latency = l.result.Latency, s.spare[l.number]
		l.publish() // the counts are then of the same moment as the window
	})
	if err != nil {
		return nil, err // a loop has failed, so its latencies no longer matter
	}
	for i := range full {
		p = p.Merge(full[i].Drain(&s.latency))
		s.spare[i] = full[i]
	}
	return p, nil
}

// Finish closes all subscribers, compares what each got with what was published, and ends the loops.
func (s *Swarm) Finish(published *sequence.Published) (*Result, error) {
	if len(published.Last) != s.plan.Keys {
		return nil, fmt.Errorf("%d last sequences for %d keys", len(published.Last), s.plan.Keys)
	}
	published.Index()
	cpu := measure.CPU() - s.cpu.Load()
	err := s.all(func(l *loop) { l.finish(published) })
	s.mu.Lock()
	defer s.mu.Unlock()
	window, bad := s.take()
	err = errors.Join(err, bad)
	s.Close()
	r := &Result{Window: window}
	r.Latency.Merge(&s.latency)
	for _, l := range s.loops {
		r.Merge(&l.result)
		err = errors.Join(err, l.failed)
	}
	r.CPU = cpu
	return r, err
}

// Close ends the loops. It may be called more than once.
func (s *Swarm) Close() {
	if s.meter != nil {
		s.meter.Stop()
	}
	for _, l := range s.loops {
		l.stop()
	}
	s.done.Wait()
	for _, l := range s.loops {
		l.handshakes.Wait()
	}
}

// all runs f in each loop's goroutine, and waits for all.
func (s *Swarm) all(f func(*loop)) error {
	ran := make(chan struct{}, len(s.loops))
	for _, l := range s.loops {
		if !l.send(func() { f(l); ran <- struct{}{} }) {
			return l.err()
		}
	}
	for _, l := range s.loops {
		select {
		case <-ran:
		case <-l.ended:
			// The loop may have run f as its last command.
			select {
			case <-ran:
			default:
				return l.err()
			}
		}
	}
	return nil
}
