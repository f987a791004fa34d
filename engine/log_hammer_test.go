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

// testLog is the log that the engines of a hammer follow. Its partitions go back at times: then an epoch begins, and
// sequences are used again.
type testLog struct {
	mu    sync.Mutex
	parts [][]*testEra // of each partition
}

// testEra is an epoch of a partition.
type testEra struct {
	epoch, first uint64      // entries have sequences from first+1 on
	entries      []testEntry // also those that were lost when the log went back
	closed       bool
	end          uint64             // what an engine can read of a closed era
	ends         map[*Engine]uint64 // what each engine had applied when it left the era
}

type testEntry struct {
	key string // "" for all keys
	at  int64
}

var logHammerKeys = []struct {
	name string
	o    *KeyOptions
}{
	{"hot", nil},
	{"short", &KeyOptions{History: 8, HistoryBytes: 400, HistoryTTL: 5 * time.Millisecond, MaxSubscribers: 1000}},
	{"latest", &KeyOptions{History: 16, HistoryBytes: 1 << 20, HistoryTTL: time.Minute, MaxSubscribers: 1000, Slow: Latest}},
	{"cut", &KeyOptions{History: 16, HistoryBytes: 1 << 20, HistoryTTL: time.Minute, MaxSubscribers: 1000, Slow: Disconnect}},
	{"flushed", &KeyOptions{History: 64, HistoryBytes: 1 << 20, HistoryTTL: time.Minute, MaxSubscribers: 1000, FlushInterval: time.Millisecond}},
}

// pickKey returns one of the keys above, or one of many that are retired in between.
func pickKey(rng *rand.Rand) string {
	if n := rng.IntN(2 * len(logHammerKeys)); n < len(logHammerKeys) {
		return logHammerKeys[n].name
	}
	return fmt.Sprint("cold", rng.IntN(30))
}

func newTestLog(partitions int) *testLog {
	l := &testLog{}
	for range partitions {
		l.parts = append(l.parts, []*testEra{{epoch: NewEpoch(), ends: map[*Engine]uint64{}}})
	}
	return l
}

func (l *testLog) partitionOf(key string) int {
	n := 0
	for _, b := range []byte(key) {
		n += int(b)
	}
	return n % len(l.parts)
}

func (l *testLog) newest(p int) *testEra { return l.parts[p][len(l.parts[p])-1] }

func (l *testLog) append(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := 0
	if key != "" {
		p = l.partitionOf(key)
	}
	era := l.newest(p)
	era.entries = append(era.entries, testEntry{key, time.Now().UnixNano()})
}

// goBack loses up to n entries, and begins an epoch.
func (l *testLog) goBack(p, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	era := l.newest(p)
	era.closed, era.end = true, era.first+uint64(max(0, len(era.entries)-n))
	l.parts[p] = append(l.parts[p], &testEra{epoch: NewEpoch(), first: era.end + 1, ends: map[*Engine]uint64{}})
}

// logFrame has the id that the engine makes, and says what it is.
func logFrame(key string, p int, epoch, seq uint64) Frame {
	return withIDRoom("id: ", fmt.Sprintf("\n%s %d %d %d", key, p, epoch, seq))
}

func (era *testEra) entry(p int, seq uint64) LogEntry {
	x := era.entries[seq-era.first-1]
	return LogEntry{Partition: p, Seq: seq, At: x.at, Key: x.key, All: x.key == "", Frame: logFrame(x.key, p, era.epoch, seq)}
}

// feed makes the engine follow a partition, with pauses, until stop is closed and everything is read.
func (l *testLog) feed(t *testing.T, e *Engine, p int, stop <-chan struct{}, rng *rand.Rand) {
	n := 0
	l.mu.Lock()
	era := l.parts[p][0]
	l.mu.Unlock()
	e.SetEpoch(p, era.epoch, era.first, Frame{})
	seq := era.first
	for {
		l.mu.Lock()
		end := era.first + uint64(len(era.entries))
		if era.closed {
			end = era.end
		}
		switch {
		case seq < end:
			seq++
			entry := era.entry(p, seq)
			l.mu.Unlock()
			if err := e.Apply(entry); err != nil {
				t.Error(err)
			}
		case era.closed:
			n++
			era.ends[e] = seq
			era = l.parts[p][n]
			seq = era.first
			l.mu.Unlock()
			e.SetEpoch(p, era.epoch, era.first, Frame{Bytes: []byte("epoch"), IDAt: -1, Notice: true})
		default:
			l.mu.Unlock()
			e.Advance(p, end)
			select {
			case <-stop:
				return
			default:
				time.Sleep(100 * time.Microsecond)
			}
		}
		if rng.IntN(1000) == 0 {
			time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
		}
	}
}

