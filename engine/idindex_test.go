package engine

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// TestIDIndex searches a long history for ids, while it grows, laps and is resized, and compares with what is kept.
func TestIDIndex(t *testing.T) {
	e := start(t, Options{Key: KeyOptions{History: 4 * indexFrom}})
	const last = 10 * indexFrom
	for n := 1; n <= last; n++ {
		id := fmt.Sprint("id", n)
		switch {
		case n%10 == 0:
			id = fmt.Sprint("id", n-1) // the same as the one before
		case n%10 == 5:
			publish(t, e, "k", 1)
			continue
		}
		if _, err := e.Publish("k", withID(id)); err != nil {
			t.Fatal(err)
		}
		if n%997 != 0 && n != last {
			continue
		}
		k := mustKey(t, e, "k")
		for range 20 {
			want := 1 + rand.N(n)
			seq, found := k.findID(fmt.Sprint("id", want), k.firstKept(), k.tail())
			kept := uint64(want) >= k.firstKept()
			switch {
			case want%10 == 0 || want%10 == 5:
				kept = false
			case want%10 == 9 && uint64(want)+1 == k.firstKept(): // its copy is kept
				kept, want = true, want+1
			}
			if found != kept || found && seq != uint64(want) {
				t.Fatalf("event %d of %d, kept from %d: found %v at %d", want, n, k.firstKept(), found, seq)
			}
		}
		if want := n > 2*indexFrom; want != (k.extra.Load() != nil) && n > 2*indexFrom {
			t.Fatalf("after %d events there is no index", n)
		}
	}
}

// TestIDIndexHammer resumes by ids of publishers while they publish and the ring laps.
func TestIDIndexHammer(t *testing.T) {
	e := start(t, Options{Key: KeyOptions{History: 2 * indexFrom}})
	var all sync.WaitGroup
	for n := 1; n <= 2*indexFrom; n++ {
		if _, err := e.Publish("k", withID(fmt.Sprint(n))); err != nil {
			t.Fatal(err)
		}
	}
	stop := make(chan struct{})
	all.Go(func() {
		for n := 2*indexFrom + 1; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := e.Publish("k", withID(fmt.Sprint(n))); err != nil {
				t.Error(err)
			}
		}
	})
	var resumes sync.WaitGroup
	for range 3 {
		resumes.Go(func() {
			for range 100 {
				k := mustKey(t, e, "k")
				want := k.tail() - uint64(rand.N(indexFrom))
				s := new(Subscriber)
				result, err := e.Subscribe(s, []string{"k"}, fmt.Sprint(want), new(countSink))
				if err != nil {
					t.Error(err)
					return
				}
				if next := s.cursors[0].next; result == ResumedExact && next != want+1 || result != ResumedExact && k.firstKept() <= want {
					t.Errorf("after %d: %v, continues at %d", want, result, next)
				}
				s.Close(ReasonGone)
			}
		})
	}
	resumes.Wait()
	close(stop)
	all.Wait()
}

func TestIssuedID(t *testing.T) {
	e, other := start(t, Options{}), start(t, Options{})
	a, b := publish(t, e, "a", 3).String(), publish(t, e, "b", 3).String()
	foreign := publish(t, other, "a", 3).String()
	for _, c := range []struct {
		id   string
		n    int
		want bool
	}{
		{a, 1, true}, {a, 2, false}, {a + "," + b, 2, true}, {a + "," + b, 1, true}, {a + "," + b + "~*", 2, true}, {a + ",0-0", 2, true},
		{foreign, 1, false}, {a + "," + foreign, 2, false}, {"own", 1, false}, {a + ",own", 2, false}, {"5-1~" + keyTag("a") + "," + b, 2, false},
	} {
		if got := e.IssuedID(c.id, c.n); got != c.want {
			t.Errorf("%q for %d keys: %v", c.id, c.n, got)
		}
	}
}
