// Package watch has subscribers that account for every event: each event of their keys arrives exactly once and in order,
// or a gap event has reported it.
//
// A Swarm follows keys on the nodes of a fleet. A subscriber whose stream ends comes back to another node, with the last
// id that it has. While it runs it only notes what it sees; Judge compares that with the record of what was published:
//
//	swarm := watch.New(watch.Config{Nodes: nodes, Keys: keys, Subscribers: 500, Partitions: 1})
//	swarm.Start()
//	... await swarm.Status().Ready, publish, inject faults, publish a last event to each key ...
//	... await swarm.Behind(last) == 0 ...
//	err := watch.Combine(published, swarm.Judge(published)).Err()
package watch

import (
	"context"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fanfare/chaos/record"
)

// Config says what a Swarm does. Nodes, Keys and Subscribers are required.
type Config struct {
	Nodes       []string // host:port of the streams of each node
	Keys        []string
	Subscribers int
	PerStream   int // keys of each subscriber. Default 1
	// Pin lets subscribers begin on the first so many nodes; they go on to the others later. 0 means all.
	Pin int
	// Broadcasts says that events of record.Broadcast are published, too.
	Broadcasts bool
	// Partitions says that ids are positions in a log of so many partitions, the same on all nodes: "<epoch>-<position>", one for
	// each partition. 0: each key has positions of its own.
	Partitions int
	// First is the number of the first subscriber, over several processes.
	First int
	// Spread is how long subscribers wait at most before they come back. Default 200 ms.
	Spread time.Duration
	// Silence is how long a stream may be silent. After that the subscriber goes on to the next node. Default 30 s.
	Silence time.Duration
	// Slow makes every so many-th subscriber read slowly. 0 means none.
	Slow int
}

// shared reports whether an id means the same event to all subscribers.
func (c *Config) shared() bool { return c.Partitions == 1 || c.Partitions == 0 && c.PerStream == 1 }

// Status is the state of a Swarm.
type Status struct {
	Open    int   // subscribers that have a stream
	Ready   int   // subscribers that have had a position
	Streams int64 // that were opened so far
	Failed  int64 // attempts that did not get a stream
	Events  int64 // received
	Gaps    int64
}

// Swarm is a set of subscribers. Its methods may be called concurrently, but Judge only once, in the end.
type Swarm struct {
	c           Config
	subscribers []*subscriber
	ids         *ids
	ctx         context.Context
	cancel      context.CancelFunc
	running     sync.WaitGroup
	spread      atomic.Int64
	paused      atomic.Bool

	open, streams, failed, events, gaps atomic.Int64
	problems                            problems
}

// New makes the subscribers. Start lets them connect.
func New(c Config) *Swarm {
	c.PerStream = max(1, min(c.PerStream, len(c.Keys)))
	if c.Spread == 0 {
		c.Spread = 200 * time.Millisecond
	}
	if c.Silence == 0 {
		c.Silence = 30 * time.Second
	}
	if c.Pin == 0 {
		c.Pin = len(c.Nodes)
	}
	s := &Swarm{c: c, ids: newIDs()}
	s.spread.Store(int64(c.Spread))
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for i := range c.Subscribers {
		s.subscribers = append(s.subscribers, newSubscriber(s, c.First+i))
	}
	return s
}

// Start lets all subscribers connect. At most 100 of a process do so at the same time.
func (s *Swarm) Start() {
	for _, sub := range s.subscribers {
		s.running.Go(sub.run)
	}
}

// Status returns the state.
func (s *Swarm) Status() Status {
	st := Status{Open: int(s.open.Load()), Streams: s.streams.Load(), Failed: s.failed.Load(), Events: s.events.Load(), Gaps: s.gaps.Load()}
	for _, sub := range s.subscribers {
		if sub.ready.Load() {
			st.Ready++
		}
	}
	return st
}

// Spread sets how long subscribers wait at most before they come back, from now on.
func (s *Swarm) Spread(d time.Duration) { s.spread.Store(int64(d)) }

// Pause ends all streams, and lets the subscribers come back only after Resume.
func (s *Swarm) Pause() {
	s.paused.Store(true)
	s.Move(1)
}

// Resume lets the subscribers come back after Pause.
func (s *Swarm) Resume() { s.paused.Store(false) }

// Move ends a fraction of the streams, by resets, so that their subscribers go on to the next node.
func (s *Swarm) Move(fraction float64) {
	for _, sub := range s.subscribers {
		if rand.Float64() < fraction {
			sub.cut()
		}
	}
}

// Behind returns how many subscribers do not have the events with these numbers, by key, yet.
func (s *Swarm) Behind(last map[string]int64) (behind int) {
	for _, sub := range s.subscribers {
		if sub.behind(last) > 0 {
			behind++
		}
	}
	return behind
}

// Judge ends the subscribers and compares what they received with what was published. Pass the reports of several processes
// to Combine.
func (s *Swarm) Judge(p record.Published) *Report {
	s.cancel()
	for _, sub := range s.subscribers {
		sub.cut()
	}
	s.running.Wait()
	return s.judge(p)
}

// dialer connects the i-th subscriber from a loopback address that it shares with some others: one address has not enough
// ports for all of them.
func dialer(i int) *net.Dialer {
	return &net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1+byte(i/2000), 1)}}
}

// loopback reports whether an address is on loopback, where dialer's addresses can reach it.
func loopback(addr string) bool { return strings.HasPrefix(addr, "127.") }
