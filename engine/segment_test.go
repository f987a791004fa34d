package engine

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
	"weak"
)

// checkSegments fails unless the key's segments are dense and every cursor has the index of its place.
func checkSegments(t *testing.T, k *key) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	var list []*segment
	if p := k.segments.Load(); p != nil {
		list = *p
	}
	for at, seg := range list {
		if at < len(list)-1 && int(seg.n.Load()) != segmentSize || seg.n.Load() == 0 {
			t.Fatalf("segment %d of %d has %d cursors", at, len(list), seg.n.Load())
		}
		for i := range seg.slots {
			c := seg.slots[i].Load()
			if i >= int(seg.n.Load()) {
				if c != nil {
					t.Fatalf("segment %d keeps a cursor that has left", at)
				}
				continue
			}
			if c == nil || int(c.index) != n {
				t.Fatalf("place %d holds %+v", n, c)
			}
			n++
		}
	}
	if n != int(k.subscribers.Load()) {
		t.Fatalf("%d places are taken by %d subscribers", n, k.subscribers.Load())
	}
}

// TestManyJoinAndLeave measures the work in allocated bytes, not in time: a join and a leave must not cost more when
// the key has many subscribers.
func TestManyJoinAndLeave(t *testing.T) {
	e := start(t, Options{Key: KeyOptions{MaxSubscribers: 20_000}})
	subs := make([]*Subscriber, 20_000)
	for i := range subs {
		subs[i] = subscribe(t, e, "", "k")
	}
	k := mustKey(t, e, "k")
	checkSegments(t, k)
	list := *k.segments.Load()
	if want := (20_000 + segmentSize - 1) / segmentSize; len(list) != want {
		t.Errorf("%d segments, want %d", len(list), want)
	}

	// One subscriber leaves, and one joins. This allocates nothing except, at the border of a segment, a segment and a
	// list of segments.
	const rounds = 1000
	var before, after runtime.MemStats
	rng := rand.New(rand.NewPCG(1, 2))
	fresh := make([]Subscriber, rounds)
	sink, keys := new(countSink), []string{"k"}
	runtime.ReadMemStats(&before)
	for i := range rounds {
		subs[rng.IntN(len(subs))].Close(ReasonGone)
		if k.subscribers.Load() == 20_000 {
			continue // it had left before
		}
		if _, err := e.Subscribe(&fresh[i], keys, "", sink); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if perRound := (after.TotalAlloc - before.TotalAlloc) / rounds; perRound > 200 {
		t.Errorf("%d bytes for a leave and a join among 20,000", perRound)
	}
	checkSegments(t, k)

	for _, i := range rng.Perm(len(subs)) {
		subs[i].Close(ReasonGone)
	}
	for i := range fresh {
		if fresh[i].sink != nil {
			fresh[i].Close(ReasonGone)
		}
	}
	if k.segments.Load() != nil || k.subscribers.Load() != 0 {
		t.Errorf("%d subscribers are left", k.subscribers.Load())
	}
}

func TestSegmentsStayDense(t *testing.T) {
	e := start(t, Options{})
	rng := rand.New(rand.NewPCG(3, 4))
	var subs []*Subscriber
	for round := range 3000 {
		// Grow to several segments and shrink to none, alternately.
		if up := round/750%2 == 0; rng.IntN(4) > 0 == up || len(subs) == 0 {
			subs = append(subs, subscribe(t, e, "", "k"))
		} else {
			i := rng.IntN(len(subs))
			subs[i].Close(ReasonGone)
			subs = slices.Delete(subs, i, i+1)
		}
		checkSegments(t, mustKey(t, e, "k"))
	}
}

// TestEverySubscriberIsNotified has a key of each size around the borders of segments. An event notifies every
// subscriber, whichever segment it is in.
func TestEverySubscriberIsNotified(t *testing.T) {
	for _, n := range []int{1, 2, 3, 16, 17, 255, 256, 257, 512, 513, 1200} {
		e := start(t, Options{Wakers: 3})
		var notified sync.WaitGroup
		subs := make([]Subscriber, n)
		for i := range subs {
			notified.Add(1)
			if _, err := e.Subscribe(&subs[i], []string{"k"}, "", waitGroupSink{&notified}); err != nil {
				t.Fatal(err)
			}
			if !subs[i].Release() {
				t.Fatal("news before the first event")
			}
		}
		if p, err := e.Publish("k", text("x")); err != nil || p.Subscribers != n {
			t.Fatal(p, err)
		}
		notified.Wait()
		for i := range subs { // the sinks own them now, and these belong to the test
			if got := drain(&subs[i]); len(got) != 1 {
				t.Fatalf("subscriber %d of %d got %v", i, n, got)
			}
		}
	}
}

type waitGroupSink struct{ wg *sync.WaitGroup }

func (d waitGroupSink) Ready() { d.wg.Done() }

// TestLeaveDuringScan: the waker has scanned the place to which leave moves a cursor, and not yet the place from which
// it moves. The subscriber that leaves notifies the moved one.
func TestLeaveDuringScan(t *testing.T) {
	e := start(t, Options{})
	stopWakers(e) // without wakers only the test notifies
	first, last := new(Subscriber), new(Subscriber)
	sink := new(countSink)
	for _, s := range []*Subscriber{first, last} {
		if _, err := e.Subscribe(s, []string{"k"}, "", sink); err != nil {
			t.Fatal(err)
		}
	}
	if !last.Release() {
		t.Fatal("not released")
	}
	publish(t, e, "k", 1)
	first.Close(ReasonGone)
	if got := sink.ready.Load(); got != 1 {
		t.Errorf("%d wake-ups, want one, of the subscriber that was moved", got)
	}
	if got := drain(last); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

// TestScanOfAReplacedSegment: a publisher has loaded the first segment just before a join replaces it by a larger one.
// The old segment notifies the subscribers that were in it. Whoever joins later finds the event in the ring.
func TestScanOfAReplacedSegment(t *testing.T) {
	e := start(t, Options{})
	stopWakers(e)
	sink := new(countSink)
	subs := make([]Subscriber, 300)
	join := func(s *Subscriber) {
		if _, err := e.Subscribe(s, []string{"k"}, "", sink); err != nil {
			t.Fatal(err)
		}
	}
	join(&subs[0])
	join(&subs[1])
	subs[0].Release()
	subs[1].Release()
	k := mustKey(t, e, "k")
	old := (*k.segments.Load())[0]
	from := k.tail() + 1
	publish(t, e, "k", 1)
	for i := range subs[2:] {
		join(&subs[2+i])
	}
	old.notifySubscribers()
	if got := sink.ready.Load(); got != 2 {
		t.Errorf("%d wake-ups", got)
	}
	if subs[2].cursors[0].next != from+1 {
		t.Errorf("a later subscriber begins at %d", subs[2].cursors[0].next)
	}
	if second := (*k.segments.Load())[1]; !second.queued.Load() {
		t.Error("the second segment is not scheduled")
	}
}

// TestClosedSubscriberIsCollected: neither the key's segments nor a waker's queue refers to a subscriber that has left,
// so the garbage collector frees it.
func TestClosedSubscriberIsCollected(t *testing.T) {
	e := start(t, Options{})
	var gone []weak.Pointer[Subscriber]
	var staying []*Subscriber
	for i := range 600 {
		s := subscribe(t, e, "", "k", "other")
		if i%3 == 0 {
			staying = append(staying, s)
		} else {
			gone = append(gone, weak.Make(s))
		}
		if i%50 == 0 {
			publish(t, e, "k", 1)
		}
	}
	for _, p := range gone {
		if s := p.Value(); s != nil {
			s.Close(ReasonGone)
		}
	}
	publish(t, e, "k", 1)
	deadline := time.Now().Add(10 * time.Second)
	for _, p := range gone {
		for p.Value() != nil {
			if runtime.GC(); time.Now().After(deadline) {
				t.Fatal("a closed subscriber is still referenced")
			}
		}
	}
	if e.Count("k") != len(staying) {
		t.Errorf("%d subscribers, want %d", e.Count("k"), len(staying))
	}
}
