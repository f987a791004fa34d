package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// counters count the events that a publisher has begun and ended to publish. It numbers them 1, 2, 3, …
type counters struct{ begun, ended atomic.Int64 }

func (c *counters) publish(t *testing.T, f func(n int64) error) {
	n := c.begun.Add(1)
	if err := f(n); err != nil {
		t.Error(err)
	}
	c.ended.Add(1)
}

// expectation is what a client knows about the numbers of one publisher: the next one is after last, and at most latest.
type expectation struct{ last, latest int64 }

// opened says that the client is sure of what is published from now on.
func (x *expectation) opened(c *counters) { x.latest = c.begun.Load() + 1 }

func (x *expectation) got(t *testing.T, what string, n int64) {
	if n <= x.last || n > x.latest {
		t.Errorf("%s: got number %d, want one after %d and at most %d", what, n, x.last, x.latest)
	}
	x.last, x.latest = n, n+1
}

// TestOpeningHammer has clients come, leave, often before they have received anything, and return with the last id,
// while publishers publish now and then, lives of keys end all the time, and PublishAll runs. A client gets each event
// that is published after it came, or a gap. It gets no gap if nothing was published.
func TestOpeningHammer(t *testing.T) {
	const names, clients, sessions = 12, 4, 600
	e := start(t, Options{Key: KeyOptions{HistoryTTL: time.Millisecond, History: 8}, SweepInterval: 50 * time.Microsecond})
	var published [names]counters
	var broadcasts counters
	stop := make(chan struct{})
	var pubs, subs sync.WaitGroup
	every := func(d time.Duration, f func()) {
		pubs.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(rand.N(d)):
					f()
				}
			}
		})
	}
	every(time.Millisecond, func() {
		i := rand.N(names)
		published[i].publish(t, func(n int64) error {
			_, err := e.Publish(fmt.Sprint("key", i), text(fmt.Sprint(i, " ", n)))
			return err
		})
	})
	every(20*time.Millisecond, func() {
		broadcasts.publish(t, func(n int64) error {
			_, _, err := e.PublishAll(text(fmt.Sprint("all ", n)))
			return err
		})
	})

	var exact, gaps atomic.Int64
	var opening [ResumedGap + 1]atomic.Int64
	for client := range clients {
		subs.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(client), 7))
			var keys []string
			var expect [names]expectation
			var all expectation
			id := ""
			var begunThen [names + 1]int64 // when the client had everything, at the latest; the last is of broadcasts
			snapshot := func() (ended [names + 1]int64) {
				for i := range published {
					ended[i] = published[i].ended.Load()
				}
				ended[names] = broadcasts.ended.Load()
				return ended
			}
			for session := range sessions {
				if session == 0 || rng.IntN(3) == 0 { // a new client
					id, keys, all, begunThen = "", nil, expectation{}, snapshot()
					for _, i := range rng.Perm(names)[:1+rng.IntN(2)] {
						keys = append(keys, fmt.Sprint("key", i))
					}
				}
				before := id != "" && !strings.Contains(id, zeroPosition) // its keys never had an event when it left
				for p := range strings.SplitSeq(id, ",") {
					before = before && (strings.HasSuffix(p, "-0") || strings.HasSuffix(p, "~*"))
				}
				// Come back.
				s, ready := new(Subscriber), make(chanSink, 1)
				result, err := e.Subscribe(s, keys, id, ready)
				if err != nil {
					t.Error(err)
					return
				}
				opened := func() {
					for i := range expect {
						expect[i].opened(&published[i])
					}
					all.opened(&broadcasts)
				}
				switch result {
				case ResumedNone:
					opened()
				case ResumedExact:
					exact.Add(1)
				case ResumedGap:
					gaps.Add(1)
					if !before {
						break // the life of the key may have ended without an event since
					}
					quiet := begunThen[names] == broadcasts.begun.Load()
					for i := range published {
						if slices.Contains(keys, fmt.Sprint("key", i)) {
							quiet = quiet && begunThen[i] == published[i].begun.Load()
						}
					}
					if quiet {
						t.Errorf("client %d came back with %s to a gap, but nothing has been published", client, id)
					}
				}
				if before {
					opening[result].Add(1)
				}

				// Read for a while, or not at all.
				end := time.Now().Add(time.Duration(rng.IntN(3)) * time.Millisecond)
				for rng.IntN(8) > 0 {
					ended := snapshot()
					it, ok := s.Next(true)
					if !ok {
						begunThen = ended
						if time.Now().After(end) {
							break
						}
						time.Sleep(50 * time.Microsecond)
						continue
					}
					if it.Gap != nil {
						i, _ := strconv.Atoi(strings.TrimPrefix(it.Gap.Key, "key"))
						expect[i].opened(&published[i])
						all.opened(&broadcasts)
						if it.Gap.Reason == GapEpoch {
							all.last = 0 // another key may have sent the broadcasts that follow
						}
						continue
					}
					kind, number, _ := strings.Cut(string(it.Event.Bytes()), " ")
					var n int64
					_, _ = fmt.Sscan(number, &n)
					if kind == "all" {
						for i := range s.cursors { // the gap of another key may account for broadcasts before this one
							c := &s.cursors[i]
							if _, lapped := c.key.read(c.at()); lapped || c.gap != nil {
								all.latest = max(all.latest, n)
							}
						}
						all.got(t, fmt.Sprintf("client %d, session %d, broadcasts", client, session), n)
					} else {
						i, _ := strconv.Atoi(kind)
						expect[i].got(t, fmt.Sprintf("client %d, session %d, key%d", client, session, i), n)
					}
				}

				// Leave.
				id = string(s.Positions(nil))
				s.Close(ReasonGone)
				time.Sleep(time.Duration(rng.IntN(3000)) * time.Microsecond)
			}
		})
	}
	subs.Wait()
	close(stop)
	pubs.Wait()
	before := [...]int64{opening[ResumedExact].Load(), opening[ResumedGap].Load()}
	t.Logf("%d exact resumes, %d gaps; of these, %d and %d with the id of a key without events", exact.Load(), gaps.Load(), before[0], before[1])
	if before[0] < 20 || before[1] < 20 {
		t.Error("adjust the test")
	}
}
