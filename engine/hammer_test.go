package engine

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// chanSink passes the ownership of a subscriber to the goroutine that waits on the channel.
type chanSink chan struct{}

func (c chanSink) Ready() { c <- struct{}{} }

// numberFrame returns a frame with a number of its publisher.
func numberFrame(n uint64) Frame {
	return Frame{Bytes: binary.BigEndian.AppendUint64([]byte("n="), n), IDAt: -1}
}

// sighting is what one subscriber saw of one key.
type sighting struct {
	first, last uint64 // the sequences that Next has covered, inclusive
	missed      int64
	got         int64
}

// follow reads a subscriber until it is closed. It checks that the sequences of each key ascend, and that a gap
// accounts for every hole.
func follow(t *testing.T, s *Subscriber, ready chanSink, pause func()) map[string]*sighting {
	seen := map[string]*sighting{}
	for i := range s.cursors {
		c := &s.cursors[i]
		seen[c.key.name] = &sighting{first: c.next, last: c.next - 1}
	}
	for {
		it, ok := s.Next(true)
		switch {
		case ok && it.Gap != nil:
			h := seen[it.Gap.Key]
			if it.Gap.Reason != GapLag {
				t.Errorf("unexpected gap %+v", it.Gap)
			}
			if want := int64(it.Gap.Next.Seq - h.last); it.Gap.Missed != want {
				t.Errorf("gap of %d events, but %d are missing", it.Gap.Missed, want)
			}
			h.missed += it.Gap.Missed
			h.last = it.Gap.Next.Seq
		case ok:
			h := seen[s.cursors[it.Key].key.name]
			if it.Event.Seq() != h.last+1 {
				t.Errorf("key %s: event %d follows %d", s.cursors[it.Key].key.name, it.Event.Seq(), h.last)
			}
			h.last = it.Event.Seq()
			h.got++
			pause()
		case s.Closing() != 0:
			return seen
		case s.Release():
			<-ready
		}
	}
}

// TestHammer runs publishers, joining and leaving subscribers, retirement of keys, growth, eviction and laps at the
// same time. It reconciles every (key, sequence, subscriber): delivered once and in order, or counted as missed.
func TestHammer(t *testing.T) {
	const publishers, subscribers = 4, 24
	// A few hot keys, which lap their subscribers, and many cold keys, which are retired in between.
	pick := func(rng *rand.Rand) string {
		if rng.IntN(3) > 0 {
			return fmt.Sprint("hot", rng.IntN(4))
		}
		return fmt.Sprint("cold", rng.IntN(400))
	}
	flushRule := &KeyOptions{
		History: 64, HistoryBytes: 3000, HistoryTTL: 5 * time.Millisecond, MaxSubscribers: 10_000, FlushInterval: time.Millisecond,
	}
	duration := 3 * time.Second
	if testing.Short() {
		duration = time.Second
	}
	e := New(Options{
		KeyRule: func(name string) *KeyOptions { // two of the hot keys have a flush interval
			if name == "hot0" || name == "hot1" {
				return flushRule
			}
			return nil
		},
		Key:           KeyOptions{History: 64, HistoryBytes: 3000, HistoryTTL: 5 * time.Millisecond},
		SweepInterval: time.Millisecond,
	})
	defer e.Close()
	stop := make(chan struct{})
	var published, lives sync.Map // by key/epoch: the number of events, and the highest sequence
	var events, delivered, missed, resumes atomic.Int64

	var pubs, subs sync.WaitGroup
	for p := range publishers {
		pubs.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(p), 1))
			for n := uint64(0); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				key := pick(rng)
				got, err := e.Publish(key, numberFrame(n))
				if err != nil {
					t.Error(err)
					return
				}
				id := fmt.Sprint(key, "/", got.Epoch)
				c, _ := published.LoadOrStore(id, new(atomic.Int64))
				c.(*atomic.Int64).Add(1)
				m, _ := lives.LoadOrStore(id, new(atomic.Uint64))
				for old := m.(*atomic.Uint64).Load(); old < got.Seq && !m.(*atomic.Uint64).CompareAndSwap(old, got.Seq); old = m.(*atomic.Uint64).Load() {
				}
				events.Add(1)
			}
		})
	}
	for i := range subscribers {
		subs.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 2))
			for {
				select {
				case <-stop:
					return
				default:
				}
				names := []string{pick(rng)}
				if other := pick(rng); i%3 == 0 && other != names[0] {
					names = append(names, other)
				}
				s, ready := new(Subscriber), make(chanSink, 1)
				if _, err := e.Subscribe(s, names, "", ready); err != nil {
					t.Error(err)
					return
				}
				life := time.Duration(rng.IntN(60)) * time.Millisecond
				timer := time.AfterFunc(life, func() { s.Close(ReasonClosed) })
				pause := rng.IntN(4) == 0
				seen := follow(t, s, ready, func() {
					if pause && rng.IntN(50) == 0 {
						time.Sleep(25 * time.Millisecond)
					}
				})
				timer.Stop()
				resumes.Add(1)
				for name, h := range seen {
					if h.got+h.missed != int64(h.last-h.first+1) {
						t.Errorf("%s: %d got + %d missed of %d..%d", name, h.got, h.missed, h.first, h.last)
					}
					delivered.Add(h.got)
					missed.Add(h.missed)
				}
			}
		})
	}
	time.Sleep(duration)
	close(stop)
	pubs.Wait()
	subs.Wait()

	epochs, names := 0, map[string]bool{}
	published.Range(func(id, n any) bool {
		epochs++
		name, _, _ := strings.Cut(id.(string), "/")
		names[name] = true
		m, _ := lives.Load(id)
		if got, want := n.(*atomic.Int64).Load(), int64(m.(*atomic.Uint64).Load()); got != want {
			t.Errorf("%v: %d events published, but the highest sequence is %d", id, got, want)
		}
		return true
	})
	if n := e.CountAll(); n != 0 {
		t.Errorf("%d subscribers left", n)
	}
	var sum int64
	for k := range e.allKeys() {
		sum += k.bytes.Load()
	}
	if got := e.Stats().HistoryBytes; got != sum || got < 0 {
		t.Errorf("the engine counts %d bytes of history, the sum over its keys is %d", got, sum)
	}
	t.Logf("%d events in %d lives of %d keys, %d subscriptions, %d delivered, %d missed",
		events.Load(), epochs, len(names), resumes.Load(), delivered.Load(), missed.Load())
	if epochs <= len(names) || delivered.Load() == 0 || missed.Load() == 0 {
		t.Error("the test did not reach retirement, delivery and laps: adjust it")
	}
}
