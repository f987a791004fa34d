package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hammerKeys have all three policies, and histories short enough to be lapped and to be past when a client comes back.
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
	for _, k := range hammerKeys { // a key that was never published to has no ring to be lapped
		publish(t, e, k.name, 1)
	}
	return e
}

// copies says where the copies of each broadcast are, by its number.
type copies struct {
	mu    sync.Mutex
	seqs  []map[string]uint64 // of broadcast n at n
	first uint32              // the number of seqs[0]
}

// publishAll is Engine.PublishAll, and notes where the copies are.
func (c *copies) publishAll(e *Engine) {
	e.broadcastMu.Lock()
	defer e.broadcastMu.Unlock()
	n := successor(e.lastBroadcast.Load())
	at := map[string]uint64{}
	c.mu.Lock()
	if c.seqs == nil {
		c.first = n
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

// client is a subscriber of several keys behind a connection that takes what it likes. It keeps what has arrived.
type client struct {
	t    *testing.T
	e    *Engine
	rng  *rand.Rand
	keys []string

	sub    *Subscriber
	id     string // of the last event that has arrived whole
	begun  map[string]uint64
	since  uint32                 // the last broadcast that began before the client did
	events map[string][]uint64    // sequences that arrived, broadcasts too
	gone   map[string][][2]uint64 // in gaps
	past   map[string][][2]uint64 // conflated
	all    []uint32

	resumes, stalls, conflated, lagged int
}

func newClient(t *testing.T, e *Engine, seed uint64) *client {
	c := &client{t: t, e: e, rng: rand.New(rand.NewPCG(seed, 7)), begun: map[string]uint64{}, events: map[string][]uint64{}, gone: map[string][][2]uint64{}, past: map[string][][2]uint64{}}
	for _, i := range c.rng.Perm(len(hammerKeys))[:1+c.rng.IntN(len(hammerKeys))] {
		c.keys = append(c.keys, hammerKeys[i].name)
	}
	if len(c.keys) == 1 {
		c.keys = []string{"latest", "long"}
	}
	e.broadcastMu.Lock() // no broadcast is under way: those after since are the client's
	c.since = e.lastBroadcast.Load()
	c.connect()
	e.broadcastMu.Unlock()
	for i := range c.sub.cursors {
		c.begun[c.keys[i]] = c.sub.cursors[i].next
	}
	return c
}

// connect comes with the last id, and the keys in any order.
func (c *client) connect() {
	c.rng.Shuffle(len(c.keys), func(i, j int) { c.keys[i], c.keys[j] = c.keys[j], c.keys[i] })
	c.sub = new(Subscriber)
	result, err := c.e.Subscribe(c.sub, c.keys, c.id, new(countSink))
	if err != nil {
		c.t.Error(err)
	}
	if result != ResumedGap {
		c.id = string(c.sub.Positions(nil)) // the opening position
	}
}

func (c *client) reconnect() {
	c.sub.Close(ReasonGone)
	c.resumes++
	c.connect()
}

// arrived notes an item that the client has in whole, and its id.
func (c *client) arrived(it Item, id string) {
	key := c.sub.KeyName(it.Key)
	if g := it.Gap; g != nil {
		if g.Missed < 0 {
			c.t.Errorf("client of %v: unexpected gap %+v", c.keys, g)
		}
		c.gone[key] = append(c.gone[key], [2]uint64{g.Next.Seq - uint64(g.Missed) + 1, g.Next.Seq})
		if g.Reason == GapLag {
			c.lagged++
			if g.Policy == Disconnect { // the stream ends, and the client has never heard of it
				c.gone[key] = c.gone[key][:len(c.gone[key])-1]
				c.reconnect()
				return
			}
			if g.Policy == Latest { // without a word to the client
				return
			}
		}
		c.id = id
		return
	}
	c.events[key] = append(c.events[key], it.Event.Seq())
	if it.Event.broadcast != 0 {
		c.all = append(c.all, it.Event.broadcast)
	}
	c.id = id
}

// step is what a stream does with news: it takes some events in one write, of which the connection takes some, or none.
// What was cut comes in whole later, unless the connection breaks there. It reports whether anything was there.
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
		if c.rng.IntN(6) == 0 { // does not fit
			c.sub.Unread([]Item{it})
			break
		}
		items, ids = append(items, it), append(ids, string(c.sub.Positions(nil)))
	}
	taken := len(items)
	if c.rng.IntN(2) == 0 {
		taken = c.rng.IntN(len(items) + 1)
	}
	cut := taken > 0 && c.rng.IntN(3) == 0 // the last one that was taken is not yet there in whole
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
	case taken < len(items) && c.rng.IntN(2) == 0: // stalled: publishers go on, and it conflates
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
	c.conflated++
	for i := range c.sub.cursors {
		if key, at := c.sub.KeyName(i), c.sub.cursors[i].at(); at > from[key] {
			first := min(c.sub.cursors[i].key.firstKeptFrom(from[key]), at) // what is before it was lost to a lap
			c.gone[key] = append(c.gone[key], [2]uint64{from[key], first - 1})
			c.past[key] = append(c.past[key], [2]uint64{first, at - 1})
		}
	}
}

func isIn(ranges [][2]uint64, seq uint64) bool {
	return slices.ContainsFunc(ranges, func(r [2]uint64) bool { return r[0] <= seq && seq <= r[1] })
}

