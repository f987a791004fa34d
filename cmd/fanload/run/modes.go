//go:build linux

package run

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/publish"
	"fanfare/cmd/fanload/sequence"
)

// never is after every time of measure.Now.
const never = 1<<63 - 1

// mode publishes from start on, and stalls, replaces or disconnects subscribers, as the mode requires.
func (r *runner) mode(ctx context.Context, start int64) error {
	switch r.s.Plan.Mode {
	case Closed:
		return r.closed(ctx, start)
	case Burst:
		return r.bursts(ctx, start)
	}
	if r.publisher == nil {
		sleep(ctx, r.s.Warmup+r.s.Duration)
		return nil
	}
	switch r.s.Plan.Mode {
	case Stall:
		if err := r.team.Stall(); err != nil {
			return err
		}
	case Churn:
		if err := r.team.Churn(r.s.Churn); err != nil {
			return err
		}
	}
	published := make(chan struct{})
	go func() {
		defer close(published)
		r.schedule(ctx, start)
	}()
	err := r.storms(ctx, published)
	<-published
	if r.s.Plan.Mode == Churn {
		err = errors.Join(err, r.team.Churn(0))
	}
	return err
}

// end is the end of publishing.
func (r *runner) end(start int64) int64 {
	return start + (r.s.Warmup + r.s.Duration).Microseconds()
}

// schedule is the open loop: slot i is due at start + i/rate, independent of earlier slots. The latency of an event counts from
// its due time, so a server that blocks the publisher is charged for all events that had to wait. Each publish connection has
// its own pace: the others do not wait for one that hangs.
func (r *runner) schedule(ctx context.Context, start int64) {
	plan := sequence.NewUnsent(r.s.Plan.Publishers, r.s.Plan.Keys)
	plan.Start, plan.Batch = start, r.s.Plan.Batch
	plan.Apart = 1e6 * float64(plan.Batch) / r.s.Rate
	plan.To = r.slots(start, plan.Apart)
	all := plan.Events()
	var wait sync.WaitGroup
	for lane := range plan.Next {
		wait.Go(func() { r.lane(ctx, &plan, &plan.Next[lane]) })
	}
	wait.Wait()
	events := all - plan.Events()
	if took := max(measure.Now(), min(start+int64(float64(events)/r.s.Rate*1e6), r.end(start))) - start; took > 0 {
		r.published = float64(events) / float64(took) * 1e6
	}
	if ctx.Err() != nil { // the run was interrupted: slots that were not due yet are not unsent
		for now := measure.Now(); plan.To > 0 && plan.Due(plan.To-1) > now; {
			plan.To--
		}
	}
	r.unsent = plan
}

// lane publishes the slots of a lane, from next on. Only this goroutine uses next.
func (r *runner) lane(ctx context.Context, plan *sequence.Unsent, next *int64) {
	pacer := publish.NewPacer()
	defer pacer.Release()
	for *next < plan.To && pacer.Until(ctx, plan.Due(*next)) {
		if measure.Now() > r.end(plan.Start)+r.s.Plan.PublishTimeout.Microseconds() {
			break // too far behind: the run must end
		}
		r.publisher.Publish(int(*next%int64(plan.Keys)), plan.Batch, plan.Due(*next))
		*next = plan.After(*next)
	}
}

// slots is how many publish requests the open loop's schedule has.
func (r *runner) slots(start int64, apart float64) int64 {
	span := float64(r.end(start) - start)
	n := int64(math.Ceil(span / apart))
	if most := (r.s.Events + int64(r.s.Plan.Batch) - 1) / int64(r.s.Plan.Batch); r.s.Events > 0 {
		n = min(n, most)
	}
	return n
}

// storms disconnects subscribers at intervals until the publisher has ended.
func (r *runner) storms(ctx context.Context, published <-chan struct{}) error {
	if r.s.Plan.Mode != Storm {
		return nil
	}
	t := time.NewTicker(r.s.Every)
	defer t.Stop()
	for {
		select {
		case <-published:
			return nil
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := r.team.Storm(r.s.Fraction, r.s.Jitter); err != nil {
				return err
			}
		}
	}
}

// closed publishes the next event when all subscribers of the key have the previous one.
func (r *runner) closed(ctx context.Context, start int64) error {
	pacer := publish.NewPacer()
	defer pacer.Release()
	if !pacer.Until(ctx, start) {
		return nil
	}
	var events atomic.Int64
	err := r.eachKey(r.s.Plan.PublishesInFlight, func(key int) (bool, error) {
		if ctx.Err() != nil || measure.Now() >= r.end(start) && !r.unmeasured() {
			return false, nil
		}
		batch := int64(r.s.Plan.Batch)
		if n := events.Add(batch); r.s.Events > 0 && n-batch >= r.s.Events {
			events.Add(-batch)
			return false, nil
		}
		return true, r.round(ctx, key, 1)
	})
	r.published = float64(events.Load()) / max(1e-6, float64(measure.Now()-start)/1e6)
	return err
}

