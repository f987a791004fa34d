package nats

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"fanfare/cluster"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/natstest"
)

// node is one server of a fleet without HTTP: an engine that follows the log.
type node struct {
	*cluster.Node
	eng    *engine.Engine
	epochs atomic.Int64 // that have begun while it was running
	stop   func()
}

// startNode starts a node that ends with the test, and waits until it has read back.
func startNode(t *testing.T, name string, o Options) *node {
	t.Helper()
	l, _ := open(t, o)
	n := &node{eng: engine.New(engine.Options{
		Key: engine.KeyOptions{History: 10},
		Log: &engine.LogOptions{Partitions: 1, PartitionOf: func(string) int { return 0 }},
	})}
	var err error
	n.Node, err = cluster.NewNode(cluster.Options{Name: name, Engine: n.eng, Log: l, Bus: l, EpochNotice: func() engine.Frame {
		n.epochs.Add(1)
		return engine.Frame{}
	}})
	if err != nil {
		t.Fatal(err)
	}
	n.Start()
	n.stop = sync.OnceFunc(func() {
		n.Close()
		n.eng.Close()
		l.Close()
	})
	t.Cleanup(n.stop)
	if err := n.Settled(patient(t)); err != nil {
		t.Fatal(err)
	}
	return n
}

// older fetches the events of a key after a sequence.
func (n *node) older(t *testing.T, key string, after uint64) (int, error) {
	at := n.eng.Applied(0)
	events, err := n.Older(patient(t), engine.Missing{Key: key, Epoch: at.Epoch, After: after, Through: at.Seq})
	return len(events), err
}

// TestEpochOutlivesRetention stores much more than the log keeps, as fast as it can. Nodes that start then go on in the epoch.
func TestEpochOutlivesRetention(t *testing.T) {
	s := (&natstest.Server{T: t}).Start()
	o := Options{URL: s.URL(), MaxBytes: 4 << 20}
	a, b := startNode(t, "a", o), startNode(t, "b", o)
	epoch := a.eng.Applied(0).Epoch
	burst := func() (last uint64) {
		var all sync.WaitGroup
		var newest atomic.Uint64
		for writer := range 8 {
			all.Go(func() {
				for i := range 40 {
					var r [1]cluster.Result
					n := []*node{a, b}[writer%2]
					n.Publish(context.Background(), []cluster.Message{event("key", fmt.Sprint(writer, i, strings.Repeat("x", 50_000)))}, r[:])
					if r[0].Err != nil || r[0].Epoch != epoch {
						t.Errorf("%+v, want the epoch %d", r[0], epoch)
					}
					for was := newest.Load(); r[0].Seq > was && !newest.CompareAndSwap(was, r[0].Seq); was = newest.Load() {
					}
				}
			})
		}
		all.Wait()
		return newest.Load()
	}
	for round := range 3 {
		last := burst() // 16 MB
		c := startNode(t, fmt.Sprint("c", round), o)
		if got := c.eng.Applied(0).Epoch; got != epoch {
			t.Fatalf("the node that starts is in the epoch %d, want %d", got, epoch)
		}
		eventually.True(t, "the node has read the last event", func() bool { return c.eng.Applied(0).Seq >= last })
		if n, err := c.older(t, "key", last-20); err != nil || n < 10 { // the others are repetitions
			t.Errorf("the newest: %d events of 20 entries, %v", n, err)
		}
		if _, err := c.older(t, "key", 1); !errors.Is(err, cluster.ErrTooOld) {
			t.Errorf("what retention has removed: %v", err)
		}
		c.stop()
	}

	// Everything ends at once after another burst: no node is there that could be asked.
	last := burst()
	a.stop()
	b.stop()
	s.Kill()
	s.Start()
	d := startNode(t, "d", o)
	if got := d.eng.Applied(0).Epoch; got != epoch {
		t.Errorf("after a restart of all nodes the epoch is %d, want %d", got, epoch)
	}
	if n, err := d.older(t, "key", last-20); err != nil || n < 10 {
		t.Errorf("after a restart of all nodes: %d events of 20 entries, %v", n, err)
	}
	if n := a.epochs.Load() + b.epochs.Load(); n > 0 {
		t.Errorf("the nodes that ran reported %d epochs", n)
	}
}

// TestEpochOfAPurgedStream has a node that starts when the stream has nothing. The others know the epoch.
func TestEpochOfAPurgedStream(t *testing.T) {
	s := (&natstest.Server{T: t}).Start()
	o := Options{URL: s.URL()}
	a := startNode(t, "a", o)
	epoch := a.eng.Applied(0).Epoch
	var r [1]cluster.Result
	a.Publish(context.Background(), []cluster.Message{event("key", "1")}, r[:])
	eventually.True(t, "the node has read the event", func() bool { return a.eng.Applied(0).Seq >= r[0].Seq })
	l, _ := open(t, o)
	var purged struct{}
	if err := l.request(patient(t), "STREAM.PURGE."+l.o.StreamName(0), nil, &purged); err != nil {
		t.Fatal(err)
	}
	c := startNode(t, "c", o)
	if got := c.eng.Applied(0).Epoch; got != epoch || a.epochs.Load() > 0 {
		t.Errorf("the node that starts is in the epoch %d, want %d; the other one reported %d epochs", got, epoch, a.epochs.Load())
	}
}

// TestConditionOnTheEpoch has messages that are stored only after a certain OpEpoch entry.
func TestConditionOnTheEpoch(t *testing.T) {
	l, _ := openNew(t, Options{})
	appendAll(t, l, cluster.Message{Op: cluster.OpEpoch, Epoch: 5, After: 1}, event("news", "1"))
	again := cluster.Message{Op: cluster.OpEpoch, Epoch: 5, Begun: 1, AfterEpoch: 1}
	if r := appendOne(patient(t), l, again); r.Err != nil || r.Seq != 3 {
		t.Fatalf("%+v", r)
	}
	if r := appendOne(patient(t), l, again); !errors.Is(r.Err, cluster.ErrConflict) {
		t.Fatalf("the same condition again: %+v", r)
	}
	s, err := l.State(patient(t), 0)
	if err != nil || s.Epoch != 5 || s.EpochSeq != 1 || s.EpochEntry != 3 {
		t.Errorf("%+v, %v", s, err)
	}
}
