package eventually

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/internal/test/failure"
)

func TestConditionsThatComeTrue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		late := func() bool { return time.Since(start) > time.Minute }
		for name, do := range map[string]func(testing.TB){
			"True":    func(t testing.TB) { True(t, "late", late) },
			"Holds":   func(t testing.TB) { Holds(t, "late", func() (bool, string) { return late(), "early" }) },
			"Equal":   func(t testing.TB) { Equal(t, "late", true, late) },
			"NoError": func(t testing.TB) { NoError(t, "late", func() error { return errorUnless(late()) }) },
		} {
			start = time.Now()
			if f := failure.Of(t, do); f != "" {
				t.Errorf("%s: %s", name, f)
			}
			if d := time.Since(start); d < time.Minute || d > time.Minute+time.Second {
				t.Errorf("%s returned after %s, want one minute", name, d)
			}
		}
	})
}

func TestConditionsThatStayFalse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for want, do := range map[string]func(testing.TB){
			"not within 2m0s: a; last: false":     func(t testing.TB) { True(t, "a", func() bool { return false }) },
			"not within 2m0s: b; last: state":     func(t testing.TB) { Holds(t, "b", func() (bool, string) { return false, "state" }) },
			"not within 2m0s: c; last: 1, want 2": func(t testing.TB) { Equal(t, "c", 2, func() int { return 1 }) },
			"not within 2m0s: d; last: not yet":   func(t testing.TB) { NoError(t, "d", func() error { return errorUnless(false) }) },
		} {
			if f := failure.Of(t, do); f != want {
				t.Errorf("%q, want %q", f, want)
			}
		}
		if Within(time.Second, func() bool { return false }) {
			t.Error("Within returned true")
		}
	})
}

// A short wait is not made longer, and a long one polls seldom.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for wait, most := range map[time.Duration]int{3 * time.Millisecond: 2, 99 * time.Millisecond: 21, time.Minute: 1300} {
			start, polls := time.Now(), 0
			True(t, "late", func() bool { polls++; return time.Since(start) >= wait })
			if d := time.Since(start); d > wait+max(wait/20, 5*time.Millisecond) || polls > most {
				t.Errorf("%s: %d polls in %s", wait, polls, d)
			}
		}
	})
}

func errorUnless(ok bool) error {
	if ok {
		return nil
	}
	return errors.New("not yet")
}
