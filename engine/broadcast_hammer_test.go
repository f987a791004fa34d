package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hammerKeys have all three policies. Their histories are short, so that subscribers are lapped and clients that
// reconnect find their position lost.
var hammerKeys = []struct {
	name string
	o    KeyOptions
}{
	{"long", KeyOptions{History: 4096}},
	{"skip", KeyOptions{History: 32}},
	{"short", KeyOptions{History: 8}},
	{"latest", KeyOptions{History: 16, Slow: Latest}},
	{"newest", KeyOptions{History: 128, Slow: Latest}},
	{"disconnect", KeyOptions{History: 16, Slow: Disconnect}},
}

func hammerEngine(t testing.TB) *Engine {
	e := New(Options{SweepInterval: 10 * time.Millisecond, KeyRule: func(name string) *KeyOptions {
		for i := range hammerKeys {
			if hammerKeys[i].name == name {
				return &hammerKeys[i].o
			}
		}
		return nil
	}})
	for _, k := range hammerKeys { // a key without events has no ring that could lap
		publish(t, e, k.name, 1)
	}
	return e
}

// copies records the sequences of the copies of each broadcast.
type copies struct {
	mu          sync.Mutex
	seqs        []map[string]uint64 // of broadcast firstNumber+i at i, by key
	firstNumber uint32              // the number of the broadcast of seqs[0]
}

// publishAll does what Engine.PublishAll does, and records the sequences of the copies.
func (c *copies) publishAll(e *Engine) {
	e.broadcastMu.Lock()
	defer e.broadcastMu.Unlock()
	n := successor(e.lastBroadcast.Load())
	at := map[string]uint64{}
	c.mu.Lock()
	if c.seqs == nil {
		c.firstNumber = n
	}
	c.seqs = append(c.seqs, at)
	c.mu.Unlock()
	e.lastBroadcast.Store(n)
	for k := range e.allKeys() {
		d := newDraft(text("all"), 1, n)
		if k.publish(e, &d) {
			c.mu.Lock()
			at[k.name] = d.ev.seq
			c.mu.Unlock()
			k.wake()
		}
	}
}

// client is a subscriber of several keys with a connection that accepts random parts of each write. It records what has
// arrived.
type client struct {
	t    *testing.T
	e    *Engine
	rng  *rand.Rand
	keys []string

	sub             *Subscriber
	id              string // of the last event that has arrived completely
	firstSeqs       map[string]uint64
	since           uint32                 // the last broadcast that began before the client did
	events          map[string][]uint64    // sequences that arrived, broadcasts too
	gaps            map[string][][2]uint64 // in gaps
	conflatedRanges map[string][][2]uint64 // conflated
	broadcasts      []uint32

	resumes, stalls, conflations, laps int
}

func newClient(t *testing.T, e *Engine, seed uint64) *client {
	c := &client{
		t: t, e: e, rng: rand.New(rand.NewPCG(seed, 7)),
		firstSeqs: map[string]uint64{}, events: map[string][]uint64{},
		gaps: map[string][][2]uint64{}, conflatedRanges: map[string][][2]uint64{},
	}
	for _, i := range c.rng.Perm(len(hammerKeys))[:1+c.rng.IntN(len(hammerKeys))] {
		c.keys = append(c.keys, hammerKeys[i].name)
	}
	if len(c.keys) == 1 {
		c.keys = []string{"latest", "long"}
	}
	e.broadcastMu.Lock() // no broadcast is in progress: the client gets those after since
	c.since = e.lastBroadcast.Load()
	c.connect()
	e.broadcastMu.Unlock()
	for i := range c.sub.cursors {
		c.firstSeqs[c.keys[i]] = c.sub.cursors[i].next
	}
	return c
}

// connect subscribes with the last id, and with the keys in random order.
func (c *client) connect() {
	c.rng.Shuffle(len(c.keys), func(i, j int) { c.keys[i], c.keys[j] = c.keys[j], c.keys[i] })
	c.sub = new(Subscriber)
	result, err := c.e.Subscribe(c.sub, c.keys, c.id, new(countSink))
	if err != nil {
		c.t.Error(err)
	}
	if result != ResumedGap {
		c.id = string(c.sub.Positions(nil)) // the position that a server sends first
	}
}

func (c *client) reconnect() {
	c.sub.Close(ReasonGone)
	c.resumes++
	c.connect()
}

