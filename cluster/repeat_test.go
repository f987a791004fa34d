package cluster_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/cluster"
	"fanfare/internal/test/memlog"
)

// begun returns how many epochs a partition of the broker has ever had.
func begun(b *memlog.Broker, partition int) (n int) {
	for _, s := range b.History(partition) {
		if s.Message.Op == cluster.OpEpoch && s.Message.Begun == 0 {
			n++
		}
	}
	return n
}

// repetitions returns how often the entry of an epoch was repeated.
func repetitions(b *memlog.Broker, partition int) (n int) {
	for _, s := range b.History(partition) {
		if s.Message.Op == cluster.OpEpoch && s.Message.Begun != 0 {
			n++
		}
	}
	return n
}

// slowReader is a log whose entries reach the node only when it is released.
type slowReader struct {
	cluster.Log
	gate chan struct{} // has a token while the entries do not reach it; a mutex would not let the clock of a bubble go on
}

func (l *slowReader) Read(ctx context.Context, partition int, after uint64, handle func(*cluster.Entry) error, idle func(uint64)) error {
	return l.Log.Read(ctx, partition, after, func(e *cluster.Entry) error {
		l.gate <- struct{}{}
		defer func() { <-l.gate }()
		return handle(e)
	}, idle)
}

// However fast events are stored, retention does not remove the epoch's entry: a node that starts finds it.
func TestEpochOutlivesBursts(t *testing.T) {
	const retention = 64 << 10
	large := strings.Repeat("x", 3000)
	for name, burst := range map[string]func(t *testing.T, b *memlog.Broker, a, c *testNode){
		"one event at a time": func(t *testing.T, b *memlog.Broker, a, c *testNode) {
			for range 100 {
				a.must(t, event("k", large))
			}
		},
		"one batch": func(t *testing.T, b *memlog.Broker, a, c *testNode) {
			messages := make([]cluster.Message, 100)
			for i := range messages {
				messages[i] = event(fmt.Sprint(i), large)
			}
			a.must(t, messages...)
		},
		"two nodes at once": func(t *testing.T, b *memlog.Broker, a, c *testNode) {
			var all sync.WaitGroup
			for i := range 8 {
				all.Go(func() {
					for range 30 {
						[]*testNode{a, c}[i%2].must(t, event("k", large))
					}
				})
			}
			all.Wait()
		},
		"small events": func(t *testing.T, b *memlog.Broker, a, c *testNode) {
			for range 2000 {
				a.must(t, event("k", "x"))
			}
		},
		"another program": func(t *testing.T, b *memlog.Broker, a, c *testNode) {
			for range 100 {
				b.PutForeign("k", []byte(large))
				synctest.Wait()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memlog.New(1)
				b.MaxBytes = retention
				a, c := startNode(t, b, "a", nil), startNode(t, b, "c", nil)
				a.settle(t)
				c.settle(t)
				time.Sleep(time.Minute)
				burst(t, b, a, c)
				if state, _ := a.log.State(t.Context(), 0); state.First < 2 || state.Epoch == 0 {
					t.Errorf("after the burst the state is %+v, want the first entries removed, and an epoch", state)
				}
				// Nobody is there any more who could be asked.
				a.Close()
				c.Close()
				d := startNode(t, b, "d", nil)
				d.settle(t)
				equal(t, "epochs", begun(b, 0), 1)
				equal(t, "the new node's epoch", d.rec.currentEpoch(), a.rec.currentEpoch())
				for _, n := range []*testNode{a, c} {
					if strings.Contains(n.rec.data(), "EPOCH") {
						t.Errorf("the clients of a node that ran got a gap")
					}
				}
				if repeated, most := repetitions(b, 0), len(b.History(0))/2; repeated > most {
					t.Errorf("the entry was repeated %d times, want at most %d", repeated, most)
				}
			})
		})
	}
}

// A node repeats the entry while it publishes, although it does not read.
func TestEpochOutlivesABurstOfANodeThatIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		b.MaxBytes = 64 << 10
		slow := &slowReader{gate: make(chan struct{}, 1)}
		a := startNode(t, b, "a", func(o *cluster.Options) {
			slow.Log = o.Log
			o.Log = slow
		})
		a.settle(t)
		slow.gate <- struct{}{}
		defer func() { <-slow.gate }()
		for range 300 {
			a.must(t, event("k", strings.Repeat("x", 3000)))
		}
		d := startNode(t, b, "d", nil)
		d.settle(t)
		equal(t, "epochs", begun(b, 0), 1)
	})
}

// The epoch's entry is repeated before it is too old, also if the node that should do so does not.
func TestEpochIsRepeatedBeforeItIsTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		b.MaxAge = 20 * time.Second
		a := startNode(t, b, "a", nil)
		a.settle(t)
		for range 10 {
			before := b.Last(0)
			time.Sleep(18 * time.Second)
			if n := b.Last(0) - before; n < 1 || n > 3 {
				t.Errorf("%d entries in 18 s, want 1 to 3", n)
			}
			b.Purge(0, before+1)
		}
		d := startNode(t, b, "d", nil)
		d.settle(t)
		equal(t, "epochs", begun(b, 0), 1)
	})
}

