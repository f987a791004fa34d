package chaos_test

import (
	"testing"
	"time"

	"fanfare/internal/test/natstest"
)

// follower is a broker that does not lead the stream.
func (f *natsFleet) follower() *natstest.Server {
	leader := f.cluster.Leader(stream)
	for _, s := range f.cluster.Servers {
		if s != leader {
			return s
		}
	}
	return nil
}

// TestReplicas breaks brokers of three that replicate the log. What was confirmed stays, so no client gets a gap, and a publish that
// is repeated is stored once.
func TestReplicas(t *testing.T) {
	for _, c := range []struct {
		name  string
		short bool
		fault func(*natsFleet)
	}{
		{"leader killed", true, func(f *natsFleet) {
			leader := f.cluster.Leader(stream)
			leader.Kill()
			f.flows(5)
			leader.Start()
		}},
		{"follower killed", false, func(f *natsFleet) {
			s := f.follower()
			s.Kill()
			f.flows(5)
			s.Start()
		}},
		{"two brokers killed", false, func(f *natsFleet) {
			a, b := f.cluster.Leader(stream), f.follower()
			a.Kill()
			b.Kill()
			time.Sleep(3 * time.Second)
			f.startAll(a, b)
		}},
		{"all brokers killed", false, func(f *natsFleet) {
			for _, s := range f.cluster.Servers {
				s.Kill()
			}
			f.startAll(f.cluster.Servers...)
		}},
		{"everything killed", true, func(f *natsFleet) {
			for _, s := range f.cluster.Servers {
				s.Kill()
			}
			for _, n := range f.nodes {
				n.Kill()
			}
			f.startAll(f.cluster.Servers...)
			for i := range f.nodes {
				f.restart(i)
			}
		}},
		{"leader stopped for longer than an election", true, func(f *natsFleet) {
			leader := f.cluster.Leader(stream)
			leader.Pause()
			time.Sleep(12 * time.Second)
			leader.Resume()
		}},
		{"brokers restarted one after the other", false, func(f *natsFleet) {
			for _, s := range f.cluster.Servers {
				s.Kill()
				f.flows(3)
				s.Start()
				f.cluster.AwaitReady()
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !c.short && !long {
				return // scripts/chaos.sh runs it
			}
			t.Parallel()
			f := newNATSFleet(t, 3, 2)
			f.start(load{pause: 100 * time.Millisecond})
			f.flows(10)
			c.fault(f)
			f.flows(10)
			f.finish()
		})
	}
}

// startAll runs brokers again that cannot become ready one after the other.
func (f *natsFleet) startAll(servers ...*natstest.Server) {
	f.t.Helper()
	for _, s := range servers {
		s.Run()
	}
	f.cluster.AwaitReady()
}