// fetch returns the events of a missing range.
func (l *testLog) fetch(e *Engine, m Missing) ([]*Event, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	era := l.newest(m.Partition)
	if era.epoch != m.Epoch {
		return nil, false
	}
	var events []*Event
	for seq := max(m.After, era.first) + 1; seq <= m.Through && seq-era.first <= uint64(len(era.entries)); seq++ {
		if key := era.entries[seq-era.first-1].key; key == m.Key && (key == "") == m.All {
			events = append(events, e.NewLogEvent(era.entry(m.Partition, seq)))
		}
	}
	return events, true
}

// logHammer is one run: a log, the engines that follow it, and what its clients met.
type logHammer struct {
	log     *testLog
	engines []*Engine

	received, resumes, fetches, refused, lags, conflated, epochs, unread atomic.Int64
}

// logClient moves between engines.
type logClient struct {
	t    *testing.T
	h    *logHammer
	rng  *rand.Rand
	keys []string
	id   string

	e      *Engine
	s      *Subscriber
	ready  chanSink
	parts  []int
	begin  []Position // of the session, by part
	trace  []string
	events [][]string // received in this session, by part
	gaps   []logGap
}

// logGap says that events of a key, or the broadcasts, with sequences after to through are not delivered.
type logGap struct {
	all           bool
	key           string
	part          int
	epoch, to     uint64
	throughEpoch  uint64
	through       uint64
	missed        int64
	countsExactly bool
}

// connect begins a session at one of the engines.
func (c *logClient) connect() {
	c.e = c.h.engines[c.rng.IntN(len(c.h.engines))]
	c.rng.Shuffle(len(c.keys), func(i, j int) { c.keys[i], c.keys[j] = c.keys[j], c.keys[i] })
	c.s, c.ready, c.gaps = new(Subscriber), make(chanSink, 1), nil
	result, err := c.e.Subscribe(c.s, c.keys, c.id, c.ready)
	if err != nil {
		c.t.Error(err)
		return
	}
	c.h.resumes.Add(1)
	c.trace = []string{fmt.Sprintf("id %s result %v pos %d applied %v missing %v", c.id, result, c.s.log.parts[0].pos, c.e.Applied(0), c.s.Missing())}
	if result == ResumedExact && positions(c.s) != c.id {
		c.t.Errorf("the position is %s after resuming at %s", positions(c.s), c.id)
	}
	if result == ResumedNone {
		c.id = positions(c.s)
	}
	for i, m := range c.s.Missing() {
		c.h.fetches.Add(1)
		events, ok := c.h.log.fetch(c.e, m)
		if c.rng.IntN(10) == 0 {
			ok = false
		}
		if !ok {
			c.h.refused.Add(1)
		}
		c.s.Fill(i, events, ok)
	}
	c.parts = c.e.log.partsOf(c.keys)
	c.events = make([][]string, len(c.parts))
	if result == ResumedGap { // the session begins after the gaps
		c.h.epochs.Add(1)
		for c.s.log.gaps > 0 {
			it, ok := c.s.Next(true)
			if !ok || it.Gap == nil {
				c.t.Errorf("no gap after %s", c.id)
				break
			}
			if it.Gap.Reason == GapUnknown {
				c.t.Errorf("%+v", it.Gap)
			}
			c.arrived(it, "")
			if all := &c.s.log.all; it.Gap.Reason == GapEpoch && it.nextCursor == 0 { // broadcasts have no gap of their own
				through := c.e.Applied(0)
				if pos, known := all.key.posAt(all.next); known {
					through = c.s.log.parts[0].p.position(pos - 1)
				}
				c.gaps = append(c.gaps, logGap{all: true, throughEpoch: through.Epoch, through: through.Seq})
			}
		}
		c.id = positions(c.s)
	}
	c.begin = parsePositions(c.id)
}

func parsePositions(id string) (list []Position) {
	for text := range splitComma(id) {
		p, _ := ParsePosition(text)
		list = append(list, p)
	}
	return list
}

