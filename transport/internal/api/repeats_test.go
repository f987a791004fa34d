package api

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestRepeats: an ID is remembered for the window, in a table that is bounded and shrinks again.
func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table repeats
		var number int
		do := func(id string) Receipt {
			return table.do(id, 10*time.Second, 2, func() Receipt { number++; return Receipt{Subscribers: number} })
		}
		do("a")
		time.Sleep(6 * time.Second)
		do("b")
		if r := do("c"); !errors.Is(r.Err, errRepeats) {
			t.Errorf("%+v", r)
		}
		if r := do("a"); !r.Duplicate || r.Subscribers != 1 {
			t.Errorf("%+v", r)
		}
		time.Sleep(6 * time.Second)
		if r := do("a"); r.Duplicate || r.Subscribers != 3 {
			t.Errorf("%+v after the window", r)
		}
		if r := do("b"); !r.Duplicate || r.Subscribers != 2 {
			t.Errorf("%+v", r)
		}
		time.Sleep(time.Minute)
		do("d")
		if len(table.known) != 1 || len(table.order) != 1 {
			t.Errorf("%d and %d are remembered", len(table.known), len(table.order))
		}
	})
}

// TestRepeatsOfFailures: what has failed is tried again, also by those who wait for it, and after a panic.
func TestRepeatsOfFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table repeats
		begun := make(chan struct{})
		go func() {
			defer func() { _ = recover() }()
			table.do("a", time.Minute, 10, func() Receipt {
				close(begun)
				time.Sleep(time.Second)
				panic("planted")
			})
		}()
		<-begun
		if r := table.do("a", time.Minute, 10, func() Receipt { return Receipt{Err: errHalted} }); !errors.Is(r.Err, errHalted) {
			t.Errorf("%+v", r)
		}
		if r := table.do("a", time.Minute, 10, func() Receipt { return Receipt{Subscribers: 7} }); r.Err != nil || r.Duplicate || r.Subscribers != 7 {
			t.Errorf("%+v", r)
		}
		if r := table.do("a", time.Minute, 10, func() Receipt { return Receipt{} }); !r.Duplicate || r.Subscribers != 7 {
			t.Errorf("%+v", r)
		}
	})
}
