package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/cluster"
	"fanfare/internal/test/memlog"
)

func TestEveryNodeReadsWhatOnePublishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a, c := startNode(t, b, "a", nil), startNode(t, b, "c", nil)
		a.settle(t)
		c.settle(t)
		first := a.must(t, event("news", "1"), event("news", "2"), broadcast("3"))
		second := c.must(t, event("other", "4"))
		synctest.Wait()
		equal(t, "a has", a.rec.data(), "1 2 3 4")
		equal(t, "c has", c.rec.data(), "1 2 3 4")
		if last := first[2]; second[0].Seq != last.Seq+1 || second[0].Epoch != last.Epoch || last.Epoch != a.rec.currentEpoch() {
			t.Errorf("the results are %+v and %+v", first, second)
		}
		equal(t, "a's position", a.Positions()[0], second[0].Seq)
	})
}

// A lost acknowledgement, a lost message, and a broker without a leader: the node tries again, and the log stores once.
func TestPublishTriesAgain(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault func(*memlog.Broker)
	}{
		{"lost acknowledgement", func(b *memlog.Broker) { b.LoseAcks(3) }},
		{"lost message", func(b *memlog.Broker) { b.Drop(3) }},
		{"stalled broker", func(b *memlog.Broker) {
			b.Stall(true)
			time.AfterFunc(6*time.Second, func() { b.Stall(false) })
		}},
		{"acknowledgements that do not come", func(b *memlog.Broker) {
			b.HoldAcks(true)
			time.AfterFunc(6*time.Second, func() { b.HoldAcks(false) })
		}},
		{"broker away for a short time", func(b *memlog.Broker) {
			b.Down()
			time.AfterFunc(6*time.Second, b.Up)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memlog.New(1)
				a := startNode(t, b, "a", nil)
				a.settle(t)
				c.fault(b)
				a.must(t, event("k", "1"), event("l", "2"), event("m", "3"))
				time.Sleep(time.Minute)
				equal(t, "the number of stored events", len(stored(b, 0)), len("1 2 3"))
				equal(t, "the node has", a.rec.data(), stored(b, 0))
			})
		})
	}
}

func TestPublishGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := startOne(t)

		// No acknowledgement: unknown, after PublishTimeout. The repetition with the same ID is stored once.
		b.HoldAcks(true)
		m := event("k", "1")
		m.ID = "k:1"
		began := time.Now()
		r := a.publish(m)[0]
		if !errors.Is(r.Err, cluster.ErrUnknown) || time.Since(began) != 15*time.Second {
			t.Errorf("without acknowledgements: %+v after %s, want ErrUnknown after 15 s", r, time.Since(began))
		}
		b.HoldAcks(false)
		r = a.publish(m)[0]
		if r.Err != nil || !r.Duplicate || r.Epoch == 0 {
			t.Errorf("the repetition: %+v, want a duplicate", r)
		}
		equal(t, "stored", stored(b, 0), "1")

		// The broker is away: not stored. The first publish waits, later ones do not.
		b.Down()
		began = time.Now()
		if r := a.publish(event("k", "2"))[0]; !errors.Is(r.Err, cluster.ErrAway) || time.Since(began) != 15*time.Second {
			t.Errorf("without a broker: %+v after %s, want ErrAway after 15 s", r, time.Since(began))
		}
		began = time.Now()
		if r := a.publish(event("k", "3"))[0]; !errors.Is(r.Err, cluster.ErrAway) || time.Since(began) != 0 {
			t.Errorf("without a broker for long: %+v after %s, want ErrAway at once", r, time.Since(began))
		}
		b.Up()
		a.must(t, event("k", "4"))

		// A message that may have been stored stays unknown, whatever later attempts say.
		b.Drop(1)
		time.AfterFunc(10*time.Millisecond, b.Down)
		if r := a.publish(event("k", "5"))[0]; !errors.Is(r.Err, cluster.ErrUnknown) {
			t.Errorf("unknown, then away: %+v, want ErrUnknown", r)
		}
		b.Up()
		time.Sleep(2 * time.Second)
		b.Drop(1)
		time.AfterFunc(10*time.Millisecond, func() { b.Refuse(1, cluster.ErrFull) })
		if r := a.publish(event("k", "6"))[0]; !errors.Is(r.Err, cluster.ErrUnknown) {
			t.Errorf("unknown, then full: %+v, want ErrUnknown", r)
		}

		// Errors that a repetition does not help.
		b.Refuse(1, cluster.ErrFull)
		if r := a.publish(event("k", "7"))[0]; !errors.Is(r.Err, cluster.ErrFull) {
			t.Errorf("a full log: %+v, want ErrFull", r)
		}
		b.MaxFrame = 100
		if r := a.publish(event("k", string(make([]byte, 100))))[0]; !errors.Is(r.Err, cluster.ErrTooLarge) {
			t.Errorf("a large event: %+v, want ErrTooLarge", r)
		}
		equal(t, "stored", stored(b, 0), "1 4")
	})
}