func splitComma(id string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for {
			for i := 0; ; i++ {
				if i == len(id) {
					yield(id)
					return
				}
				if id[i] == ',' {
					if !yield(id[:i]) {
						return
					}
					id = id[i+1:]
					break
				}
			}
		}
	}
}

// arrived records an item that the client has received completely.
func (c *logClient) arrived(it Item, id string) (ended bool) {
	i := int(it.nextCursor)
	part := int(c.s.log.heads[i].part)
	if g := it.Gap; g != nil {
		after, _ := ParsePosition(g.After)
		if g.Reason == GapLag {
			c.h.lags.Add(1)
			if g.Policy == Disconnect {
				return true
			}
		}
		c.gaps = append(c.gaps, logGap{
			all: i == len(c.s.cursors), key: g.Key, part: part, epoch: after.Epoch, to: after.Seq,
			throughEpoch: g.Next.Epoch, through: g.Next.Seq, missed: g.Missed, countsExactly: g.Reason == GapLag && g.Missed >= 0,
		})
		c.id = id
		return false
	}
	c.id = id
	if it.Event.Notice() {
		return false
	}
	c.h.received.Add(1)
	c.events[part] = append(c.events[part], string(it.Event.Bytes()))
	return false
}

// step handles some pending events as a stream does. It returns false if nothing is pending, and ended if the stream ends.
func (c *logClient) step() (more, ended bool) {
	it, ok := c.s.Next(true)
	c.trace = append(c.trace, fmt.Sprintf("next %v %v pos %d seen %d turn %v heads %v gens %v", ok, it.Gap, c.s.log.parts[0].pos, c.s.log.parts[0].seen, c.s.log.turn, c.s.log.heads, *c.s.log.parts[0].p.generations.Load()))
	if !ok {
		c.id = positions(c.s) // as a heartbeat does
		return false, false
	}
	if it.Gap != nil {
		return true, c.arrived(it, positions(c.s))
	}
	items, ids := []Item{it}, []string{positions(c.s)}
	for n := c.rng.IntN(8); n > 0; n-- {
		if it, ok = c.s.Next(false); !ok {
			c.trace = append(c.trace, fmt.Sprintf("  next false; pos %d seen %d heads %v", c.s.log.parts[0].pos, c.s.log.parts[0].seen, c.s.log.heads))
			break
		}
		c.trace = append(c.trace, fmt.Sprintf("  next %q; pos %d seen %d heads %v", it.Event.Bytes(), c.s.log.parts[0].pos, c.s.log.parts[0].seen, c.s.log.heads))
		if c.rng.IntN(6) == 0 { // it does not fit
			c.s.Unread([]Item{it})
			break
		}
		items, ids = append(items, it), append(ids, positions(c.s))
	}
	taken := len(items)
	if c.rng.IntN(3) == 0 {
		taken = c.rng.IntN(len(items) + 1)
		c.h.unread.Add(1)
	}
	c.s.Unread(items[taken:])
	c.trace = append(c.trace, fmt.Sprintf("  unread %d of %d; pos %d seen %d heads %v", len(items)-taken, len(items), c.s.log.parts[0].pos, c.s.log.parts[0].seen, c.s.log.heads))
	for i := range taken {
		c.arrived(items[i], ids[i])
	}
	if c.rng.IntN(4) == 0 {
		c.s.Settle()
	}
	if taken < len(items) && c.rng.IntN(4) == 0 {
		c.conflate()
	}
	return true, false
}

// conflate skips to the newest events of keys with the policy Latest, and records them as a gap.
func (c *logClient) conflate() {
	c.s.Settle()
	next := make([]uint64, len(c.s.cursors))
	for i := range next {
		next[i] = c.s.cursors[i].next
	}
	if n := c.s.Conflate(); n == 0 {
		return
	}
	c.h.conflated.Add(1)
	for i := range next {
		if c.s.cursors[i].next == next[i] {
			continue
		}
		part := &c.s.log.parts[c.s.log.heads[i].part]
		from := part.p.position(part.pos)
		// The events before the one that the cursor has reached, or that was lost meanwhile.
		through := part.p.position(part.seen)
		if pos, known := c.s.cursors[i].key.posAt(c.s.cursors[i].next); known {
			through = part.p.position(pos - 1)
		}
		c.gaps = append(c.gaps, logGap{
			key: c.s.KeyName(i), part: int(c.s.log.heads[i].part), epoch: from.Epoch, to: from.Seq,
			throughEpoch: through.Epoch, through: through.Seq,
		})
	}
}