// eachKey calls f with one key after the other, repeatedly, until f returns false or an error. It uses several goroutines, each
// with its own keys.
func (r *runner) eachKey(goroutines int, f func(key int) (more bool, err error)) error {
	var wait sync.WaitGroup
	errs := make([]error, goroutines)
	for g := range goroutines {
		wait.Go(func() {
			for key := g; ; {
				more, err := f(key)
				if errs[g] = err; err != nil || !more {
					return
				}
				if key += goroutines; key >= r.s.Plan.Keys {
					key = g
				}
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// warm makes the warm-up passes over all keys. After them, the server's caches and tables are like those of a server that has
// been in use for a while, with any number of keys.
func (r *runner) warm(ctx context.Context) error {
	if r.s.WarmupPasses == 0 {
		return nil
	}
	r.sampler.phase("warm-up")
	r.publisher.Measure(never)
	limit, cancel := context.WithTimeout(ctx, r.s.passesTime())
	defer cancel()
	done := make([]int, r.s.Plan.Keys)
	err := r.eachKey(r.s.Plan.Publishers, func(key int) (bool, error) {
		if limit.Err() != nil || done[key] == r.s.WarmupPasses {
			return false, nil
		}
		done[key]++
		return true, r.round(limit, key, 1)
	})
	if err == nil && limit.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("--warmup-passes %d: the passes did not end within %s", r.s.WarmupPasses, r.s.passesTime())
	}
	return err
}

// bursts publishes many events at once, at intervals.
func (r *runner) bursts(ctx context.Context, start int64) error {
	pacer := publish.NewPacer()
	defer pacer.Release()
	events := int64(0)
	requests := (r.s.Burst + r.s.Plan.Batch - 1) / r.s.Plan.Batch
	for at := start; (r.s.Events == 0 || events < r.s.Events) && pacer.Until(ctx, at); at += r.s.Every.Microseconds() {
		if max(at, measure.Now()) >= r.end(start) && !r.unmeasured() {
			break
		}
		if err := r.round(ctx, 0, requests); err != nil {
			return err
		}
		events += int64(requests * r.s.Plan.Batch)
	}
	r.published = float64(events) / max(1e-6, float64(measure.Now()-start)/1e6)
	return nil
}

// maxAwaited bounds the keys that a round waits for, because each takes a message to the workers before the round begins.
const maxAwaited = 10_000

// round sends a number of publish requests, to keys in turn beginning with key, and waits until all subscribers of these keys
// have the last event of their key. With more than maxAwaited keys it waits for the last ones only.
func (r *runner) round(ctx context.Context, key, requests int) error {
	keys, batch := r.s.Plan.Keys, r.s.Plan.Batch
	var awaited []<-chan struct{}
	for i := max(0, requests-min(keys, maxAwaited)); i < requests; i++ {
		k, turns := (key+i)%keys, i/keys+1 // of the key with this request
		reached, err := r.team.Await(k, r.publisher.Last()[k]+int64(turns*batch))
		if err != nil {
			return err
		}
		awaited = append(awaited, reached)
	}
	at := measure.Now()
	for i := range requests {
		r.publisher.Publish((key+i)%keys, batch, at)
	}
	late := time.NewTimer(r.s.roundTime())
	defer late.Stop()
	for _, reached := range awaited {
		select {
		case <-reached:
		case <-late.C:
			r.roundEnded(at, false)
			return nil
		case <-ctx.Done():
			r.roundEnded(at, false)
			return nil
		}
	}
	r.roundEnded(at, true)
	return nil
}

// roundEnded records a round. An unfinished round is recorded with the time that was waited for it, as a lower bound. Without it,
// a slower server would look better.
func (r *runner) roundEnded(at int64, over bool) {
	took := measure.Now() - at
	r.mu.Lock()
	defer r.mu.Unlock()
	if !over {
		r.timeouts++
	}
	if r.from == 0 || at < r.from {
		return
	}
	if r.rounds.Record(took); !over {
		r.unfinished++
	}
}

// unmeasured reports whether no round has been measured yet. Then one more is needed, even if the time is over.
func (r *runner) unmeasured() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rounds.Count() == 0
}
