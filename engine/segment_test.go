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

// checkSegments fails unless the key's segments are dense and every cursor knows its place.
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
			t.Fatalf("segment %d of %d holds %d", at, len(list), seg.n.Load())
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

// TestManyJoinAndLeave measures the work in slots allocated, not in time: twice the subscribers may cost twice the
// slots and no more.
func TestManyJoinAndLeave(t *testing.T) {
	e := start(t, Options{Key: KeyOptions{MaxSubscribers: 20_000}})
	subs := make([]*Subscriber, 20_000)
	for i := range subs {
		subs[i] = subscribe(t, e, "", "k")
	}
	k := theKey(t, e, "k")
	checkSegments(t, k)
	list := *k.segments.Load()
	if want := (20_000 + segmentSize - 1) / segmentSize; len(list) != want {
		t.Errorf("%d segments, want %d", len(list), want)
	}

	// One leaves, one joins: nothing is allocated but the subscriber, at the edge of a segment a segment and a list of
	// them.
	const rounds = 1000
	var before, after runtime.MemStats
	rng := rand.New(rand.NewPCG(1, 2))
	fresh := make([]Subscriber, rounds)
	sink, keys := new(countSink), []string{"k"}
	runtime.ReadMemStats(&before)
	for i := range rounds {
		subs[rng.IntN(len(subs))].Close(ReasonGone)
		if k.subscribers.Load() == 20_000 {
			continue // that one had left before
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
		// Grow to several segments and back to none, by turns.
		if up := round/750%2 == 0; rng.IntN(4) > 0 == up || len(subs) == 0 {
			subs = append(subs, subscribe(t, e, "", "k"))
		} else {
			i := rng.IntN(len(subs))
			subs[i].Close(ReasonGone)
			subs = slices.Delete(subs, i, i+1)
		}
		checkSegments(t, theKey(t, e, "k"))
	}
}

// TestEverybodyIsWoken has a key of each interesting size: every subscriber's sink is called for an event, on whichever
// segment it is.
func TestEverybodyIsWoken(t *testing.T) {
	for _, n := range []int{1, 2, 3, 16, 17, 255, 256, 257, 512, 513, 1200} {
		e := start(t, Options{Wakers: 3})
		var woken sync.WaitGroup
		subs := make([]Subscriber, n)
		for i := range subs {
			woken.Add(1)
			if _, err := e.Subscribe(&subs[i], []string{"k"}, "", doneSink{&woken}); err != nil {
				t.Fatal(err)
			}
			if !subs[i].Release() {
				t.Fatal("news before the first event")
			}
		}
		if p, err := e.Publish("k", text("x")); err != nil || p.Subscribers != n {
			t.Fatal(p, err)
		}
		woken.Wait()
		for i := range subs { // each is owned now by its sink, which is this test
			if got := drain(&subs[i]); len(got) != 1 {
				t.Fatalf("subscriber %d of %d got %v", i, n, got)
			}
		}
	}
}

type doneSink struct{ wg *sync.WaitGroup }

func (d doneSink) Ready() { d.wg.Done() }

// TestWakeUpMeetsLeave: the waker has scanned the place that a cursor is moved to, and not the one that it is moved
// from. Whoever leaves notifies it.
func TestWakeUpMeetsLeave(t *testing.T) {
	e := start(t, Options{})
	stopWakers(e) // no waker: the test is the only one who notifies
	first, last := new(Subscriber), new(Subscriber)
	sink := new(countSink)
	for _, s := range []*Subscriber{first, last} {
		if _, err := e.Subscribe(s, []string{"k"}, "", sink); err != nil {
			t.Fatal(err)
		}
	}
	if !last.Release() {
		t.Fatal("no release")
	}
	publish(t, e, "k", 1)
	first.Close(ReasonGone)
	if got := sink.ready.Load(); got != 1 {
		t.Errorf("%d wake-ups, want the one of the subscriber that was moved", got)
	}
	if got := drain(last); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

// TestScanOfAReplacedSegment: a publisher has loaded the first segment just before a join replaces it by a larger one.
// The old one serves those that were in it; who joins later finds the event in the ring.
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
	k := theKey(t, e, "k")
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
		t.Errorf("a later subscriber stands at %d", subs[2].cursors[0].next)
	}
	if second := (*k.segments.Load())[1]; !second.queued.Load() {
		t.Error("the second segment is not scheduled")
	}
}

// TestNothingKeepsAClosedSubscriber: neither the key's segments nor a waker's queue refers to a subscriber that has
// left.
func TestNothingKeepsAClosedSubscriber(t *testing.T) {
	e := start(t, Options{})
	var gone []weak.Pointer[Subscriber]
	var stay []*Subscriber
	for i := range 600 {
		s := subscribe(t, e, "", "k", "other")
		if i%3 == 0 {
			stay = append(stay, s)
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
				t.Fatal("a closed subscriber is still referred to")
			}
		}
	}
	if e.Count("k") != len(stay) {
		t.Errorf("%d subscribers, want %d", e.Count("k"), len(stay))
	}
}