// session reads for some steps, and then checks what came.
func (c *logClient) session(steps int, deadline <-chan time.Time) {
	c.connect()
	ended := false
	for range steps {
		var more bool
		if more, ended = c.step(); ended {
			break
		}
		if !more && c.s.Release() {
			select {
			case <-c.ready:
			case <-deadline:
				// Take the ownership back; if a waker had it, it is on its way.
				if !c.s.state.CompareAndSwap(stateIdle, stateBusy) {
					<-c.ready
				}
				steps = 0
			}
		}
		if steps == 0 {
			break
		}
	}
	if !ended && c.rng.IntN(2) == 0 { // gracefully: everything that was applied before arrives
		var applied []Position
		c.s.Close(ReasonClosed)
		for _, p := range c.parts {
			applied = append(applied, c.e.Applied(p))
		}
		for {
			more, ended := c.step()
			if ended {
				break
			}
			if !more {
				_ = applied
				break
			}
		}
	} else {
		c.s.Close(ReasonGone)
	}
	c.check()
}

// check reconciles a session: each event of the client's keys between the first and the last position came once and in
// order, or a gap accounts for it.
func (c *logClient) check() {
	c.h.log.mu.Lock()
	defer c.h.log.mu.Unlock()
	end := parsePositions(c.id)
	if len(end) != len(c.begin) || len(end) != len(c.parts) {
		c.t.Errorf("id %q of %d partitions, began with %v", c.id, len(c.parts), c.begin)
		return
	}
	for i, p := range c.parts {
		var want []string
		eras := c.h.log.parts[p]
		n := slices.IndexFunc(eras, func(era *testEra) bool { return era.epoch == c.begin[i].Epoch })
		if n < 0 {
			c.t.Errorf("began with the unknown epoch of %v", c.begin[i])
			return
		}
		seq := c.begin[i].Seq
		received := c.events[i]
		for ; ; n++ {
			if n == len(eras) {
				c.t.Errorf("ended with the unknown epoch of %v, began with %v", end[i], c.begin[i])
				return
			}
			era := eras[n]
			last := end[i].Seq
			if end[i].Epoch != era.epoch {
				last = era.ends[c.e]
			}
			for seq++; seq <= last; seq++ {
				key := era.entries[seq-era.first-1].key
				if key != "" && !slices.Contains(c.keys, key) {
					continue
				}
				f := logFrame(key, p, era.epoch, seq)
				text := string(f.Bytes[:4]) + Position{era.epoch, seq}.String() + string(f.Bytes[4:])
				if len(received) > 0 && received[0] == text {
					received = received[1:]
					continue
				}
				if !c.accounted(i, key, era.epoch, seq) {
					want = append(want, text)
				}
			}
			if end[i].Epoch == era.epoch {
				break
			}
			seq = eras[n+1].first
		}
		if len(received) > 0 || len(want) > 0 {
			for i := range c.s.cursors {
				cu := &c.s.cursors[i]
				now, _ := c.e.shard(cu.key.name).Load(cu.key.name)
				c.trace = append(c.trace, fmt.Sprintf("cursor %s next %d tail %d retired %v same %v ring %v floor %v subs %d", cu.key.name, cu.next, cu.key.tail(), cu.key.retired, now == cu.key, cu.key.ring.Load() != nil, cu.key.extra.Load().floor.Load(), cu.key.subscribers.Load()))
				if r := cu.key.ring.Load(); r != nil {
					for j := range r.slots {
						if ev := r.slots[j].Load(); ev != nil {
							c.trace = append(c.trace, fmt.Sprintf("  slot %d seq %d kind %d at %d", j, ev.seq, ev.kind, ev.at))
						}
					}
				}
			}
			c.t.Errorf("client of %v, partition %d, from %v to %v:\nlost %.300q\nnot expected %.300q\ngaps %+v\ntrace %s", c.keys, p, c.begin[i], end[i], want, received, c.gaps, strings.Join(append(c.trace[:1:1],c.trace[max(1,len(c.trace)-32):]...), "\n"))
		}
	}
}

// accounted reports whether a gap covers the event.
func (c *logClient) accounted(part int, key string, epoch, seq uint64) bool {
	eraOf := func(epoch uint64) int {
		return slices.IndexFunc(c.h.log.parts[c.parts[part]], func(era *testEra) bool { return era.epoch == epoch })
	}
	n := eraOf(epoch)
	for i := range c.gaps {
		g := &c.gaps[i]
		if g.part != part || g.all != (key == "") || !g.all && g.key != key {
			continue
		}
		from, to := eraOf(g.epoch), eraOf(g.throughEpoch)
		if (n > from || n == from && seq > g.to) && (n < to || n == to && seq <= g.through) {
			g.missed--
			return true
		}
	}
	return false
}

