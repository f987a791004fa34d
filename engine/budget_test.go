package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func publishSize(t *testing.T, e *Engine, key string, size int) {
	t.Helper()
	if _, err := e.Publish(key, text(strings.Repeat("x", size))); err != nil {
		t.Fatal(err)
	}
}

// TestFairShares: a key with little history publishes while others hold the whole budget. It loses nothing, they do.
func TestFairShares(t *testing.T) {
	for _, c := range []struct {
		name           string
		limit          int64
		keys, events   int // that hold the budget
		size           int
		least, largest int64 // what each of them keeps
	}{
		{"one key", 100_000, 1, 1200, 100, 80_000, 96_000},
		{"many keys", 100_000, 20, 60, 100, 3_500, 5_000},
		{"newest events only", 100_000, 1000, 1, 200, 200, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := New(Options{MaxHistoryBytes: c.limit, Key: KeyOptions{History: 4096}})
				defer e.Close()
				for range c.events {
					for i := range c.keys {
						publishSize(t, e, fmt.Sprint("holder ", i), c.size)
					}
					synctest.Wait()
				}
				s := subscribe(t, e, "", "small")
				for n := range 40 { // less than a share
					if _, err := e.Publish("small", text(fmt.Sprintf("%0100d", n))); err != nil {
						t.Fatal(err)
					}
					if n%10 == 0 {
						time.Sleep(time.Second)
					}
				}
				var got []string
				for n := range 40 {
					got = append(got, fmt.Sprintf("%0100d", n))
				}
				if all := drain(s); !slices.Equal(all, got) {
					t.Errorf("the subscriber of the small key got %d items, the first is %q", len(all), all[0])
				}
				time.Sleep(3 * time.Second)
				for i := range c.keys {
					if n := mustKey(t, e, fmt.Sprint("holder ", i)).bytes.Load(); n < c.least || n > c.largest {
						t.Errorf("holder %d keeps %d bytes, want %d to %d", i, n, c.least, c.largest)
					}
				}
				if n := e.Stats().HistoryBytes; c.events > 1 && n > c.limit {
					t.Errorf("%d bytes are kept, the limit is %d", n, c.limit)
				}
			})
		})
	}
}

// TestBudgetWithoutSweep: publishers alone bound the memory.
func TestBudgetWithoutSweep(t *testing.T) {
	e := start(t, Options{MaxHistoryBytes: 100_000, SweepInterval: time.Hour})
	stopWakers(e)
	for range 10_000 {
		publishSize(t, e, fmt.Sprint(rand.N(10)), 1+rand.N(1000))
		if n := e.Stats().HistoryBytes; n > 100_000+100_000/8+1000 {
			t.Fatalf("%d bytes are kept", n)
		}
	}
}

// TestShare compares the share with the exact one.
func TestShare(t *testing.T) {
	for range 1000 {
		var x excesses
		var sizes []int64
		for range 1 + rand.N(50) {
			n := int64(rand.N(1 << rand.N(30)))
			sizes = append(sizes, n)
			x.add(n)
		}
		room := int64(1 + rand.N(1<<rand.N(34)))
		share := x.share(room)
		cut := func(share int64) (sum int64) {
			for _, n := range sizes {
				sum += min(n, share)
			}
			return sum
		}
		// The largest share that fits, by bisection.
		low, high := int64(0), room
		for low < high {
			if mid := (low + high + 1) / 2; cut(mid) <= room {
				low = mid
			} else {
				high = mid - 1
			}
		}
		if share < low-low/4-1 || share > low+low/4+1 {
			t.Fatalf("share %d of %d for %v, want about %d", share, room, sizes, low)
		}
	}
}
