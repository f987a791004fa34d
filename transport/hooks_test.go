package transport

import (
	"sync/atomic"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
)

// TestCloseWaitsForHooks: after Close and Drain every stream has been told of, and a hook may call Close.
func TestCloseWaitsForHooks(t *testing.T) {
	const streams = 20
	for name, end := range map[string]func(*Server){"Close": (*Server).Close, "Drain": func(s *Server) { s.Drain(t.Context()) }} {
		t.Run(name, func(t *testing.T) {
			var told atomic.Int32
			o := Options{OnDisconnect: func(Info, string, time.Duration) {
				time.Sleep(20 * time.Millisecond) // longer than Close waits between two looks
				told.Add(1)
			}}
			onBoth(t, rigOptions{Options: o}, func(t *testing.T, r *rig) {
				told.Store(0)
				for range streams {
					r.stream("connectKey=a")
				}
				r.waitOpen(streams)
				end(r.srv)
				if n := told.Load(); n != streams {
					t.Errorf("told of %d streams", n)
				}
			})
		})
	}
	t.Run("a hook calls Close", func(t *testing.T) {
		var server atomic.Pointer[Server]
		closed := make(chan struct{})
		o := rigOptions{prepare: func(s *Server) { server.Store(s) }, Options: Options{OnDisconnect: func(Info, string, time.Duration) {
			server.Load().Close()
			close(closed)
		}}}
		r := startRig(t, viaFast, o)
		r.stream("connectKey=a").Close()
		select {
		case <-closed:
		case <-time.After(eventually.Patience):
			t.Fatal("Close waits for the hook that called it")
		}
	})
}
