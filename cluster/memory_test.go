package cluster_test

import (
	"os"
	"path/filepath"
	"testing"

	"fanfare/cluster"
	"fanfare/internal/test/memlog"
)

// TestMemory: a node that has a memory notices that the log went back while it was not running. One without, one with the
// memory of another log, and one whose file is broken go on.
func TestMemory(t *testing.T) {
	for name, c := range map[string]struct {
		epochs int
		change func(o *cluster.Options, file string)
	}{
		"memory":    {2, func(o *cluster.Options, file string) { o.Memory, o.MemoryOf = file, "log" }},
		"none":      {1, func(*cluster.Options, string) {}},
		"other log": {1, func(o *cluster.Options, file string) { o.Memory, o.MemoryOf = file, "another log" }},
		"broken": {1, func(o *cluster.Options, file string) {
			_ = os.WriteFile(file, []byte("{"), 0o600)
			o.Memory, o.MemoryOf = file, "log"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "known")
			b := memlog.New(1)
			a := startNode(t, b, "a", func(o *cluster.Options) { o.Memory, o.MemoryOf = file, "log" })
			a.settle(t)
			a.must(t, event("k", "1"), event("k", "2"), event("k", "3"))
			a.Close()

			// Restart it with the log as it was.
			a = startNode(t, b, "a", func(o *cluster.Options) { o.Memory, o.MemoryOf = file, "log" })
			a.settle(t)
			equal(t, "epochs after a restart", epochs(b, 0), 1)
			a.Close()

			b.GoBack(0, 2)
			a = startNode(t, b, "a", func(o *cluster.Options) { c.change(o, file) })
			a.settle(t)
			equal(t, "epochs after the log went back", epochs(b, 0), c.epochs)
			a.Close()
		})
	}
}
