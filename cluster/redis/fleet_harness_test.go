package redis

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/cluster"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
)

// node is one server of a fleet without HTTP: an engine that follows the log.
type node struct {
	*cluster.Node
	name string
	log  *Log
	eng  *engine.Engine
	stop func()
}

// fleetOptions are those of every node.
type fleetOptions struct {
	partitions int
	history    int // of each key; default 1000
	retention  int64
}

// startNode starts a node that ends with the test, and waits until it has read back.
func startNode(t testing.TB, name, url string, o fleetOptions) *node {
	t.Helper()
	if o.history == 0 {
		o.history = 1000
	}
	n := &node{name: name}
	// Short timeouts: a node must notice a dead server.
	n.log = startLog(t, Options{URL: url, Partitions: o.partitions, RetentionEntries: o.retention, Timeout: 3 * time.Second})
	n.eng = engine.New(engine.Options{
		Key: engine.KeyOptions{History: o.history},
		Log: cluster.LogOptions(o.partitions),
	})
	var err error
	n.Node, err = cluster.NewNode(cluster.Options{Name: name, Engine: n.eng, Log: n.log, Bus: n.log.Bus(), Logger: slog.New(slog.NewTextHandler(testWriter{t, name}, nil)),
		EpochNotice: func() engine.Frame { return notice("gap epoch") }, HoleNotice: func() engine.Frame { return notice("gap hole") }})
	if err != nil {
		t.Fatal(err)
	}
	n.Start()
	n.stop = sync.OnceFunc(func() {
		n.Close()
		n.eng.Close()
		n.log.Close()
	})
	t.Cleanup(n.stop)
	if err := n.Settled(within(t)); err != nil {
		t.Fatal(err)
	}
	return n
}

func notice(text string) engine.Frame {
	f := frame(text)
	f.Notice = true
	return f
}

type testWriter struct {
	t    testing.TB
	name string
}

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s: %s", w.name, strings.TrimSpace(string(p)))
	return len(p), nil
}

// publisher publishes the numbers 1, 2, 3 … to a key until stop, each once. What is not confirmed may be lost.
type publisher struct {
	key  string
	stop context.CancelFunc
	done chan struct{}

	mu     sync.Mutex
	last   int          // the newest number that was tried
	stored map[int]bool // the numbers that were confirmed
}

func startPublisher(t testing.TB, n *node, key string) *publisher {
	ctx, cancel := context.WithCancel(context.Background())
	p := &publisher{key: key, done: make(chan struct{}), stored: map[int]bool{}}
	p.stop = func() {
		cancel()
		<-p.done
	}
	t.Cleanup(p.stop)
	go func() {
		defer close(p.done)
		for ctx.Err() == nil {
			p.publish(context.WithoutCancel(ctx), n) // one that is given up could come after the next one
		}
	}()
	return p
}

// publish publishes the next number, and reports whether it was confirmed.
func (p *publisher) publish(ctx context.Context, n *node) bool {
	p.mu.Lock()
	p.last++
	number := p.last
	p.mu.Unlock()
	m, results := event(p.key, strconv.Itoa(number)), make([]cluster.Result, 1)
	n.Publish(ctx, []cluster.Message{m}, results)
	p.mu.Lock()
	defer p.mu.Unlock()
	if results[0].Err == nil {
		p.stored[number] = true
	}
	return results[0].Err == nil
}

// finish publishes numbers until one is confirmed, which is the last one.
func (p *publisher) finish(t testing.TB, n *node) int {
	t.Helper()
	p.stop()
	eventually.True(t, "a last number is stored", func() bool { return p.publish(within(t), n) })
	return p.last
}

func (p *publisher) confirmed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.stored)
}

// flows waits until more numbers are confirmed.
func flows(t testing.TB, n int, publishers ...*publisher) {
	t.Helper()
	for _, p := range publishers {
		begin := p.confirmed()
		eventually.Holds(t, p.key+" is published", func() (bool, string) {
			now := p.confirmed()
			return now >= begin+n, fmt.Sprint(now - begin)
		})
	}
}

