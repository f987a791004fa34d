package chaos_test

import (
	"syscall"
	"testing"
	"time"
)

// TestPlain is one node without a log: what it keeps is gone with it, and an epoch gap says so.
func TestPlain(t *testing.T) {
	t.Run("nothing breaks", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 1)
		f.start(load{})
		f.flows(20)
		f.finish()
	})
	t.Run("connections reset", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 1)
		f.start(load{})
		for range 5 {
			f.flows(5)
			f.watchers[0].Move(0.5)
		}
		f.flows(5)
		f.finish()
	})
	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 1)
		f.start(load{})
		for range 2 {
			f.flows(10)
			f.nodes[0].Kill()
			f.nodes[0].Restart()
		}
		f.flows(10)
		f.finish("epoch", "unknown")
	})
	t.Run("drained", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 1)
		f.start(load{})
		f.flows(10)
		if code := f.nodes[0].Stop(syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d", code)
		}
		f.nodes[0].Restart()
		f.flows(10)
		f.finish("epoch", "unknown")
	})
	t.Run("stopped", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 1)
		f.start(load{silence: time.Second})
		f.flows(10)
		f.nodes[0].Signal(syscall.SIGSTOP)
		time.Sleep(3 * time.Second)
		f.nodes[0].Signal(syscall.SIGCONT)
		f.flows(10)
		f.finish()
	})
	t.Run("slow readers", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 1, "--history", "16")
		f.start(load{slow: 10, size: 4000, pause: 5 * time.Millisecond})
		f.flows(60)
		f.finish("lag", "history")
	})
}
