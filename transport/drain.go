package transport

import (
	"context"
	"time"

	"fanfare/engine"
)

// Drain ends the server politely: /readyz fails from now on; after DrainDelay
// no stream is begun any more; streams are ended at DrainRate per second, each
// with a random reconnection time, so that the clients do not all come back to the
// next server at once; what is left after DrainTimeout is ended as it is. Until the
// last stream has ended, who comes is told to come back (Options.RetryMin): in
// Firefox a single refused connection ends an EventSource for good. Then the
// stream listeners are closed.
//
// It returns when no stream is open, or, ending the rest at once, when ctx is
// done: then it waits no longer than a second for them. The admin listener works
// until Close.
func (s *Server) Drain(ctx context.Context) {
	s.ready.Store(false)
	o := s.settings.Load()
	if o.DrainDelay > 0 {
		sleep(ctx, o.DrainDelay)
	}
	s.draining.Store(true)
	defer s.closeListeners(func(ln *acceptor) bool { return ln.streams })
	deadline := time.Now().Add(o.DrainTimeout)
	for ctx.Err() == nil && s.open.Load() > 0 && time.Now().Before(deadline) {
		s.endPaced(ctx, o, deadline)
	}
	if ctx.Err() != nil {
		s.endStreams(ctx, engine.ReasonError)
	} else {
		s.endStreams(ctx, engine.ReasonStalled)
	}
}

// endingTime is how long an end that is to be at once may take.
const endingTime = time.Second

// drainTick is the shortest pause of a drain.
const drainTick = 10 * time.Millisecond

// endPaced asks the streams that are open now to end, at a rate that leaves them
// the last second before the deadline for their last bytes. It goes by the
// clock: what a pause was too long is made up for.
func (s *Server) endPaced(ctx context.Context, o *settings, deadline time.Time) {
	var all []*stream
	for shard := range registryShards {
		all = s.streams.collect(all, shard, func(st *stream) bool { return st.sub.Closing() == 0 })
	}
	start := time.Now()
	left := max(deadline.Sub(start)-time.Second, drainTick)
	rate := max(float64(o.DrainRate), float64(len(all))/left.Seconds())
	for i, st := range all {
		due := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if pause := time.Until(due); pause > 0 && !sleep(ctx, max(pause, drainTick)) {
			return
		}
		st.sub.Close(engine.ReasonDrain)
	}
	sleep(ctx, drainTick) // for those that are writing their last bytes
}

// endStreams ends what is open at once, and waits until it has ended, or for
// endingTime after ctx is done.
func (s *Server) endStreams(ctx context.Context, r engine.Reason) {
	var over time.Time
	for s.open.Load() > 0 {
		if ctx.Err() != nil {
			if over.IsZero() {
				over = time.Now().Add(endingTime)
			} else if time.Now().After(over) {
				return
			}
		}
		var all []*stream
		for shard := range registryShards {
			all = s.streams.collect(all, shard, func(*stream) bool { return true })
		}
		for _, st := range all {
			st.abort(r)
		}
		time.Sleep(time.Millisecond) // their goroutines are closing sockets
	}
}

// sleep waits, and returns false if ctx was done first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
