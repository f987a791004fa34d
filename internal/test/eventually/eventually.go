// Package eventually waits for conditions in tests.
//
// A test states what must become true and does not sleep:
//
//	eventually.Equal(t, "subscribers of news", 2, func() int { return eng.Count("news") })
//
// Each function polls until its condition holds and fails the test after [Patience]. Call them on the goroutine of the test.
package eventually

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// Patience bounds every wait. It is long because only a failure waits for its end: a loaded machine with the race
// detector must not fail a test.
const Patience = 2 * time.Minute

// The pause between two polls is a twentieth of the time so far, within these bounds: a poll may cost a request and the processor
// time of others.
const (
	shortestPause = 5 * time.Millisecond
	longestPause  = 50 * time.Millisecond
)

// True waits until ok returns true.
func True(t testing.TB, what string, ok func() bool) {
	t.Helper()
	wait(t, Patience, what, func() error {
		if ok() {
			return nil
		}
		return errors.New("false")
	})
}

// Holds waits until poll returns true. The state that it returns last is part of the message if it never does.
func Holds(t testing.TB, what string, poll func() (ok bool, state string)) {
	t.Helper()
	wait(t, Patience, what, func() error {
		if ok, state := poll(); !ok {
			return errors.New(state)
		}
		return nil
	})
}

// NoError waits until do returns nil. The last error is part of the message if it never does.
func NoError(t testing.TB, what string, do func() error) {
	t.Helper()
	wait(t, Patience, what, do)
}

// Equal waits until get returns want.
func Equal[T comparable](t testing.TB, what string, want T, get func() T) {
	t.Helper()
	wait(t, Patience, what, func() error {
		if got := get(); got != want {
			return fmt.Errorf("%v, want %v", got, want)
		}
		return nil
	})
}

// Within reports whether ok returns true before d has passed. It is for bounds that are part of what a test checks, and for
// cleanups that go on after a failure.
func Within(d time.Duration, ok func() bool) bool {
	for start := time.Now(); ; time.Sleep(min(max(time.Since(start)/20, shortestPause), longestPause)) {
		if ok() {
			return true
		}
		if time.Since(start) > d {
			return false
		}
	}
}

func wait(t testing.TB, limit time.Duration, what string, do func() error) {
	t.Helper()
	var last error
	if !Within(limit, func() bool { last = do(); return last == nil }) {
		t.Fatalf("not within %s: %s; last: %v", limit, what, last)
	}
}