// arrived records an item that has arrived completely, and its id.
func (c *client) arrived(it Item, id string) {
	key := c.sub.KeyName(it.Key)
	if g := it.Gap; g != nil {
		if g.Missed < 0 {
			c.t.Errorf("client of %v: unexpected gap %+v", c.keys, g)
		}
		c.gaps[key] = append(c.gaps[key], [2]uint64{g.Next.Seq - uint64(g.Missed) + 1, g.Next.Seq})
		if g.Reason == GapLag {
			c.laps++
			if g.Policy == Disconnect { // the stream ends, and the gap is not sent
				c.gaps[key] = c.gaps[key][:len(c.gaps[key])-1]
				c.reconnect()
				return
			}
			if g.Policy == Latest { // the gap is not sent
				return
			}
		}
		c.id = id
		return
	}
	c.events[key] = append(c.events[key], it.Event.Seq())
	if it.Event.broadcast != 0 {
		c.broadcasts = append(c.broadcasts, it.Event.broadcast)
	}
	c.id = id
}

// step does what a stream does with pending events: it puts some of them into one write, and the connection accepts
// some of those, or none. An event that was cut arrives completely later, unless the connection breaks there. step
// reports whether anything was pending.
func (c *client) step() bool {
	it, ok := c.sub.Next(true)
	if !ok {
		return false
	}
	if it.Gap != nil {
		c.arrived(it, string(c.sub.Positions(nil)))
		return true
	}
	items, ids := []Item{it}, []string{string(c.sub.Positions(nil))}
	for n := c.rng.IntN(8); n > 0; n-- {
		if it, ok = c.sub.Next(false); !ok {
			break
		}
		if c.rng.IntN(6) == 0 { // it does not fit
			c.sub.Unread([]Item{it})
			break
		}
		items, ids = append(items, it), append(ids, string(c.sub.Positions(nil)))
	}
	taken := len(items)
	if c.rng.IntN(2) == 0 {
		taken = c.rng.IntN(len(items) + 1)
	}
	cut := taken > 0 && c.rng.IntN(3) == 0 // the last accepted event has not arrived completely
	c.sub.Unread(items[taken:])
	if cut && c.rng.IntN(2) == 0 {
		for i := range taken - 1 {
			c.arrived(items[i], ids[i])
		}
		c.reconnect()
		return true
	}
	for i := range taken {
		c.arrived(items[i], ids[i])
	}
	switch {
	case taken < len(items) && c.rng.IntN(2) == 0: // stalled: publishers continue, and it conflates
		c.stalls++
		c.conflate()
	case c.rng.IntN(40) == 0:
		c.reconnect()
	case c.rng.IntN(3) == 0:
		c.sub.Settle()
	}
	return true
}

func (c *client) conflate() {
	c.sub.Settle()
	from := map[string]uint64{}
	for i := range c.sub.cursors {
		from[c.sub.KeyName(i)] = c.sub.cursors[i].at()
	}
	if c.sub.Conflate() == 0 {
		return
	}
	c.conflations++
	for i := range c.sub.cursors {
		if key, at := c.sub.KeyName(i), c.sub.cursors[i].at(); at > from[key] {
			first := min(c.sub.cursors[i].key.firstKeptFrom(from[key]), at) // what comes before it was lost in a lap
			c.gaps[key] = append(c.gaps[key], [2]uint64{from[key], first - 1})
			c.conflatedRanges[key] = append(c.conflatedRanges[key], [2]uint64{first, at - 1})
		}
	}
}

func inRanges(ranges [][2]uint64, seq uint64) bool {
	return slices.ContainsFunc(ranges, func(r [2]uint64) bool { return r[0] <= seq && seq <= r[1] })
}

// reconcile checks each sequence of each key, and each broadcast: it arrived once and in order, or a gap or a
// conflation accounts for it.
func (c *client) reconcile(all *copies) (lostAll int) {
	isCopy := map[string]map[uint64]bool{}
	for _, at := range all.seqs {
		for key, seq := range at {
			if isCopy[key] == nil {
				isCopy[key] = map[uint64]bool{}
			}
			isCopy[key][seq] = true
		}
	}
	for _, key := range c.keys {
		k := mustKey(c.t, c.e, key)
		got := map[uint64]bool{}
		last := uint64(0)
		for _, seq := range c.events[key] {
			if seq <= last {
				c.t.Errorf("client of %v: event %d of %s came after %d", c.keys, seq, key, last)
			}
			last, got[seq] = seq, true
		}
		for seq := c.firstSeqs[key]; seq <= k.tail(); seq++ {
			if !got[seq] && !isCopy[key][seq] && !inRanges(c.gaps[key], seq) && !inRanges(c.conflatedRanges[key], seq) {
				c.t.Errorf("client of %v: event %d of %s is lost and not reported", c.keys, seq, key)
			}
		}
	}
	if !slices.IsSorted(c.broadcasts) || len(slices.Compact(slices.Clone(c.broadcasts))) != len(c.broadcasts) {
		c.t.Errorf("client of %v: broadcasts arrived twice or out of order: %v", c.keys, outOfOrder(c.broadcasts))
	}
	for n := c.since + 1; n <= c.e.lastBroadcast.Load(); n++ {
		if _, found := slices.BinarySearch(c.broadcasts, n); found {
			continue
		}
		lostAll++
		for _, key := range c.keys {
			if seq := all.seqs[n-all.firstNumber][key]; !inRanges(c.gaps[key], seq) { // conflation skips no broadcast
				c.t.Errorf("client of %v: broadcast %d is lost and not reported: its copy in %s, %d, is not part of a gap", c.keys, n, key, seq)
			}
		}
	}
	return lostAll
}

