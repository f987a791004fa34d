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
	{"demanded", &KeyOptions{History: 64, HistoryBytes: 1 << 20, HistoryTTL: 5 * time.Millisecond, MaxSubscribers: 1000, OnDemand: true}},
}

// pickKey returns one of the keys above, or one of many that are retired in between.
func pickKey(rng *rand.Rand) string {
	if n := rng.IntN(2 * len(logHammerKeys)); n < len(logHammerKeys) {
		return logHammerKeys[n].name
	}
	return fmt.Sprint("cold", rng.IntN(30))
}

// coldOnDemand are the options of those with an even number.
var coldOnDemand = &KeyOptions{History: 32, HistoryBytes: 1 << 20, HistoryTTL: 20 * time.Millisecond, MaxSubscribers: 1000, OnDemand: true}

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

	received, resumes, fetches, refused, parts, shared, lags, conflated, epochs, unread atomic.Int64
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
				if name != "" && (name[len(name)-1]-'0')%2 == 0 {
					return coldOnDemand
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
			nextEpoch := time.Now().Add(time.Duration(w) * time.Hour) // one writer begins epochs
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
				if time.Now().After(nextEpoch) {
					nextEpoch = time.Now().Add(time.Duration(rng.IntN(400)) * time.Millisecond)
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
	// Run for some time, and until everything has happened that the test is for.
	reached := map[string]*atomic.Int64{
		"events": &h.received, "epoch gaps": &h.epochs, "fetches": &h.fetches, "lag gaps": &h.lags, "conflations": &h.conflated,
		"refused fetches": &h.refused, "partial fetches": &h.parts, "gaps of a key and the broadcasts": &h.shared,
	}
	begin := time.Now()
	for !t.Failed() && time.Since(begin) < time.Minute {
		time.Sleep(10 * time.Millisecond)
		some := true
		for _, n := range reached {
			some = some && n.Load() > 0
		}
		if some && time.Since(begin) > duration {
			break
		}
	}
	close(stop)
	writers.Wait()
	clients.Wait()
	close(stopFeed)
	feeds.Wait()
	t.Logf("%d received, %d sessions, %d epoch gaps, %d fetches of which %d were refused and %d partial, %d shared gaps, %d lag gaps, %d conflations, %d unread",
		h.received.Load(), h.resumes.Load(), h.epochs.Load(), h.fetches.Load(), h.refused.Load(), h.parts.Load(), h.shared.Load(), h.lags.Load(), h.conflated.Load(), h.unread.Load())
	for what, n := range reached {
		if n.Load() == 0 {
			t.Errorf("no %s: adjust the test", what)
		}
	}
}
