package transport

import (
	"context"
	"time"

	"fanfare/transport/internal/stream"
)

// Drain ends the server gracefully. /readyz fails from now on. After DrainDelay
// no new stream begins. Streams are ended at DrainRate per second, each with a
// random reconnection time, so that the clients do not all reach the next server
// at once. What is left after DrainTimeout is aborted. Until the last stream has
// ended, new clients are told to reconnect later (Options.RetryMin), since in
// Firefox a single refused connection ends an EventSource for good. Then the
// stream listeners are closed.
//
// It returns when no stream is open. When ctx is done it aborts the rest, and
// waits no longer than a second for them. The admin listener works until Close.
func (s *Server) Drain(ctx context.Context) {
	s.api.Ready.Store(false)
	o := s.settings.Load()
	if o.DrainDelay > 0 {
		stream.Sleep(ctx, o.DrainDelay)
	}
	defer s.shutdownHTTP2(ctx)
	defer s.closeListeners(func(ln *acceptor) bool { return ln.streams })
	s.streams.Drain(ctx, o.DrainRate, time.Now().Add(o.DrainTimeout))
}

// Close ends everything at once: listeners, connections, streams, goroutines.
// Drain is the graceful way.
func (s *Server) Close() {
	s.api.Ready.Store(false)
	s.streams.BeginDrain()
	s.stopOnce.Do(func() { close(s.stop) })
	s.closeListeners(func(*acceptor) bool { return true })
	s.streams.Close()
	s.closeConns()
	s.closeHTTP2()
}

func (s *Server) closeListeners(which func(*acceptor) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ln := range s.listeners {
		if which(ln) {
			_ = ln.Close()
		}
	}
}

func (s *Server) closeConns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ln := range s.listeners {
		ln.closeConns()
	}
}
