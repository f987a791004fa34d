// Package bench_test measures each hot step of Fanfare through its public API. README.md explains the names. compare.sh compares
// two revisions.
package bench_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"fanfare/engine"
)

// frame is an event of about 200 bytes, with room for the engine's id.
var frame = engine.Frame{Bytes: []byte("data: " + strings.Repeat("x", 180) + "\nid: \n\n"), IDAt: len("data: ") + 180 + len("\nid: ")}

// size returns n. With -short, which only checks that the benchmarks work, it returns less.
func size(n, short int) int {
	if testing.Short() {
		return short
	}
	return n
}

// start returns an engine that ends with the benchmark.
func start(b *testing.B, o engine.Options) *engine.Engine {
	e := engine.New(o)
	b.Cleanup(e.Close)
	return e
}

func publish(b *testing.B, e *engine.Engine, key string, f engine.Frame) engine.Published {
	p, err := e.Publish(key, f)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// reader is a minimal owner of a subscriber: in Ready, it reads all events.
type reader struct {
	sub  engine.Subscriber
	read int
}

func (r *reader) Ready() {
	for {
		for _, ok := r.sub.Next(true); ok; _, ok = r.sub.Next(true) {
			r.read++
		}
		if r.sub.Closing() != 0 || r.sub.Release() {
			return
		}
	}
}

// join makes the reader a subscriber that has read all events.
func (r *reader) join(b *testing.B, e *engine.Engine, key, lastID string) {
	if _, err := e.Subscribe(&r.sub, []string{key}, lastID, r); err != nil {
		b.Fatal(err)
	}
	r.Ready()
}

// join returns n readers of the key.
func join(b *testing.B, e *engine.Engine, key string, n int) []reader {
	readers := make([]reader, n)
	for i := range readers {
		readers[i].join(b, e, key, "")
	}
	return readers
}

// own returns a subscriber that the benchmark itself owns.
func own(b *testing.B, e *engine.Engine, key string) *engine.Subscriber {
	r := new(reader)
	if _, err := e.Subscribe(&r.sub, []string{key}, "", r); err != nil {
		b.Fatal(err)
	}
	return &r.sub
}

// TestBenchmarks runs every benchmark once, in a separate process, so that tests detect a benchmark that has stopped working.
func TestBenchmarks(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// It ends before this test would, so that one that hangs says where: with -test.v, each benchmark is named when it begins.
	limit := 20 * time.Minute
	if deadline, ok := t.Deadline(); ok {
		limit = min(limit, time.Until(deadline)*9/10)
	}
	cmd := exec.Command(self, "-test.run=^$", "-test.bench=.", "-test.benchtime=1x", "-test.short", "-test.v", "-test.timeout="+limit.String())
	cmd.WaitDelay = time.Minute // for processes that it has left, which have its output open
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "BenchmarkFanout") {
		t.Errorf("%v\n%s", err, out)
	}
}
