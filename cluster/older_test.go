package cluster_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/cluster"
	"fanfare/engine"
	"fanfare/internal/test/memlog"
)

// older fetches a range and returns the data of its events, separated by spaces.
func (n *testNode) older(t *testing.T, m engine.Missing) (string, error) {
	events, err := n.Older(t.Context(), m)
	var all []string
	n.rec.mu.Lock()
	defer n.rec.mu.Unlock()
	for _, ev := range events {
		e := n.rec.events[ev]
		if e.Seq <= m.After || e.Seq > m.Through {
			t.Errorf("the range %d to %d has an event %d", m.After, m.Through, e.Seq)
		}
		all = append(all, text(e.Frame))
	}
	return strings.Join(all, " "), err
}

// filled makes a log with events of the keys k and l in turn, and broadcasts: data 0 to count-1 at sequences 2 and up.
func filled(t *testing.T, b *memlog.Broker, count int, change func(*cluster.Options)) *testNode {
	a := startNode(t, b, "a", change)
	a.settle(t)
	var messages []cluster.Message
	for i := range count {
		switch i % 3 {
		case 0:
			messages = append(messages, event("k", fmt.Sprint(i)))
		case 1:
			messages = append(messages, event("l", fmt.Sprint(i)))
		default:
			messages = append(messages, broadcast(fmt.Sprint(i)))
		}
	}
	a.must(t, messages...)
	synctest.Wait()
	return a
}

func TestOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a := filled(t, b, 12, nil)
		for _, c := range []struct {
			m    engine.Missing
			want string
		}{
			{engine.Missing{Key: "k", After: 0, Through: 13}, "0 3 6 9"},
			{engine.Missing{Key: "k", After: 2, Through: 8}, "3 6"},
			{engine.Missing{Key: "l", After: 3, Through: 3}, ""},
			{engine.Missing{All: true, After: 1, Through: 12}, "2 5 8"},
			{engine.Missing{Key: "k", Newest: 2, Through: 13}, "6 9"},
			{engine.Missing{Key: "k", Newest: 2, Through: 9}, "3 6"},
			{engine.Missing{Key: "k", Newest: 2, Through: 8}, "3 6"},
			{engine.Missing{Key: "k", Newest: 20, Through: 13}, "0 3 6 9"},
			{engine.Missing{Key: "k", Newest: 20, Through: 10}, "0 3 6"},
			{engine.Missing{Key: "k", Since: time.Now().Add(time.Hour), Through: 13}, ""},
			{engine.Missing{Key: "nobody", After: 1, Through: 13}, ""},
		} {
			c.m.Epoch = a.rec.currentEpoch()
			got, err := a.older(t, c.m)
			if got != c.want || err != nil {
				t.Errorf("Older(%+v) = %q, %v; want %q", c.m, got, err, c.want)
			}
		}
	})
}

// 18,000 clients of one key that come back at once make one fetch, whatever their positions.
func TestOlderIsFetchedOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a := filled(t, b, 3000, nil)
		var all sync.WaitGroup
		var failed atomic.Int64
		comeBack := func(clients int) {
			for i := range clients {
				all.Go(func() {
					after := uint64(2500 - i%2500) // the first one wants least
					events, err := a.Older(t.Context(), engine.Missing{Epoch: a.rec.currentEpoch(), Key: "k", After: after, Through: uint64(2600 + i%7)})
					if err != nil || len(events) < 30 {
						failed.Add(1)
					}
				})
			}
		}
		b.HoldFetches(true)
		comeBack(18_000)
		synctest.Wait()
		b.HoldFetches(false)
		all.Wait()
		if n := b.Fetches(); n > 1 {
			t.Errorf("%d fetches for 18,000 clients at once", n)
		}
		// And those who come within the next seconds make few more.
		before := b.Fetches()
		for range 8 {
			time.Sleep(time.Second)
			comeBack(1000)
			all.Wait()
		}
		if n := b.Fetches() - before; n > 3 {
			t.Errorf("%d fetches for those who came later", n)
		}
		equal(t, "clients without their events", failed.Load(), 0)

		// What nobody uses any more is not kept.
		time.Sleep(time.Minute)
		before = b.Fetches()
		comeBack(1)
		all.Wait()
		equal(t, "fetches after a minute", b.Fetches()-before, 1)
	})
}

func TestOlderConcurrencyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a := filled(t, b, 100, func(o *cluster.Options) { o.OlderConcurrency = 3 })
		for i := range 20 {
			a.must(t, event(fmt.Sprint(i), "x"))
		}
		synctest.Wait()
		b.HoldFetches(true)
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				if _, err := a.Older(t.Context(), engine.Missing{Epoch: a.rec.currentEpoch(), Key: fmt.Sprint(i), After: 1, Through: 121}); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Second)
		equal(t, "fetches at once", b.Fetches(), 3)
		b.HoldFetches(false)
		all.Wait()
		equal(t, "fetches in all", b.Fetches(), 20)
	})
}

// A log that goes on with events of other keys does not make the clients of a quiet key fetch again.
func TestOlderOfAQuietKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a := filled(t, b, 300, nil)
		for i := range 3000 {
			if i%10 == 0 {
				a.must(t, event("other", "x"))
				synctest.Wait()
			}
			for _, newest := range []int{0, 3} {
				m := engine.Missing{Epoch: a.rec.currentEpoch(), Key: "k", After: uint64(i % 100), Through: a.Positions()[0], Newest: newest}
				if got, err := a.older(t, m); err != nil || !strings.HasSuffix(got, "291 294 297") {
					t.Fatalf("Older(%+v) = %q, %v", m, got, err)
				}
			}
		}
		if n := b.Fetches(); n > 2 {
			t.Errorf("%d fetches", n)
		}
		// An event of the key is seen.
		a.must(t, event("k", "new"))
		synctest.Wait()
		m := engine.Missing{Epoch: a.rec.currentEpoch(), Key: "k", After: 1, Through: a.Positions()[0]}
		if got, err := a.older(t, m); err != nil || !strings.HasSuffix(got, " 297 new") {
			t.Errorf("after an event: %q, %v", got, err)
		}
	})
}

// Clients that come one after the other, each with an older position than the one before, share fetches too.
func TestOlderIsRounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a := filled(t, b, 3000, nil)
		for after := uint64(2500); after > 100; after -= 7 {
			if _, err := a.older(t, engine.Missing{Epoch: a.rec.currentEpoch(), Key: "k", After: after, Through: 2600}); err != nil {
				t.Fatal(err)
			}
		}
		if n := b.Fetches(); n > 3 {
			t.Errorf("%d fetches", n)
		}
	})
}

// Since is exact, although clients within a second share a fetch. The engine is a real one: its events have times.
func TestOlderSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		eng := engine.New(engine.Options{Log: &engine.LogOptions{}})
		defer eng.Close()
		n, err := cluster.NewNode(cluster.Options{Name: "a", Engine: eng, Log: b.Log()})
		if err != nil {
			t.Fatal(err)
		}
		n.Start()
		defer n.Close()
		if err := n.Settled(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			var r [1]cluster.Result
			n.Publish(t.Context(), []cluster.Message{event("k", fmt.Sprint(i))}, r[:])
			if r[0].Err != nil {
				t.Fatal(r[0].Err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		now := time.Now() // a second after the first event
		for back := range 10 {
			m := engine.Missing{Epoch: eng.Applied(0).Epoch, Key: "k", Through: eng.Applied(0).Seq, Since: now.Add(-time.Duration(back) * 100 * time.Millisecond)}
			if events, err := n.Older(t.Context(), m); err != nil || len(events) != back {
				t.Errorf("since %d00 ms: %d events, %v", back, len(events), err)
			}
		}
	})
}

// Who asks for too much gets the newest part. The others get everything.
func TestOlderIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a := filled(t, b, 2000, func(o *cluster.Options) { o.OlderMaxEvents = 1000 })
		time.Sleep(time.Minute) // the entry of the epoch is repeated
		b.Purge(0, 500)
		b.HoldFetches(true)
		errs, texts := make([]error, 1500), make([]string, 1500)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() {
				texts[i], errs[i] = a.older(t, engine.Missing{Epoch: a.rec.currentEpoch(), Key: "k", After: uint64(i), Through: 1400})
			})
		}
		synctest.Wait()
		b.HoldFetches(false)
		all.Wait()
		for i, err := range errs {
			if old := i < 499; old != errors.Is(err, cluster.ErrTooOld) || !old && err != nil {
				t.Errorf("after %d: %v", i, err)
			}
			if want := numbers(max(i, 499), 1400); texts[i] != want {
				t.Errorf("after %d: %q, want %q", i, texts[i], want)
			}
		}
		if n := b.Fetches(); n > 10 {
			t.Errorf("%d fetches", n)
		}
	})
}

func TestOlderAfterTheLogHasGoneBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a := filled(t, b, 30, nil)
		m := engine.Missing{Epoch: a.rec.currentEpoch(), Key: "k", After: 1, Through: 20}
		if _, err := a.older(t, m); err != nil {
			t.Fatal(err)
		}
		// The reader does not know yet, and the range is there: it has other events.
		b.GoBack(0, 25)
		for range 20 {
			b.PutForeign("k", []byte("other"))
		}
		m.Key = "l"
		if got, err := a.older(t, m); err == nil {
			t.Errorf("Older = %q although the log has gone back", got)
		}
		// The reader knows.
		time.Sleep(10 * time.Second)
		m.Key = "k"
		if got, err := a.older(t, m); err == nil {
			t.Errorf("Older = %q for positions of the last epoch", got)
		}
		m.Epoch = a.rec.currentEpoch()
		if got, err := a.older(t, m); err != nil || got != "" {
			t.Errorf("Older = %q, %v before the epoch began, want nothing", got, err)
		}
	})
}

func TestOlderEndsWithItsContextAndWithTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a := filled(t, b, 30, nil)
		b.HoldFetches(true)
		m := engine.Missing{Epoch: a.rec.currentEpoch(), Key: "k", After: 1, Through: 20}
		began := time.Now()
		_, err := a.older(t, m)
		if err == nil || time.Since(began) > 10*time.Second {
			t.Errorf("%v after %s, want an error within 10 s", err, time.Since(began))
		}
		time.AfterFunc(time.Second, a.Close)
		began = time.Now()
		if _, err := a.older(t, m); err == nil || time.Since(began) != time.Second {
			t.Errorf("%v after %s, want an error when the node is closed", err, time.Since(began))
		}
		if _, err := a.older(t, engine.Missing{Epoch: m.Epoch, Key: "l", After: 1, Through: 20}); err == nil {
			t.Error("no error after Close")
		}
	})
}

// Over the bounds a rewind gets the newest events that fit, and ErrTooOld for the others.
func TestOlderRewindIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		size := int64(len(frame("300").Bytes))
		a := filled(t, b, 600, func(o *cluster.Options) { o.OlderBytes, o.OlderMaxEvents = 3*size, 400 })
		began := time.Now()
		time.Sleep(time.Minute)
		for _, c := range []struct {
			name string
			m    engine.Missing
			want string
			cut  bool
		}{
			{"newest", engine.Missing{Newest: 100}, "591 594 597", true},
			{"newest, and it fits", engine.Missing{Newest: 2}, "594 597", false},
			{"all that is kept", engine.Missing{Newest: math.MaxInt}, "591 594 597", true},
			{"since then, nothing", engine.Missing{Since: began.Add(time.Second)}, "", false},
			{"oldest", engine.Missing{Oldest: 2}, "0 3", false},
			{"oldest, the bytes", engine.Missing{Oldest: 100, After: 400}, "399 402 405", false},
			{"oldest of what another window has", engine.Missing{Oldest: 2, After: 1}, "0 3", false},
		} {
			c.m.Key, c.m.Through, c.m.Epoch = "k", 601, a.rec.currentEpoch()
			got, err := a.older(t, c.m)
			if got != c.want || errors.Is(err, cluster.ErrTooOld) != c.cut || err != nil && !c.cut {
				t.Errorf("%s: %q, %v; want %q, too old: %v", c.name, got, err, c.want, c.cut)
			}
		}
		// A page begins with the oldest event that the log has.
		b.Purge(0, 302)
		got, err := a.older(t, engine.Missing{Key: "k", Through: 601, Epoch: a.rec.currentEpoch(), Oldest: 2})
		if got != "300 303" || !errors.Is(err, cluster.ErrTooOld) {
			t.Errorf("%q, %v; want the first two, and that others are gone", got, err)
		}
	})
}

// A page looks for its first event beyond the bound of one fetch, but not without end.
func TestOlderPageOfAQuietKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a := filled(t, b, 600, func(o *cluster.Options) { o.OlderMaxEvents = 50 })
		a.must(t, event("quiet", "x"))
		synctest.Wait()
		m := engine.Missing{Key: "quiet", After: 200, Through: b.Last(0), Epoch: a.rec.currentEpoch(), Oldest: 3}
		if got, err := a.older(t, m); got != "x" || err != nil {
			t.Errorf("%q, %v; want the event", got, err)
		}
		m.After = 1
		if got, err := a.older(t, m); !errors.Is(err, cluster.ErrTooOld) {
			t.Errorf("%q, %v; want ErrTooOld after too many entries", got, err)
		}
	})
}