func outOfOrder(all []uint32) (pairs []string) {
	for i := 1; i < len(all); i++ {
		if all[i] <= all[i-1] {
			pairs = append(pairs, fmt.Sprint(all[i-1], " then ", all[i]))
		}
	}
	return pairs
}

// TestBroadcastHammer has clients of several keys, with all policies. They accept random parts of each write, stall,
// are disconnected in the middle of an event, and reconnect with the keys in another order. Meanwhile events and
// broadcasts are published: once by a single goroutine that does everything in turn, so that a failure is reproducible,
// and once by several goroutines.
func TestBroadcastHammer(t *testing.T) {
	t.Run("in turn", func(t *testing.T) {
		const rounds = 20
		var lost, resumes, stalls, conflated, lagged, got int
		for round := range rounds {
			e, all := hammerEngine(t), &copies{}
			rng := rand.New(rand.NewPCG(uint64(round), 5))
			var clients []*client
			for i := range 6 {
				clients = append(clients, newClient(t, e, uint64(100*round+i)))
			}
			for range 1500 {
				switch rng.IntN(6) {
				case 0:
					all.publishAll(e)
				case 1, 2:
					publish(t, e, hammerKeys[rng.IntN(len(hammerKeys))].name, 1+rng.IntN(4))
				default:
					clients[rng.IntN(len(clients))].step()
				}
			}
			for _, c := range clients {
				for c.step() {
				}
				lost += c.reconcile(all)
				got += len(c.broadcasts)
				resumes, stalls, conflated, lagged = resumes+c.resumes, stalls+c.stalls, conflated+c.conflations, lagged+c.laps
			}
			e.Close()
			if t.Failed() {
				t.Fatalf("round %d", round)
			}
		}
		t.Logf("%d broadcasts arrived, %d were lost in all keys; %d resumes, %d stalls, %d conflations, %d laps",
			got, lost, resumes, stalls, conflated, lagged)
		if lost == 0 || resumes == 0 || stalls == 0 || conflated == 0 || lagged == 0 {
			t.Error("the test did not reach everything that it is for: adjust it")
		}
	})
	t.Run("at once", func(t *testing.T) {
		e, all := hammerEngine(t), &copies{}
		defer e.Close()
		var done atomic.Bool
		var pubs, subs sync.WaitGroup
		clients := make([]*client, 6)
		for i := range clients {
			clients[i] = newClient(t, e, uint64(i))
			subs.Go(func() {
				c := clients[i]
				for {
					last := done.Load()
					if c.step() {
						continue
					}
					if last {
						return
					}
					time.Sleep(time.Duration(c.rng.IntN(200)) * time.Microsecond)
				}
			})
		}
		for i := range 2 {
			pubs.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(i), 8))
				for range 4000 {
					switch {
					case rng.IntN(8) == 0:
						all.publishAll(e)
					default:
						if _, err := e.Publish(hammerKeys[rng.IntN(len(hammerKeys))].name, text("one")); err != nil {
							t.Error(err)
						}
					}
					if rng.IntN(8) == 0 {
						time.Sleep(20 * time.Microsecond)
					}
				}
			})
		}
		pubs.Wait()
		done.Store(true)
		subs.Wait()
		var lost, got, resumes int
		for _, c := range clients {
			lost += c.reconcile(all)
			got, resumes = got+len(c.broadcasts), resumes+c.resumes
		}
		t.Logf("%d broadcasts arrived, %d were lost in all keys, %d resumes", got, lost, resumes)
		if got == 0 || resumes == 0 {
			t.Error("the test did not reach everything that it is for: adjust it")
		}
	})
}
