package embedded

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"fanfare/cluster"
	"fanfare/cluster/nats"
	"fanfare/engine"
	"fanfare/internal/test/proctest"
)

// tiny keeps 2 MiB.
func tiny(dir string) Options {
	return Options{Dir: dir, Fsync: FsyncGroup, Log: nats.Options{MaxBytes: 2 << 20}}
}

// startNode starts a node of an open log, and waits until it has read back.
func startNode(ctx context.Context, l *Log) (*cluster.Node, *engine.Engine, error) {
	eng := engine.New(engine.Options{Log: &engine.LogOptions{Partitions: 1, PartitionOf: func(string) int { return 0 }}})
	n, err := cluster.NewNode(cluster.Options{Name: "a", Engine: eng, Log: l, Bus: l})
	if err != nil {
		return nil, nil, err
	}
	n.Start()
	return n, eng, n.Settled(ctx)
}

// burst publishes much more than the log keeps, and prints the epoch. Then it waits to be killed.
func burst(dir string) {
	ctx := context.Background()
	l, err := Open(ctx, tiny(dir))
	if err != nil {
		fail(err)
	}
	n, eng, err := startNode(ctx, l)
	if err != nil {
		fail(err)
	}
	for i := range 400 {
		var r [1]cluster.Result
		if n.Publish(ctx, []cluster.Message{event(fmt.Sprint(i, strings.Repeat("x", 20_000)))}, r[:]); r[0].Err != nil {
			fail(r[0].Err)
		}
	}
	fmt.Printf("epoch %d\n", eng.Applied(0).Epoch)
	select {}
}

// TestEpochOutlivesRetention kills the process at once after it has stored more than the log keeps. The next one goes on in the
// epoch: ids from before are good for what is kept.
func TestEpochOutlivesRetention(t *testing.T) {
	dir := t.TempDir()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(os.Args[0])
	cmd.Env = proctest.Environment("EMBEDDED_DIR="+dir, "EMBEDDED_BURST=1")
	cmd.Stdout = in
	p := proctest.Start(t, cmd)
	_ = in.Close()
	var epoch uint64
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, err := fmt.Sscanf(lines.Text(), "epoch %d", &epoch); err == nil {
			break
		}
	}
	p.Kill()
	if epoch == 0 {
		t.Fatal("the program has not published its events")
	}

	l, _ := open(t, tiny(dir))
	n, eng, err := startNode(patient(t), l)
	if err != nil {
		t.Fatal(err)
	}
	defer eng.Close()
	defer n.Close()
	at := eng.Applied(0)
	if at.Epoch != epoch {
		t.Errorf("the epoch is %d after the restart, want %d", at.Epoch, epoch)
	}
	if s := stateOf(t, l, 0); s.First < 200 {
		t.Errorf("the oldest entry is %d: retention has removed too little", s.First)
	}
	events, err := n.Older(patient(t), engine.Missing{Key: "news", Epoch: at.Epoch, After: at.Seq - 20, Through: at.Seq})
	if err != nil || len(events) < 10 { // the others are repetitions of the epoch's entry
		t.Errorf("%d events of 20 entries, %v", len(events), err)
	}
}
