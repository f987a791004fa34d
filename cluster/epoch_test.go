package cluster_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/cluster"
	"fanfare/internal/test/memlog"
)

// epochs returns how many epochs a partition of the broker has, without the entries that repeat one.
func epochs(b *memlog.Broker, partition int) (n int) {
	for _, m := range b.Messages(partition) {
		if m.Op == cluster.OpEpoch && m.Begun == 0 {
			n++
		}
	}
	return n
}

func TestNodesThatStartAtTheSameTimeBeginOneEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(3)
		var nodes []*testNode
		for i := range 5 {
			nodes = append(nodes, startNode(t, b, fmt.Sprint(i), nil))
		}
		for _, n := range nodes {
			n.settle(t)
		}
		for p := range 3 {
			equal(t, "epochs", epochs(b, p), 1)
			equal(t, "the condition of the epoch's entry", b.Messages(p)[0].After, 1) // compare and set
		}
		for _, n := range nodes[1:] {
			equal(t, "a node's epoch", n.rec.currentEpoch(), nodes[0].rec.currentEpoch())
		}
	})
}

// A fleet that is restarted goes on in its epoch.
func TestRestartKeepsTheEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := startOne(t)
		a.must(t, event("k", "1"))
		a.Close()
		a = startNode(t, b, "a", nil)
		a.settle(t)
		equal(t, "epochs", epochs(b, 0), 1)
		equal(t, "it has", a.rec.data(), "1")
	})
}

// Each way in which a log goes back ends in one new epoch, which all nodes enter, and nothing is delivered under a position
// that was used before.
func TestLogGoesBack(t *testing.T) {
	restart := func(b *memlog.Broker, f func()) {
		b.Down()
		time.Sleep(time.Second)
		f()
		b.Up()
	}
	for _, c := range []struct {
		name  string
		fault func(b *memlog.Broker, a, c *testNode)
	}{
		{"with a restart", func(b *memlog.Broker, a, c *testNode) { restart(b, func() { b.GoBack(0, 3) }) }},
		{"unnoticed", func(b *memlog.Broker, a, c *testNode) { b.GoBack(0, 3) }},
		{"to nothing", func(b *memlog.Broker, a, c *testNode) { b.GoBack(0, 11) }},
		{"and on before a node looks", func(b *memlog.Broker, a, c *testNode) {
			a.log.Cut(true)
			c.log.Cut(true)
			time.Sleep(time.Second)
			b.GoBack(0, 3)
			for i := range 20 {
				b.PutForeign("k", fmt.Append(nil, "foreign", i))
			}
			a.log.Cut(false)
			c.log.Cut(false)
		}},
		{"and one node looks late", func(b *memlog.Broker, a, c *testNode) {
			c.log.Cut(true)
			c.bus.Cut(true)
			b.GoBack(0, 3)
			for i := range 20 {
				a.publish(event("k", fmt.Sprint("late", i)))
			}
			time.Sleep(time.Minute)
			c.log.Cut(false)
			c.bus.Cut(false)
		}},
		{"made anew", func(b *memlog.Broker, a, c *testNode) { restart(b, b.Recreate) }},
		{"made anew and filled", func(b *memlog.Broker, a, c *testNode) {
			restart(b, func() {
				b.Recreate()
				for i := range 20 {
					b.PutForeign("k", fmt.Append(nil, "foreign", i))
				}
			})
		}},
		{"restored completely", func(b *memlog.Broker, a, c *testNode) { restart(b, b.Restore) }},
		{"not synced", func(b *memlog.Broker, a, c *testNode) { restart(b, func() { b.LoseSync(0) }) }},
		{"known only to the other node", func(b *memlog.Broker, a, c *testNode) {
			a.log.Cut(true) // it still hears on the bus what c knows
			for i := range 5 {
				c.publish(event("k", fmt.Sprint("more", i)))
			}
			time.Sleep(2 * time.Second)
			c.Close()
			b.GoBack(0, 5)
			a.log.Cut(false)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memlog.New(1)
				a, other := startNode(t, b, "a", nil), startNode(t, b, "c", nil)
				a.settle(t)
				other.settle(t)
				before := a.rec.currentEpoch()
				for i := range 10 {
					a.must(t, event("k", fmt.Sprint(i)))
				}
				synctest.Wait()
				c.fault(b, a, other)
				time.Sleep(10 * time.Second)
				a.must(t, event("k", "after"))
				synctest.Wait()
				if a.rec.currentEpoch() <= before {
					t.Errorf("no new epoch has begun")
				}
				for _, n := range []*testNode{a, other} {
					checkRecords(t, n.rec)
				}
				if !strings.Contains(a.rec.data(), " EPOCH") || !strings.HasSuffix(a.rec.data(), " after") {
					t.Errorf("the node has %q, want a notice of the epoch, and the last event", a.rec.data())
				}
				if other.Status().Nodes[0] == "a" && other.rec.currentEpoch() != a.rec.currentEpoch() && c.name != "known only to the other node" {
					t.Errorf("the nodes are in different epochs")
				}
				// From then on nothing happens.
				began := a.rec.currentEpoch()
				time.Sleep(time.Minute)
				equal(t, "the epoch after a minute", a.rec.currentEpoch(), began)
				agreeOn(t, a.rec, other.rec)

				// A node that starts now reads only the present epoch.
				d := startNode(t, b, "d", nil)
				d.settle(t)
				agreeOn(t, a.rec, d.rec)
				equal(t, "the new node's epoch", d.rec.currentEpoch(), a.rec.currentEpoch())
				var present []string
				for _, each := range a.rec.records() {
					if each.pos.Epoch == a.rec.currentEpoch() && each.data != "EPOCH" {
						present = append(present, each.data)
					}
				}
				equal(t, "the new node has", d.rec.data(), strings.Join(present, " "))
			})
		})
	}
}