// After an interruption nothing is published before the reader has looked whether the log has gone back: the first event
// could get a sequence that was used before.
func TestPublishWaitsUntilTheReaderAgrees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := startOne(t)
		a.number(t, 10)
		b.Down()
		time.Sleep(time.Second)
		b.GoBack(0, 5)
		b.Up()
		a.must(t, event("k", "after"))
		messages := b.Messages(0)
		equal(t, "entries", len(messages), 8)
		equal(t, "the entry after those that are left", messages[6].Op, cluster.OpEpoch)
	})
}

// An event is never stored after a later one of its key.
func TestPublishKeepsTheOrderOfKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := startOne(t)
		for _, c := range []struct {
			messages []cluster.Message
			unknown  int // the index of the one that must be given up, or -1
			want     string
		}{
			{[]cluster.Message{event("k", "1"), event("k", "2"), event("l", "3")}, 0, "2 3"},
			{[]cluster.Message{event("k", "4"), event("l", "5")}, -1, "5 4"},
			{[]cluster.Message{event("k", "6"), broadcast("7")}, 0, "7"},
			{[]cluster.Message{broadcast("8"), event("l", "9")}, 0, "9"},
		} {
			before := stored(b, 0)
			b.Drop(1)
			for i, r := range a.publish(c.messages...) {
				if unknown := errors.Is(r.Err, cluster.ErrUnknown); unknown != (i == c.unknown) {
					t.Errorf("message %s: %+v", text(c.messages[i].Frame), r)
				}
			}
			want := c.want
			if before != "" {
				want = before + " " + want
			}
			equal(t, "stored", stored(b, 0), want)
		}
	})
}

func TestPublishEndsWithItsContextAndWithTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := startOne(t)
		b.Stall(true)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var r [1]cluster.Result
		began := time.Now()
		a.Publish(ctx, []cluster.Message{event("k", "1")}, r[:])
		if !errors.Is(r[0].Err, cluster.ErrUnknown) || time.Since(began) != time.Second {
			t.Errorf("%+v after %s, want ErrUnknown after 1 s", r[0], time.Since(began))
		}
		time.AfterFunc(time.Second, a.Close)
		began = time.Now()
		if r := a.publish(event("k", "1"))[0]; r.Err == nil || time.Since(began) != time.Second {
			t.Errorf("%+v after %s, want an error when the node is closed", r, time.Since(began))
		}
	})
}

func queueing(o *cluster.Options) { o.Queue = true }

