package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"fanfare/engine"
)

// memoryInterval is how often a node writes down what it knows.
const memoryInterval = time.Second

// memory is what a node knows when it ends, for its next start: the newest place of each partition that is known to be
// stored. A log that is restored from a backup while no node runs has less, and nobody else would notice.
type memory struct {
	Log   string            `json:"log"` // Options.MemoryOf
	Known []engine.Position `json:"known"`
	// Witnesses are those of this node, by partition: see witness.go.
	Witnesses []witness `json:"witnesses,omitempty"`
}

// recall reads the memory before the first session. A file that cannot be read is as good as none.
func (n *Node) recall() {
	if n.o.Memory == "" {
		return
	}
	var m memory
	text, err := os.ReadFile(n.o.Memory)
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		n.log.Warn("what this node knew of the log cannot be read: it would not notice that the log was restored from a backup",
			"file", n.o.Memory, "error", err)
		return
	case m.Log != n.o.MemoryOf || len(m.Known) != len(n.partitions):
		return // of another log
	}
	for i, p := range n.partitions {
		p.learn(m.Known[i])
		if len(m.Witnesses) == len(n.partitions) {
			p.hear(m.Witnesses[i])
		}
	}
}

// remember writes the memory from time to time, and at the end.
func (n *Node) remember() {
	ticker := time.NewTicker(memoryInterval)
	defer ticker.Stop()
	last := ""
	for {
		ended := false
		select {
		case <-ticker.C:
		case <-n.ctx.Done():
			ended = true
		}
		m := memory{Log: n.o.MemoryOf, Witnesses: n.witnesses()}
		for _, p := range n.partitions {
			m.Known = append(m.Known, p.position())
		}
		if text := fmt.Sprint(m); text != last {
			if err := m.write(n.o.Memory); err != nil {
				n.limited.Log(n.log, slog.LevelWarn, "memory", "cannot write down what this node knows of the log", "file", n.o.Memory, "error", err)
			} else {
				last = text
			}
		}
		if ended {
			return
		}
	}
}

// write replaces the file. It is not synced: after a loss of power the node knows a bit less.
func (m memory) write(file string) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