// behind returns how many entries the slowest engine has yet to apply in the newest epochs.
func (h *logHammer) behind() (most uint64) {
	h.log.mu.Lock()
	defer h.log.mu.Unlock()
	for p := range h.log.parts {
		era := h.log.newest(p)
		for _, e := range h.engines {
			n := uint64(len(era.entries))
			if at := e.Applied(p); at.Epoch == era.epoch {
				n -= at.Seq - era.first
			}
			most = max(most, n)
		}
	}
	return most
}

// TestLogHammer has several engines follow one log, each at its own pace, and clients that move between them and read in
// all ways that a stream does. It reconciles each (key, sequence, subscriber).
func TestLogHammer(t *testing.T) {
	for _, partitions := range []int{1, 3} {
		t.Run(fmt.Sprint(partitions, " partitions"), func(t *testing.T) { logHammerRun(t, partitions) })
	}
}

func logHammerRun(t *testing.T, partitions int) {
	duration := 4 * time.Second
	if testing.Short() {
		duration = time.Second
	}
	h := &logHammer{log: newTestLog(partitions)}
	stopFeed, stop := make(chan struct{}), make(chan struct{})
	var feeds, writers, clients sync.WaitGroup
	for range 3 {
		e := start(t, Options{
			Key:           KeyOptions{History: 32, HistoryTTL: 20 * time.Millisecond},
			SweepInterval: time.Millisecond,
			Log:           &LogOptions{Partitions: partitions, PartitionOf: h.log.partitionOf},
			KeyRule: func(name string) *KeyOptions {
				for _, k := range logHammerKeys {
					if k.name == name {
						return k.o
					}
				}
				return nil
			},
		})
		h.engines = append(h.engines, e)
		for p := range partitions {
			for e.Applied(p).Epoch == 0 {
				feeds.Go(func() { h.log.feed(t, e, p, stopFeed, rand.New(rand.NewPCG(uint64(p), 9))) })
				for e.Applied(p).Epoch == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		}
	}
	for w := range 2 {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 4))
			for {
				select {
				case <-stop:
					return
				default:
				}
				for range rng.IntN(40) {
					if rng.IntN(20) == 0 {
						h.log.append("")
					} else {
						h.log.append(pickKey(rng))
					}
				}
				if rng.IntN(300) == 0 {
					h.log.goBack(rng.IntN(partitions), rng.IntN(30))
				}
				for time.Sleep(time.Millisecond); h.behind() > 300; {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	for i := range 16 {
		clients.Go(func() {
			c := &logClient{t: t, h: h, rng: rand.New(rand.NewPCG(uint64(i), 6))}
			for range 1 + c.rng.IntN(4) {
				if key := pickKey(c.rng); !slices.Contains(c.keys, key) {
					c.keys = append(c.keys, key)
				}
			}
			for {
				select {
				case <-stop:
					return
				default:
				}
				c.session(c.rng.IntN(60), time.After(time.Duration(c.rng.IntN(50))*time.Millisecond))
				if c.rng.IntN(5) == 0 { // away for a while: its keys are retired
					time.Sleep(time.Duration(c.rng.IntN(60)) * time.Millisecond)
				}
				if c.rng.IntN(50) == 0 {
					c.id = ""
				}
			}
		})
	}
	time.Sleep(duration)
	close(stop)
	writers.Wait()
	clients.Wait()
	close(stopFeed)
	feeds.Wait()
	t.Logf("%d received, %d sessions, %d epoch gaps, %d fetches of which %d were refused, %d lag gaps, %d conflations, %d unread",
		h.received.Load(), h.resumes.Load(), h.epochs.Load(), h.fetches.Load(), h.refused.Load(), h.lags.Load(), h.conflated.Load(), h.unread.Load())
	for what, n := range map[string]int64{
		"events": h.received.Load(), "epoch gaps": h.epochs.Load(), "fetches": h.fetches.Load(), "lag gaps": h.lags.Load(),
		"conflations": h.conflated.Load(),
	} {
		if n == 0 {
			t.Errorf("no %s: adjust the test", what)
		}
	}
}