// A node that starts finds no entry of an epoch, because the log was purged, and asks the others.
func TestNodeThatStartsAsksForTheEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(2)
		a := startNode(t, b, "a", nil)
		a.settle(t)
		a.number(t, 10)
		time.Sleep(3*time.Second + 500*time.Millisecond) // between the looks of a at the state
		for p := range 2 {
			b.Purge(p, b.Last(p)+1)
		}
		d := startNode(t, b, "d", nil)
		d.settle(t)
		for p := range 2 {
			equal(t, "epochs", begun(b, p), 1)
		}
		a.must(t, event("k", "later"))
		synctest.Wait()
		equal(t, "a has", a.rec.data(), "0 1 2 3 4 5 6 7 8 9 later")
		equal(t, "the new node has", d.rec.data(), "later")
		equal(t, "its epoch", d.rec.currentEpoch(), a.rec.currentEpoch())
	})
}

// All nodes are down while retention removes everything. A node with a memory knows the epoch, unless more has happened.
func TestMemoryKnowsTheEpoch(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(b *memlog.Broker)
		epochs int
	}{
		{"everything is removed", func(b *memlog.Broker) { b.Purge(0, b.Last(0)+1) }, 1},
		{"what was not read is kept", func(b *memlog.Broker) {
			last := b.Last(0)
			b.PutForeign("k", []byte("foreign"))
			b.Purge(0, last+1)
		}, 1},
		{"what was not read is removed", func(b *memlog.Broker) {
			b.PutForeign("k", []byte("foreign"))
			b.Purge(0, b.Last(0)+1)
		}, 2},
		{"the log has gone back", func(b *memlog.Broker) {
			b.GoBack(0, 3)
			b.Purge(0, b.Last(0)+1)
		}, 2},
		{"the log is another one", func(b *memlog.Broker) {
			b.Restore()
			b.Purge(0, b.Last(0)+1)
		}, 2},
		{"entries may be lost", func(b *memlog.Broker) {
			b.LoseSync(0)
			b.Purge(0, b.Last(0)+1)
		}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memlog.New(1)
				file := filepath.Join(t.TempDir(), "memory")
				remember := func(o *cluster.Options) { o.Memory, o.MemoryOf = file, "log" }
				a := startNode(t, b, "a", remember)
				a.settle(t)
				a.number(t, 10)
				synctest.Wait() // it has read them
				a.Close()
				c.change(b)
				a = startNode(t, b, "a", remember)
				a.settle(t)
				equal(t, "epochs", begun(b, 0), c.epochs)
			})
		})
	}
}

// A node that was cut off does not know of an epoch that has begun meanwhile, and whose entry was removed. It must not go on
// in the old one.
func TestEpochThatIsRemovedBeforeItIsMet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a, c := startNode(t, b, "a", nil), startNode(t, b, "c", nil)
		a.settle(t)
		c.settle(t)
		a.number(t, 10)
		time.Sleep(5 * time.Second)
		old := a.rec.currentEpoch()
		a.log.Cut(true)
		a.bus.Cut(true)
		b.GoBack(0, 5)
		time.Sleep(10 * time.Second)
		for range 10 {
			c.must(t, event("k", "new"))
		}
		c.Close()
		c.bus.Cut(true)
		b.Purge(0, b.Last(0)+1)
		b.PutForeign("k", []byte("kept"))
		a.bus.Cut(false)
		a.log.Cut(false)
		time.Sleep(10 * time.Second)
		a.must(t, event("k", "last"))
		synctest.Wait()
		if now := a.rec.currentEpoch(); now <= c.rec.currentEpoch() || now == old {
			t.Errorf("the node is in the epoch %d, want one after %d", now, c.rec.currentEpoch())
		}
		checkRecords(t, a.rec)
		agreeOn(t, a.rec, c.rec)
	})
}

// The same, for a node that reads on after entries that were removed before it has read them.
func TestEpochInAHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		slow := &slowReader{gate: make(chan struct{}, 1)}
		a := startNode(t, b, "a", func(o *cluster.Options) {
			slow.Log = o.Log
			o.Log = slow
		})
		c := startNode(t, b, "c", nil)
		a.settle(t)
		c.settle(t)
		a.number(t, 10)
		synctest.Wait()
		slow.gate <- struct{}{}
		b.PutForeign("k", []byte("x")) // it is on its way to a
		synctest.Wait()
		b.GoBack(0, 5)
		c.log.Cut(true)
		time.Sleep(time.Second)
		c.log.Cut(false)
		time.Sleep(time.Second)
		for range 10 {
			c.must(t, event("k", "new"))
		}
		state, err := c.log.State(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		// The entry is there only as a repetition that a has not reached.
		var r [1]cluster.Result
		m := cluster.Message{Op: cluster.OpEpoch, Epoch: state.Epoch, Begun: state.EpochSeq, AfterEpoch: state.EpochEntry}
		if b.Log().Append(t.Context(), []cluster.Message{m}, r[:]); r[0].Err != nil {
			t.Fatal(r[0].Err)
		}
		for range 3 {
			b.PutForeign("k", []byte("y"))
		}
		b.Purge(0, state.Last-1)
		<-slow.gate
		synctest.Wait()
		time.Sleep(time.Minute)
		equal(t, "the epoch", a.rec.currentEpoch(), c.rec.currentEpoch())
		checkRecords(t, a.rec)
		for _, r := range a.rec.records() {
			if r.pos.Epoch != a.rec.currentEpoch() && r.pos.Seq > 12 {
				t.Errorf("%+v was delivered in the epoch before", r)
			}
		}
	})
}