func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(2)
		a := startNode(t, b, "a", queueing)
		a.settle(t)
		a.must(t, event("k", "0"))
		b.Down()
		data := []byte(frame("1").Bytes)
		m := event("k", "")
		m.Frame = frame("1")
		m.Frame.Bytes = data
		if r := a.publish(m)[0]; r.Err != nil || !r.Queued {
			t.Fatalf("without a broker: %+v, want it queued", r)
		}
		copy(data, "XXXXXXXXXXX") // the caller may reuse its frame
		for i := 2; i <= 300; i++ {
			if r := a.publish(event("k", fmt.Sprint(i)))[0]; r.Err != nil || !r.Queued {
				t.Fatalf("without a broker: %+v, want it queued", r)
			}
		}
		equal(t, "queued", a.Status().Queued, 300)

		// The broker is back, and drops some messages. What comes meanwhile waits for its turn, and is stored.
		b.Drop(5)
		b.LoseAcks(5)
		b.Up()
		a.must(t, event("k", "301"))
		equal(t, "queued", a.Status().Queued, 0)
		synctest.Wait()
		want := "0"
		for i := 1; i <= 301; i++ {
			want += fmt.Sprint(" ", i)
		}
		equal(t, "stored", stored(b, cluster.PartitionOf("k", 2)), want)
		equal(t, "the node has", a.rec.data(), want)
	})
}

// A broadcast is of every key: nothing overtakes it, and it overtakes nothing.
func TestQueuedBroadcast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a := startNode(t, b, "a", queueing)
		a.settle(t)
		b.Down()
		a.publish(event("k", "1"), event("l", "2"))
		a.publish(broadcast("3"))
		a.publish(event("k", "4"))
		a.publish(event("l", "5"), event("k", "6"))
		b.Up()
		a.must(t, broadcast("7"))
		equal(t, "stored", stored(b, 0), "1 2 3 4 5 6 7")

		// Also if its key has nothing queued. The log is full at first, so the broadcast stays in the queue.
		b.Down()
		a.publish(broadcast("8"))
		b.Refuse(1000, cluster.ErrFull)
		b.Up()
		time.AfterFunc(5*time.Second, func() { b.Refuse(0, nil) })
		time.Sleep(3 * time.Second)
		a.must(t, event("m", "9"))
		equal(t, "stored", stored(b, 0), "1 2 3 4 5 6 7 8 9")
	})
}

// Only later events of the same keys wait for queued ones.
func TestOtherKeysDoNotWaitForTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a := startNode(t, b, "a", queueing)
		a.settle(t)
		b.Down()
		a.publish(event("k", "1"))
		b.Up() // the queue looks again only later
		a.must(t, event("l", "2"))
		a.must(t, event("k", "3"))
		equal(t, "stored", stored(b, 0), "2 1 3")
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a := startNode(t, b, "a", func(o *cluster.Options) { o.Queue, o.QueueBytes = true, 10_000 })
		a.settle(t)
		b.Down()
		queued := 0
		for ; queued < 1000; queued++ {
			r := a.publish(event("k", fmt.Sprint(queued)))[0]
			if errors.Is(r.Err, cluster.ErrAway) {
				if !strings.Contains(r.Err.Error(), "awayBytes") { // the setting's name
					t.Error(r.Err)
				}
				break
			}
		}
		if queued < 20 || queued > 60 {
			t.Errorf("%d events are queued in 10,000 bytes", queued)
		}
		b.Up()
		time.Sleep(10 * time.Second)
		a.must(t, event("k", "last"))
		equal(t, "the number of stored events", len(b.Messages(0)), 1+queued+1)
	})
}

func TestCloseWaitsForTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a := startNode(t, b, "a", queueing)
		a.settle(t)
		b.Down()
		a.publish(event("k", "1"))
		b.Up()
		a.Close()
		equal(t, "stored", stored(b, 0), "1")
		if r := a.publish(event("k", "2"))[0]; r.Err == nil {
			t.Errorf("after Close: %+v, want an error", r)
		}
	})
}

// DrainQueue waits for a broker that is away, but not for longer than it may.
func TestDrainQueueWaitsForTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a, c := startNode(t, b, "a", queueing), startNode(t, b, "c", queueing)
		a.settle(t)
		c.settle(t)
		b.Down()
		a.publish(event("k", "1"))
		c.publish(event("l", "2"))
		began := time.Now()
		short, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		equal(t, "lost events", c.DrainQueue(short), 1)
		equal(t, "it took", time.Since(began), 3*time.Second)
		c.Close()
		time.AfterFunc(5*time.Second, b.Up)
		equal(t, "lost events", a.DrainQueue(t.Context()), 0)
		equal(t, "stored", stored(b, 0), "1")
	})
}