// reconcile checks each sequence of each key, and each broadcast: once, in order, or accounted for.
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
		k := theKey(c.t, c.e, key)
		got := map[uint64]bool{}
		last := uint64(0)
		for _, seq := range c.events[key] {
			if seq <= last {
				c.t.Errorf("client of %v: event %d of %s came after %d", c.keys, seq, key, last)
			}
			last, got[seq] = seq, true
		}
		for seq := c.begun[key]; seq <= k.tail(); seq++ {
			if !got[seq] && !isCopy[key][seq] && !isIn(c.gone[key], seq) && !isIn(c.past[key], seq) {
				c.t.Errorf("client of %v: event %d of %s is lost without a word", c.keys, seq, key)
			}
		}
	}
	if !slices.IsSorted(c.all) || len(slices.Compact(slices.Clone(c.all))) != len(c.all) {
		c.t.Errorf("client of %v: broadcasts came twice or out of order: %v", c.keys, outOfOrder(c.all))
	}
	for n := c.since + 1; n <= c.e.lastBroadcast.Load(); n++ {
		if _, found := slices.BinarySearch(c.all, n); found {
			continue
		}
		lostAll++
		for _, key := range c.keys {
			if seq := all.seqs[n-all.first][key]; !isIn(c.gone[key], seq) { // conflation passes none
				c.t.Errorf("client of %v: broadcast %d is lost without a word: its copy in %s, %d, is not part of a gap", c.keys, n, key, seq)
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

// TestBroadcastHammer lets clients of several keys, with all policies, take what they like of each write, stall, be cut
// off in the middle of an event and come back with the keys in another order, while events and broadcasts are
// published, by one goroutine that does all in turn, so that a failure repeats, and by several.
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
				got += len(c.all)
				resumes, stalls, conflated, lagged = resumes+c.resumes, stalls+c.stalls, conflated+c.conflated, lagged+c.lagged
			}
			e.Close()
			if t.Failed() {
				t.Fatalf("round %d", round)
			}
		}
		t.Logf("%d broadcasts came, %d were lost in all keys; %d resumes, %d stalls, %d conflations, %d laps", got, lost, resumes, stalls, conflated, lagged)
		if lost == 0 || resumes == 0 || stalls == 0 || conflated == 0 || lagged == 0 {
			t.Error("the hammer did not reach all that it is for: adjust it")
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
			got, resumes = got+len(c.all), resumes+c.resumes
		}
		t.Logf("%d broadcasts came, %d were lost in all keys, %d resumes", got, lost, resumes)
		if got == 0 || resumes == 0 {
			t.Error("the hammer did not reach all that it is for: adjust it")
		}
	})
}

// TestUnreadTakesSkippedCopiesBack: key b skips its copy of a broadcast that key a has returned, and then a's goes
// back. An event of b that is sent first must not say that b is past the copy, and the broadcast still comes before it.
func TestUnreadTakesSkippedCopiesBack(t *testing.T) {
	for _, atOnce := range []bool{false, true} {
		for _, reads := range []int{1, 2, 3} {
			for _, again := range []int{0, 1, 2, 3} {
				e := start(t, Options{})
				s := subscribe(t, e, "", "a", "b")
				all(t, e, "all")
				publish(t, e, "b", 1)
				publish(t, e, "a", 1)
				var items []Item
				for range reads {
					it, ok := s.Next(len(items) == 0)
					if !ok {
						t.Fatal("too few events")
					}
					items = append(items, it)
				}
				if it, ok := s.Next(false); ok { // looks on, perhaps only to find a copy to skip
					items = append(items, it)
				}
				if atOnce || len(items) < 3 {
					s.Unread(items)
				} else {
					s.Unread(items[2:])
					s.Unread(items[:2])
				}
				var came []string
				for range again {
					if it, ok := s.Next(true); ok {
						came = append(came, string(it.Event.Bytes()))
					}
				}
				_, rest := resumed(t, e, string(s.Positions(nil)), "a", "b")
				got := append(came, rest...)
				slices.Sort(got)
				if want := []string{"1", "1", "all"}; !slices.Equal(got, want) {
					t.Errorf("%d read and taken back, %d read again: %q came, and %q after a resume", reads, again, came, rest)
				}
			}
		}
	}
}

// TestConflationKeepsBroadcasts: the key latest goes past what it need not send, while key skip is yet to send a
// broadcast.
func TestConflationKeepsBroadcasts(t *testing.T) {
	for _, lap := range []bool{false, true} {
		e := start(t, Options{KeyRule: func(name string) *KeyOptions {
			if name == "latest" {
				return &KeyOptions{Slow: Latest, History: 8}
			}
			return nil
		}})
		keys := []string{"latest", "skip"}
		s := subscribe(t, e, "", keys...)
		publish(t, e, "skip", 3)
		publish(t, e, "latest", 2)
		all(t, e, "all")
		n := 3
		if lap {
			n = 20
		}
		publish(t, e, "latest", n)
		s.Conflate()
		var came []string
		for {
			_, rest := resumed(t, e, string(s.Positions(nil)), keys...)
			if got := countOf(append(slices.Clone(came), rest...), "all"); got != 1 {
				t.Errorf("lapped %v: after %q the rest is %q: the broadcast comes %d times", lap, came, rest, got)
			}
			it, ok := s.Next(true)
			if !ok {
				break
			}
			if it.Gap == nil {
				came = append(came, string(it.Event.Bytes()))
			}
		}
		if last := strings.Join(came, " "); !strings.Contains(last, fmt.Sprint(n)) {
			t.Errorf("the newest value is not among %q", came)
		}
	}
}
