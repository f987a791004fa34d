package cluster_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/cluster"
	"fanfare/engine"
	"fanfare/internal/test/memlog"
)

// recorder stands for an engine and keeps what it was told, in order.
type recorder struct {
	mu      sync.Mutex
	epoch   map[int]uint64
	applied map[int]uint64
	got     []record
	events  map[*engine.Event]engine.LogEntry
	faults  []string // calls that a Node must not make
}

// record is an event, as its key's subscribers would see it.
type record struct {
	pos  engine.Position
	part int
	key  string // "*" for all
	data string
}

func newRecorder() *recorder {
	return &recorder{epoch: map[int]uint64{}, applied: map[int]uint64{}, events: map[*engine.Event]engine.LogEntry{}}
}

func (r *recorder) Apply(e engine.LogEntry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Seq <= r.applied[e.Partition] || r.epoch[e.Partition] == 0 {
		r.faults = append(r.faults, fmt.Sprintf("Apply(%d) after %d in epoch %d", e.Seq, r.applied[e.Partition], r.epoch[e.Partition]))
	}
	r.applied[e.Partition] = e.Seq
	key := e.Key
	if e.All {
		key = "*"
	}
	r.got = append(r.got, record{engine.Position{Epoch: r.epoch[e.Partition], Seq: e.Seq}, e.Partition, key, text(e.Frame)})
	return nil
}

func (r *recorder) Advance(partition int, seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.applied[partition] = max(r.applied[partition], seq)
}

func (r *recorder) StartAt(partition int, seq uint64) {
	if len(r.records()) > 0 {
		r.faults = append(r.faults, "StartAt after an event")
	}
	r.Advance(partition, seq)
}

func (r *recorder) SetEpoch(partition int, epoch, seq uint64, notice engine.Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if epoch <= r.epoch[partition] {
		r.faults = append(r.faults, fmt.Sprintf("SetEpoch(%d) after %d", epoch, r.epoch[partition]))
	}
	r.epoch[partition], r.applied[partition] = epoch, seq
	if len(notice.Bytes) > 0 {
		r.got = append(r.got, record{engine.Position{Epoch: epoch, Seq: seq}, partition, "*", text(notice)})
	}
}

func (r *recorder) NewLogEvent(e engine.LogEntry) *engine.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	ev := new(engine.Event)
	e.Frame.Bytes = append([]byte(nil), e.Frame.Bytes...)
	r.events[ev] = e
	return ev
}

// text returns the data of a frame.
func text(f engine.Frame) string {
	s, _, _ := strings.Cut(strings.TrimPrefix(string(f.Bytes), "data: "), "\n")
	return s
}

// data returns the data of everything that was applied, separated by spaces.
func (r *recorder) data() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, each := range r.got {
		all = append(all, each.data)
	}
	return strings.Join(all, " ")
}

func (r *recorder) records() []record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]record(nil), r.got...)
}

func (r *recorder) currentEpoch() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.epoch[0]
}

// testNode is a node with its recorder and its connections.
type testNode struct {
	*cluster.Node
	rec *recorder
	log *memlog.Log
	bus *memlog.Bus
}

// startNode starts a node that ends with the test. change may be nil.
func startNode(t *testing.T, b *memlog.Broker, name string, change func(*cluster.Options)) *testNode {
	t.Helper()
	n := makeNode(t, b, name, change)
	n.Start()
	return n
}

// startOne starts a node of a new log with one partition, and waits until it is settled.
func startOne(t *testing.T) (*memlog.Broker, *testNode) {
	t.Helper()
	b := memlog.New(1)
	n := startNode(t, b, "a", nil)
	n.settle(t)
	return b, n
}

func makeNode(t *testing.T, b *memlog.Broker, name string, change func(*cluster.Options)) *testNode {
	t.Helper()
	n := &testNode{rec: newRecorder(), log: b.Log(), bus: b.Bus()}
	o := cluster.Options{Name: name, Log: n.log, Bus: n.bus, Logger: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
		EpochNotice: func() engine.Frame { return frame("EPOCH") },
		HoleNotice:  func() engine.Frame { return frame("HOLE") }}
	if change != nil {
		change(&o)
	}
	n.Node = cluster.NewFollowing(o, n.rec)
	t.Cleanup(func() {
		n.Close()
		n.rec.mu.Lock()
		defer n.rec.mu.Unlock()
		for _, fault := range n.rec.faults {
			t.Errorf("node %s: %s", name, fault)
		}
	})
	return n
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func frame(data string) engine.Frame {
	b := "data: " + data + "\nid: \n\n"
	return engine.Frame{Bytes: []byte(b), IDAt: len(b) - 2}
}

func event(key, data string) cluster.Message { return cluster.Message{Key: key, Frame: frame(data)} }

func broadcast(data string) cluster.Message {
	return cluster.Message{Op: cluster.OpBroadcast, Frame: frame(data)}
}

// publish publishes messages with one call.
func (n *testNode) publish(messages ...cluster.Message) []cluster.Result {
	results := make([]cluster.Result, len(messages))
	n.Publish(context.Background(), messages, results)
	return results
}

// must publishes messages that must be stored.
func (n *testNode) must(t *testing.T, messages ...cluster.Message) []cluster.Result {
	t.Helper()
	results := n.publish(messages...)
	for i, r := range results {
		if r.Err != nil || r.Queued {
			t.Fatalf("message %d: %+v, want it stored", i, r)
		}
	}
	return results
}

// number publishes events to the key k, one after another, with their numbers from 0 on as data.
func (n *testNode) number(t *testing.T, count int) {
	t.Helper()
	for i := range count {
		n.must(t, event("k", fmt.Sprint(i)))
	}
}

// settle waits until the node has read back.
func (n *testNode) settle(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.Settled(ctx); err != nil {
		t.Fatalf("Settled: %v", err)
	}
}

// stored returns the data of the events that a partition of the broker has, separated by spaces.
func stored(b *memlog.Broker, partition int) string {
	var all []string
	for _, m := range b.Messages(partition) {
		if m.Op != cluster.OpEpoch {
			all = append(all, text(m.Frame))
		}
	}
	return strings.Join(all, " ")
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// counting counts the calls of State.
type counting struct {
	cluster.Log
	states atomic.Int64
}

func (c *counting) State(ctx context.Context, partition int) (cluster.State, error) {
	c.states.Add(1)
	return c.Log.State(ctx, partition)
}

// metric returns the value of a metric, the sum of all its series.
func metric(t *testing.T, registry *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		found = true
		for _, m := range family.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	if !found {
		t.Errorf("there is no metric %s", name)
	}
	return sum
}