// checkRecords fails unless positions ascend.
func checkRecords(t *testing.T, r *recorder) {
	t.Helper()
	last := map[int]record{}
	for _, each := range r.records() {
		before, ok := last[each.part]
		if ok && (each.pos.Epoch < before.pos.Epoch || each.pos.Epoch == before.pos.Epoch && each.pos.Seq <= before.pos.Seq) {
			t.Errorf("%+v was delivered after %+v", each, before)
		}
		last[each.part] = each
	}
}

// agreeOn fails if two nodes have different events at one position.
func agreeOn(t *testing.T, a, c *recorder) {
	t.Helper()
	type place struct {
		part       int
		epoch, seq uint64
	}
	have := map[place]record{}
	for _, each := range a.records() {
		have[place{each.part, each.pos.Epoch, each.pos.Seq}] = each
	}
	for _, each := range c.records() {
		other, ok := have[place{each.part, each.pos.Epoch, each.pos.Seq}]
		if ok && other != each {
			t.Errorf("one node has %+v, the other %+v", other, each)
		}
	}
}

// An event that was stored in a place which nobody reads any more is stored again, once.
func TestPublishNoticesThatTheLogHasGoneBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := startOne(t)
		a.number(t, 10)
		synctest.Wait()
		b.GoBack(0, 5) // at once, so the reader does not know yet
		m := event("k", "lost")
		m.ID = "one"
		first := a.must(t, m)[0]
		synctest.Wait()
		equal(t, "the epoch of the result", first.Epoch, a.rec.currentEpoch())
		c := startNode(t, b, "c", nil)
		c.settle(t)
		for _, n := range []*testNode{a, c, a} { // the log has it twice, and which one was read is not known
			if r := n.publish(m)[0]; !errors.Is(r.Err, cluster.ErrUnknown) {
				t.Errorf("%+v, want ErrUnknown", r)
			}
		}
		a.must(t, event("k", "later"))
		synctest.Wait()
		equal(t, "the node has", a.rec.data(), "0 1 2 3 4 5 6 7 8 9 EPOCH lost later")
	})
}

// An epoch that another node has begun in time: the event is in it, so the publish succeeds.
func TestPublishIntoAnEpochThatTheReaderHasNotMet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := startOne(t)
		a.number(t, 10)
		synctest.Wait()
		b.GoBack(0, 5)
		state, err := a.log.State(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		var epoch [1]cluster.Result
		m := cluster.Message{Op: cluster.OpEpoch, Epoch: a.rec.currentEpoch() + 1, After: state.Last + 1}
		if b.Log().Append(t.Context(), []cluster.Message{m}, epoch[:]); epoch[0].Err != nil {
			t.Fatal(epoch[0].Err)
		}
		r := a.must(t, event("k", "new"))[0]
		equal(t, "the epoch of the result", r.Epoch, m.Epoch)
		synctest.Wait()
		equal(t, "the node has", a.rec.data(), "0 1 2 3 4 5 6 7 8 9 EPOCH new")
	})
}

// A log that says for ever that it is not synced gets one epoch from each node, not one after the other.
func TestUnsyncedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a := startNode(t, b, "a", func(o *cluster.Options) { o.Log = alwaysUnsynced{o.Log} })
		a.settle(t)
		for range 10 {
			a.log.Cut(true)
			time.Sleep(2 * time.Second)
			a.log.Cut(false)
			time.Sleep(2 * time.Second)
		}
		equal(t, "epochs", epochs(b, 0), 1)
	})
}

type alwaysUnsynced struct{ cluster.Log }

func (l alwaysUnsynced) State(ctx ctx, partition int) (cluster.State, error) {
	s, err := l.Log.State(ctx, partition)
	s.Unsynced = true
	return s, err
}

// While nothing is published, the entry of the epoch is repeated by one node, so that retention does not remove the last one.
func TestEpochIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a, c := startNode(t, b, "a", nil), startNode(t, b, "c", nil)
		a.settle(t)
		c.settle(t)
		began := a.rec.currentEpoch()
		for range 10 {
			before := b.Last(0)
			time.Sleep(5 * time.Minute) // ReadBack
			if n := b.Last(0) - before; n < 1 || n > 3 {
				t.Errorf("%d entries in five minutes, want about 2", n)
			}
			b.Purge(0, before+1)
		}
		equal(t, "the epoch", a.rec.currentEpoch(), began)
		d := startNode(t, b, "d", nil)
		d.settle(t)
		equal(t, "the epoch of a node that starts", d.rec.currentEpoch(), began)
	})
}
