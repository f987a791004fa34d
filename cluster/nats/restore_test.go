package nats

import (
	"testing"

	"fanfare/cluster"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/natstest"
)

// TestRestored: a stream that was restored from a backup needs a new epoch, also if no node knows what it had before.
func TestRestored(t *testing.T) {
	t.Run("one server", func(t *testing.T) {
		s := (&natstest.Server{T: t}).Start()
		testRestored(t, s, Options{URL: s.URL()})
	})
	t.Run("a cluster", func(t *testing.T) {
		c := natstest.StartCluster(t, 3, "")
		testRestored(t, c.Servers[1], Options{URL: c.URL(), Replicas: 3})
	})
}

func testRestored(t *testing.T, s *natstest.Server, o Options) {
	l, _ := open(t, o)
	begin := func(epoch uint64) {
		t.Helper()
		appendAll(t, l, cluster.Message{Op: cluster.OpEpoch, Epoch: epoch})
	}
	state := func(l *Log, unsynced bool, epoch, last uint64) {
		t.Helper()
		if got, err := l.State(patient(t), 0); err != nil || got.Unsynced != unsynced || got.Epoch != epoch || got.Last != last {
			t.Errorf("%+v, %v; want unsynced: %v, epoch %d, last %d", got, err, unsynced, epoch, last)
		}
	}
	begin(1)
	appendAll(t, l, event("news", "1"), event("news", "2"))
	b := s.Backup("fanfare")
	appendAll(t, l, event("news", "3"))
	state(l, false, 1, 4)
	s.Kill()
	s.Start()
	eventually.NoError(t, "the log answers", func() error { _, err := l.State(patient(t), 0); return err })
	again, _ := open(t, o)
	state(again, false, 1, 4) // after a restart it is the same

	s.Restore(b)
	fresh, text := open(t, o)
	state(fresh, true, 1, 3)
	if text.Find("the stream was restored from a backup") == nil {
		t.Error(text)
	}
	l = fresh
	begin(2)
	state(fresh, false, 2, 4)
	other, _ := open(t, o)
	state(other, false, 2, 4)
}
