package transport

import (
	"context"
	"time"
)

// adminPoll is how often DrainAdmin looks whether requests are under way. Nothing waits for it but the end of the process.
const adminPoll = 5 * time.Millisecond

// DrainAdmin ends the admin listeners gracefully. New connections are refused, those without a request are closed, and
// each other one is closed after its answer. It returns when none is left, or when ctx is done.
//
// Call it after Drain, so that health checks are answered meanwhile, and before Close, which cuts what is left.
func (s *Server) DrainAdmin(ctx context.Context) {
	s.adminConns.draining.Store(true)
	s.closeListeners(func(ln *acceptor) bool { return !ln.streams })
	tick := time.NewTicker(adminPoll)
	defer tick.Stop()
	for s.adminConns.closeWaiting() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// closeWaiting closes the connections without an admitted request, and returns how many others there are.
func (a *adminConns) closeWaiting() (busy int) {
	a.mu.Lock()
	idle := a.removeWaiting(func() bool { return true })
	busy = a.conns.Len()
	a.mu.Unlock()
	for _, c := range idle {
		closeNow(c.Conn)
	}
	return busy
}
