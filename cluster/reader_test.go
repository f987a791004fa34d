package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/cluster"
	"fanfare/internal/test/memlog"
)

type ctx = context.Context

func TestReadBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := startOne(t)
		for i := range 10 {
			a.must(t, event("k", fmt.Sprint(i)))
			time.Sleep(time.Minute)
		}
		c := startNode(t, b, "c", func(o *cluster.Options) { o.ReadBack = 3*time.Minute + time.Second })
		c.settle(t)
		equal(t, "c has", c.rec.data(), "7 8 9")
		d := startNode(t, b, "d", func(o *cluster.Options) { o.ReadBack = time.Hour })
		d.settle(t)
		equal(t, "d has", d.rec.data(), "0 1 2 3 4 5 6 7 8 9")
		b.Purge(0, 8) // the epoch's entry too: the first one
		time.Sleep(time.Minute)
		equal(t, "a's behind", a.Status().Behind, 0)
	})
}

func TestSettledWaitsForTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(2)
		b.Down()
		a := startNode(t, b, "a", nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := a.Settled(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Settled = %v without a broker", err)
		}
		if s := a.Status(); s.Settled || s.Connected {
			t.Errorf("the status is %+v without a broker", s)
		}
		b.Up()
		began := time.Now()
		a.settle(t)
		if took := time.Since(began); took > time.Second {
			t.Errorf("the node was ready %s after the broker, want at most 1 s", took)
		}
		if s := a.Status(); !s.Settled || !s.Connected {
			t.Errorf("the status is %+v with a broker", s)
		}
	})
}

func TestReaderComesBackAfterEachFault(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault func(*memlog.Broker, *testNode)
		want  string
	}{
		{"broker away", func(b *memlog.Broker, _ *testNode) {
			b.Down()
			time.Sleep(time.Minute)
			b.Up()
		}, "0 1 2 3 4"},
		{"node cut off", func(b *memlog.Broker, n *testNode) {
			n.log.Cut(true)
			b.PutForeign("k", []byte("while it was away"))
			time.Sleep(time.Minute)
			n.log.Cut(false)
		}, "0 1 2 while it was away 3 4"},
		{"broker stalled", func(b *memlog.Broker, _ *testNode) {
			b.Stall(true)
			time.Sleep(time.Minute)
			b.Stall(false)
		}, "0 1 2 3 4"},
		{"entries left out by mistake", func(b *memlog.Broker, n *testNode) {
			n.log.Skip(2)
			b.PutForeign("k", []byte("x"))
			b.PutForeign("k", []byte("y"))
			b.PutForeign("k", []byte("z"))
			time.Sleep(10 * time.Second)
		}, "0 1 2 x y z 3 4"},
		{"entries lost", func(b *memlog.Broker, n *testNode) {
			n.log.Cut(true)
			seq := b.PutForeign("k", []byte("x"))
			b.PutForeign("k", []byte("y"))
			b.PutForeign("k", []byte("z"))
			b.Hole(0, seq, seq+1)
			n.log.Cut(false)
		}, "0 1 2 HOLE z 3 4"},
		{"entries removed by retention", func(b *memlog.Broker, n *testNode) {
			n.log.Cut(true)
			b.PutForeign("k", []byte("x"))
			seq := b.PutForeign("k", []byte("y"))
			time.Sleep(time.Second)
			b.Purge(0, seq) // with the entry of the epoch
			n.log.Cut(false)
		}, "0 1 2 HOLE y 3 4"},
		{"an entry that is not an event", func(b *memlog.Broker, n *testNode) { b.PutForeign("k", []byte("\xff")) }, "0 1 2 3 4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memlog.New(1)
				a := startNode(t, b, "a", nil)
				a.settle(t)
				a.must(t, event("k", "0"), event("l", "1"), event("k", "2"))
				synctest.Wait()
				c.fault(b, a)
				time.Sleep(10 * time.Second)
				a.must(t, event("k", "3"), event("l", "4"))
				time.Sleep(time.Second)
				equal(t, "the node has", a.rec.data(), c.want)
				checkRecords(t, a.rec)
				equal(t, "behind", a.Status().Behind, 0)
				a.rec.mu.Lock()
				defer a.rec.mu.Unlock()
				equal(t, "the engine's watermark", a.rec.applied[0], b.Last(0))
			})
		})
	}
}

// skipping leaves out the same entries each time.
type skipping struct {
	cluster.Log
	from, to uint64
}

func (l skipping) Read(ctx ctx, partition int, after uint64, handle func(*cluster.Entry) error, idle func(uint64)) error {
	return l.Log.Read(ctx, partition, after, func(e *cluster.Entry) error {
		if e.Seq >= l.from && e.Seq <= l.to {
			return nil
		}
		return handle(e)
	}, idle)
}

// A log that goes on leaving out the same entries does not stop the node: they count as lost.
func TestEntriesThatAreAlwaysLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a := startNode(t, b, "a", func(o *cluster.Options) { o.Log = skipping{o.Log, 3, 4} })
		a.settle(t)
		for i := range 5 {
			a.must(t, event("k", fmt.Sprint(i))) // sequences 2 to 6
		}
		time.Sleep(10 * time.Second)
		equal(t, "the node has", a.rec.data(), "0 HOLE 3 4")
		checkRecords(t, a.rec)
	})
}

// While the broker is away a node tries once a second, not in a tight loop, and comes back within a second.
func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		count := &counting{}
		a := startNode(t, b, "a", func(o *cluster.Options) { count.Log = o.Log; o.Log = count })
		a.settle(t)
		b.Down()
		before := count.states.Load()
		time.Sleep(time.Minute)
		if tries := count.states.Load() - before; tries < 60 || tries > 130 {
			t.Errorf("%d attempts within a minute, want one in 0.5 to 1 s", tries)
		}
		b.Up()
		b.PutForeign("k", []byte("1"))
		time.Sleep(time.Second)
		equal(t, "the node has, a second later", a.rec.data(), "1")
	})
}

// deaf is a log whose first Read hears nothing, as one whose server has forgotten the reader.
type deaf struct {
	cluster.Log
	reads *atomic.Int64
}

func (l deaf) Read(ctx ctx, partition int, after uint64, handle func(*cluster.Entry) error, idle func(uint64)) error {
	if l.reads.Add(1) == 1 {
		<-ctx.Done()
		return ctx.Err()
	}
	return l.Log.Read(ctx, partition, after, handle, idle)
}

func TestReaderGivesUpASilentLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a := startNode(t, b, "a", func(o *cluster.Options) { o.Log = deaf{o.Log, new(atomic.Int64)} })
		a.settle(t)
		b.PutForeign("k", []byte("1"))
		time.Sleep(12 * time.Second)
		equal(t, "the node has", a.rec.data(), "1")
	})
}

// An entry that cannot be read is passed, also if it is the last one.
func TestInvalidEntryIsPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := startOne(t)
		b.PutForeign("k", []byte("\xff"))
		synctest.Wait()
		a.rec.mu.Lock()
		defer a.rec.mu.Unlock()
		equal(t, "the engine's watermark", a.rec.applied[0], b.Last(0))
	})
}
