package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/cluster"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/memlog"
)

// fleetHammer is a run with several nodes, whose engines follow one log that has faults. Publishers publish at any node,
// clients move between the nodes. At the end what was published and what arrived must reconcile:
//
//   - what was answered as stored was stored, once; what was unknown, at most once; what was refused, never;
//   - a position has one event only, whoever meets it;
//   - each client gets every event of its keys once, in order, or a gap that accounts for it.
type fleetHammer struct {
	t      *testing.T
	broker *memlog.Broker
	keys   []string

	publishTimeout time.Duration

	mu    sync.Mutex
	nodes []*hammerNode

	published struct {
		sync.Mutex
		results map[string][]cluster.Result // by data, of each call that had it
	}
	stop    chan struct{} // ends publishers
	settled atomic.Bool   // everything is published and applied: clients that have read everything end
	clients []*hammerClient

	stored, unknown, refused, queued, received, gaps, resumes, fetched, failed atomic.Int64
}

type hammerNode struct {
	*cluster.Node
	engine *engine.Engine
	log    *memlog.Log
	bus    *memlog.Bus
}

func (h *fleetHammer) startNode(name string, queue bool) *hammerNode {
	partitions := h.broker.Log().Partitions()
	n := &hammerNode{log: h.broker.Log(), bus: h.broker.Bus()}
	n.engine = engine.New(engine.Options{
		Key:           engine.KeyOptions{History: 32, HistoryTTL: 200 * time.Millisecond},
		SweepInterval: 20 * time.Millisecond, // keys without subscribers are retired
		Log: &engine.LogOptions{Partitions: partitions, PartitionOf: func(key string) int {
			return cluster.PartitionOf(key, partitions)
		}},
	})
	notice := func(reason string) func() engine.Frame {
		return func() engine.Frame {
			f := frame(reason)
			f.Notice = true
			return f
		}
	}
	node, err := cluster.NewNode(cluster.Options{
		Name: name, Engine: n.engine, Log: n.log, Bus: n.bus, Logger: slog.New(slog.NewTextHandler(testWriter{h.t}, nil)),
		PublishTimeout: h.publishTimeout, Queue: queue, ReadBack: 500 * time.Millisecond,
		EpochNotice: notice("EPOCH"), HoleNotice: notice("HOLE"),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	n.Node = node
	n.Start()
	return n
}

// node returns one of the nodes.
func (h *fleetHammer) node(rng *rand.Rand) *hammerNode {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.nodes[rng.IntN(len(h.nodes))]
}

// publish publishes batches until stop. Each message has data of its own: "key/publisher/number".
func (h *fleetHammer) publish(publisher int, rng *rand.Rand) {
	var unknown []cluster.Message // to be repeated with the same ID
	for number := 0; ; {
		select {
		case <-h.stop:
			return
		case <-time.After(time.Duration(rng.IntN(4)) * time.Millisecond):
		}
		var batch []cluster.Message
		for range 1 + rng.IntN(5) {
			number++
			key := h.keys[rng.IntN(len(h.keys))]
			m := event(key, fmt.Sprintf("%s/%d/%d", key, publisher, number))
			if rng.IntN(20) == 0 {
				m = broadcast(fmt.Sprintf("*/%d/%d", publisher, number))
			}
			if rng.IntN(2) == 0 {
				m.ID = fmt.Sprintf("k:%d/%d", publisher, number)
			}
			batch = append(batch, m)
		}
		batch = append(batch, unknown...)
		unknown = nil
		results := make([]cluster.Result, len(batch))
		h.node(rng).Publish(context.Background(), batch, results)
		h.published.Lock()
		for i, r := range results {
			data := text(batch[i].Frame)
			h.published.results[data] = append(h.published.results[data], r)
			switch {
			case r.Queued:
				h.queued.Add(1)
			case r.Err == nil:
				h.stored.Add(1)
			case errors.Is(r.Err, cluster.ErrUnknown):
				h.unknown.Add(1)
				if batch[i].ID != "" {
					unknown = append(unknown, batch[i])
				}
			default:
				h.refused.Add(1)
			}
		}
		h.published.Unlock()
	}
}

// hammerClient follows some keys at one node after the other.
type hammerClient struct {
	h       *fleetHammer
	rng     *rand.Rand
	keys    []string
	id      string
	records []clientRecord
}

// clientRecord is an event that arrived, a gap, or the beginning of a session without an id.
type clientRecord struct {
	at   engine.Position
	data string      // "" of all else
	lost *engine.Gap // of one key; that of the first key may be of broadcasts
	all  bool        // everything between the events before and after it may be lost
	note string
	// beyond says that the id was no place in the log, so the client begins anew.
	beyond bool
}

func (c *hammerClient) run() {
	for {
		if c.session() {
			return
		}
		if c.rng.IntN(4) == 0 && !c.h.settled.Load() { // long enough for the rings to lose what the client misses
			time.Sleep(time.Duration(c.rng.IntN(600)) * time.Millisecond)
		}
	}
}

// session reads at one node for a while. It returns true if the hammer has ended and everything was read.
func (c *hammerClient) session() (done bool) {
	ended := c.h.settled.Load()
	n := c.h.node(c.rng)
	if id := n.Meet(context.Background(), c.keys, c.id); id != c.id {
		c.id = id
		c.records = append(c.records, clientRecord{beyond: true, all: true})
	}
	s := new(engine.Subscriber)
	_, err := n.engine.Subscribe(s, c.keys, c.id, noSink{})
	if errors.Is(err, engine.ErrClosed) {
		return false
	}
	if err != nil {
		c.h.t.Error(err)
		return true
	}
	defer s.Close(engine.ReasonGone)
	c.h.resumes.Add(1)
	for i, m := range s.Missing() {
		ctx, cancel := context.WithTimeout(context.Background(), eventually.Patience)
		events, err := n.Older(ctx, m)
		cancel()
		s.Fill(i, events, err)
		c.h.fetched.Add(1)
		if err != nil {
			c.h.failed.Add(1)
		}
	}
	if c.id == "" {
		c.id = string(s.Positions(nil))
		for part := range strings.SplitSeq(c.id, ",") {
			at, ok := engine.ParsePosition(part)
			if !ok {
				c.h.t.Errorf("the first id is %q", c.id)
			}
			c.records = append(c.records, clientRecord{at: at, note: "began"})
		}
	}
	for deadline := time.Now().Add(time.Duration(20+c.rng.IntN(300)) * time.Millisecond); ; {
		it, ok := s.Next(true)
		switch {
		case ok:
			c.take(it)
			c.id = string(s.Positions(nil))
		case ended:
			return true
		default:
			c.id = string(s.Positions(nil)) // as a heartbeat does
			time.Sleep(time.Millisecond)
		}
		if !ended && time.Now().After(deadline) {
			return false
		}
	}
}

func (c *hammerClient) take(it engine.Item) {
	if g := it.Gap; g != nil {
		if g.Reason != engine.GapLag { // a client may be slow
			c.h.gaps.Add(1)
		}
		c.records = append(c.records, clientRecord{lost: g, all: g.Reason == engine.GapEpoch || g.Reason == engine.GapUnknown, note: fmt.Sprintf("%+v", *g)})
		return
	}
	c.h.received.Add(1)
	b := it.Event.Bytes()
	at, n := it.Event.ID()
	pos, ok := engine.ParsePosition(string(b[at : at+n]))
	if !ok {
		c.h.t.Errorf("the event %q has no position", b)
	}
	data := text(engine.Frame{Bytes: b})
	if data == "EPOCH" || data == "HOLE" {
		c.records = append(c.records, clientRecord{all: true, note: data + " " + pos.String()})
		return
	}
	c.records = append(c.records, clientRecord{at: pos, data: data})
}

type noSink struct{}

func (noSink) Ready() {}

// run hammers for a while. fault is called again and again while publishers and clients work.
func (h *fleetHammer) run(t *testing.T, partitions int, d time.Duration, queue bool, fault func(*fleetHammer, *rand.Rand)) {
	h.t, h.broker, h.stop = t, memlog.New(partitions), make(chan struct{})
	h.broker.Window = time.Minute
	h.published.results = map[string][]cluster.Result{}
	h.publishTimeout = eventually.Patience
	if fault != nil {
		h.publishTimeout = 3 * time.Second
	}
	for i := range 12 {
		h.keys = append(h.keys, fmt.Sprint("key", i))
	}
	for i := range 3 {
		h.nodes = append(h.nodes, h.startNode(fmt.Sprint("node", i), queue && i == 0))
	}
	for _, n := range h.nodes {
		ctx, cancel := context.WithTimeout(context.Background(), eventually.Patience)
		defer cancel()
		if err := n.Settled(ctx); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, n := range h.nodes {
			n.Close()
			n.engine.Close()
		}
	})

	// Publish, read and make faults at the same time.
	var publishers, clients sync.WaitGroup
	for i := range 4 {
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		publishers.Go(func() { h.publish(i, rng) })
	}
	for i := range 16 {
		c := &hammerClient{h: h, rng: rand.New(rand.NewPCG(uint64(i), 2))}
		for _, at := range c.rng.Perm(len(h.keys))[:1+c.rng.IntN(3)] {
			c.keys = append(c.keys, h.keys[at])
		}
		h.clients = append(h.clients, c)
		clients.Go(c.run)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
		if fault != nil {
			fault(h, rng)
		}
	}

	// Let everything arrive.
	h.broker.Stall(false)
	h.broker.HoldAcks(false)
	h.broker.LoseAcks(0)
	h.broker.Drop(0)
	h.broker.Up()
	close(h.stop)
	publishers.Wait()
	eventually.Holds(t, "all nodes have applied everything", func() (bool, string) {
		var state []string
		ok := true
		for p := range partitions {
			last := h.broker.Last(p)
			for _, n := range h.nodes {
				at := n.engine.Applied(p)
				ok = ok && at.Seq == last && n.Status().Queued == 0 && at.Epoch == h.nodes[0].engine.Applied(p).Epoch
				state = append(state, fmt.Sprint(at, " of ", last))
			}
		}
		return ok, strings.Join(state, ", ")
	})
	h.settled.Store(true)
	clients.Wait()
	h.check(partitions)
	t.Logf("stored %d, unknown %d, refused %d, queued %d; received %d, gaps %d, resumed %d, ranges fetched %d, not to be had %d",
		h.stored.Load(), h.unknown.Load(), h.refused.Load(), h.queued.Load(), h.received.Load(), h.gaps.Load(), h.resumes.Load(), h.fetched.Load(), h.failed.Load())
	if h.stored.Load() == 0 || h.received.Load() == 0 {
		t.Error("nothing was published, or nothing arrived")
	}
}

// hammerTime is how long each hammer makes faults.
var hammerTime = 2 * time.Second

func init() {
	if os.Getenv("FANFARE_LONG") == "1" {
		hammerTime = time.Minute
	}
}

func TestHammerWithoutFaults(t *testing.T) {
	for _, partitions := range []int{1, 3} {
		t.Run(fmt.Sprint(partitions), func(t *testing.T) {
			h := &fleetHammer{}
			h.run(t, partitions, hammerTime, false, nil)
			if n := h.unknown.Load() + h.refused.Load() + h.gaps.Load(); n > 0 {
				t.Errorf("%d gaps or events that were not stored, without a fault", n)
			}
		})
	}
}

// The log keeps everything, but answers get lost, and connections end.
func TestHammerWithConnectionFaults(t *testing.T) {
	for _, partitions := range []int{1, 3} {
		t.Run(fmt.Sprint(partitions), func(t *testing.T) {
			h := &fleetHammer{}
			h.run(t, partitions, hammerTime, true, connectionFault)
			if n := h.gaps.Load(); n > 0 {
				t.Errorf("%d gaps although the log has lost nothing", n)
			}
		})
	}
}

func connectionFault(h *fleetHammer, rng *rand.Rand) {
	pause := time.Duration(rng.IntN(400)) * time.Millisecond
	n := h.node(rng)
	switch rng.IntN(6) {
	case 0:
		h.broker.LoseAcks(rng.IntN(5))
	case 1:
		h.broker.Drop(rng.IntN(5))
	case 2:
		h.broker.Down()
		time.Sleep(pause)
		h.broker.Up()
	case 3:
		h.broker.Stall(true)
		time.Sleep(pause)
		h.broker.Stall(false)
	case 4:
		n.log.Cut(true)
		n.bus.Cut(true)
		time.Sleep(pause)
		n.log.Cut(false)
		n.bus.Cut(false)
	case 5:
		h.broker.HoldAcks(true)
		time.Sleep(pause)
		h.broker.HoldAcks(false)
	}
}

// The log goes back, is made anew, or says that it may have lost something, beside the other faults.
func TestHammerWithALogThatGoesBack(t *testing.T) {
	for _, partitions := range []int{1, 3} {
		t.Run(fmt.Sprint(partitions), func(t *testing.T) {
			h := &fleetHammer{}
			h.run(t, partitions, hammerTime, false, func(h *fleetHammer, rng *rand.Rand) {
				p := rng.IntN(partitions)
				switch rng.IntN(6) {
				case 0, 1:
					h.broker.Down()
					time.Sleep(time.Duration(20+rng.IntN(200)) * time.Millisecond)
					h.broker.GoBack(p, 1+rng.IntN(50))
					h.broker.Up()
				case 2:
					h.broker.Down()
					time.Sleep(time.Duration(20+rng.IntN(200)) * time.Millisecond)
					h.broker.LoseSync(p)
					h.broker.Up()
				case 3:
					h.broker.Down()
					time.Sleep(50 * time.Millisecond)
					h.broker.Recreate()
					h.broker.Up()
				default:
					connectionFault(h, rng)
				}
			})
		})
	}
}
