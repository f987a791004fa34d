package transport

import (
	"context"
	"time"

	"fanfare/engine"
)

// Drain ends the server politely: /readyz fails from now on; after DrainDelay
// no connection is accepted any more; streams are ended at DrainRate per second,
// each with a random reconnection time, so that the clients do not all come back
// to the next server at once; what is left after DrainTimeout is ended as it is.
// It returns when no stream is open, or, ending the rest at once, when ctx is
// done. The admin listener works until Close.
func (s *Server) Drain(ctx context.Context) {
	s.ready.Store(false)
	o := s.settings.Load()
	if o.DrainDelay > 0 && !sleep(ctx, o.DrainDelay) {
		s.endStreams(engine.ReasonError)
		return
	}
	s.draining.Store(true)
	s.closeListeners(func(ln *acceptor) bool { return ln.streams })
	deadline := time.Now().Add(o.DrainTimeout)
	for s.open.Load() > 0 && time.Now().Before(deadline) {
		if !s.endPaced(ctx, o, deadline) {
			break
		}
	}
	s.endStreams(engine.ReasonStalled)
}

// drainTick is how often a drain ends a few streams.
const drainTick = 10 * time.Millisecond

// endPaced asks the streams that are open now to end. It returns false if ctx
// is done.
func (s *Server) endPaced(ctx context.Context, o *settings, deadline time.Time) bool {
	var all []*stream
	for shard := range registryShards {
		all = s.streams.collect(all, shard, func(st *stream) bool { return st.sub.Closing() == 0 })
	}
	left := max(time.Until(deadline)-time.Second, drainTick)
	perTick := max(float64(o.DrainRate)*drainTick.Seconds(), float64(len(all))/(left.Seconds()/drainTick.Seconds()))
	allowed := 0.0
	for _, st := range all {
		for allowed++; allowed > perTick; allowed -= perTick {
			if !sleep(ctx, drainTick) {
				return false
			}
		}
		st.sub.Close(engine.ReasonDrain)
	}
	return sleep(ctx, drainTick) // for those that are writing their last bytes
}

// endStreams ends what is open at once, and waits until it has ended.
func (s *Server) endStreams(r engine.Reason) {
	for s.open.Load() > 0 {
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