// client reads keys at one node after another, and comes back with its last id.
type client struct {
	t    testing.TB
	name string
	keys []string

	mu     sync.Mutex
	got    map[string][]string // numbers, and "gap REASON"
	id     string
	sub    *engine.Subscriber
	closed chan struct{} // when the owner has ended
}

type readySink chan struct{}

func (r readySink) Ready() { r <- struct{}{} }

func startClient(t testing.TB, n *node, name string, keys ...string) *client {
	t.Helper()
	c := &client{t: t, name: name, keys: keys, got: map[string][]string{}}
	c.open(n)
	t.Cleanup(c.leave)
	return c
}

// move leaves the node and comes back at another one.
func (c *client) move(n *node) {
	c.t.Helper()
	c.leave()
	c.open(n)
}

func (c *client) leave() {
	if c.sub != nil {
		c.sub.Close(engine.ReasonGone)
		<-c.closed
		c.sub = nil
	}
}

func (c *client) open(n *node) {
	c.t.Helper()
	s, ready := new(engine.Subscriber), make(readySink, 1)
	if _, err := n.eng.Subscribe(s, c.keys, c.id, ready); err != nil {
		c.t.Fatal(err)
	}
	c.sub, c.closed = s, make(chan struct{})
	missing := s.Missing()
	go func() {
		defer close(c.closed)
		for i, m := range missing {
			ctx, cancel := context.WithTimeout(context.Background(), eventually.Patience)
			events, err := n.Older(ctx, m)
			cancel()
			s.Fill(i, events, err)
		}
		for {
			for it, ok := s.Next(true); ok && s.Closing() == 0; it, ok = s.Next(true) {
				c.note(s, it)
			}
			if s.Closing() != 0 {
				return
			}
			if s.Release() {
				<-ready
			}
		}
	}()
}

func (c *client) note(s *engine.Subscriber, it engine.Item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := c.keys[it.Key]
	switch {
	case it.Gap != nil:
		c.got[key] = append(c.got[key], "gap "+it.Gap.Reason.String())
	case it.Event.Notice():
		for _, key := range c.keys {
			c.got[key] = append(c.got[key], dataOf(engine.Frame{Bytes: it.Event.Bytes()}))
		}
	default:
		c.got[key] = append(c.got[key], dataOf(engine.Frame{Bytes: it.Event.Bytes()}))
	}
	c.id = string(s.Positions(nil))
}

// await waits until the client has read a number.
func (c *client) await(key string, number int) {
	c.t.Helper()
	eventually.Holds(c.t, fmt.Sprint(c.name, " reads ", number, " of ", key), func() (bool, string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		list := c.got[key]
		return len(list) > 0 && list[len(list)-1] == strconv.Itoa(number), fmt.Sprint(list[max(0, len(list)-3):])
	})
}

// check compares what the client got with what was published: every number once and in order, and every confirmed number that
// is missing after the first one is in a place where there was a gap. It returns the gaps by reason. After a split, a client that has
// been on both sides has a position of one of them only, so it begins anew on the other one after the gap of the epoch.
func (c *client) check(p *publisher, split bool) (gaps map[string]int) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	gaps = map[string]int{}
	last, gap := 0, true // it began somewhere
	for i, text := range c.got[p.key] {
		if reason, ok := strings.CutPrefix(text, "gap "); ok {
			gaps[reason]++
			if gap = true; split && reason == "epoch" {
				last = 0
			}
			continue
		}
		number, err := strconv.Atoi(text)
		if err != nil || number <= last {
			c.t.Fatalf("%s of %s: %q after %d: %v", c.name, p.key, text, last, c.got[p.key][max(0, i-5):i+1])
		}
		for lost := last + 1; lost < number && !gap; lost++ {
			if p.stored[lost] {
				c.t.Fatalf("%s of %s: %d is missing, without a gap: %v", c.name, p.key, lost, c.got[p.key][max(0, i-5):i+1])
			}
		}
		last, gap = number, false
	}
	return gaps
}
