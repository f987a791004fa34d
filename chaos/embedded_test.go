package chaos_test

import (
	"syscall"
	"testing"
	"time"
)

// TestEmbedded is one node that keeps its events in files: clients resume over its restarts, without a gap.
func TestEmbedded(t *testing.T) {
	for name, fault := range map[string]func(*fleet){
		"killed": func(f *fleet) {
			for range 2 {
				f.nodes[0].Kill()
				f.nodes[0].Restart()
				f.flows(5)
			}
		},
		"drained": func(f *fleet) {
			if code := f.nodes[0].Stop(syscall.SIGTERM); code != 0 {
				f.t.Errorf("exit code %d", code)
			}
			f.nodes[0].Restart()
		},
		"stopped": func(f *fleet) {
			f.nodes[0].Signal(syscall.SIGSTOP)
			time.Sleep(4 * time.Second)
			f.nodes[0].Signal(syscall.SIGCONT)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 1, "--backplane", "embedded", "--data-dir", t.TempDir())
			f.partitions = 1
			f.start(load{})
			f.flows(10)
			fault(f)
			f.flows(10)
			f.finish()
		})
	}
}
