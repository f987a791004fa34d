package engine

import (
	"fmt"
	"math"
	"testing"
)

func TestParsePolicy(t *testing.T) {
	for _, p := range []Policy{Skip, Latest, Disconnect} {
		if got, err := ParsePolicy(p.String()); got != p || err != nil {
			t.Errorf("ParsePolicy(%q) = %v, %v", p, got, err)
		}
	}
	if _, err := ParsePolicy("slow"); err == nil {
		t.Error("no error")
	}
}

// TestNegativeOptionsMeanTheDefaults: the engine works with negative values of all options.
func TestNegativeOptionsMeanTheDefaults(t *testing.T) {
	k := KeyOptions{History: -1, HistoryBytes: -1, HistoryTTL: -1, FlushInterval: -1, MaxSubscribers: -1}
	e := start(t, Options{Key: k, MaxKeys: -1, MaxHistoryBytes: -1, Wakers: -1, SweepInterval: -1})
	s := subscribe(t, e, "", "k")
	publish(t, e, "k", 20)
	if got := drain(s); len(got) != 20 {
		t.Errorf("got %q", got)
	}
	if _, got := resumed(t, e, Position{mustKey(t, e, "k").epoch, 0}.String(), "k"); len(got) != 20 {
		t.Errorf("kept %q", got)
	}
}

// TestInvalidValues: invalid arguments cause no panic, neither in the caller nor in a waker.
func TestInvalidValues(t *testing.T) {
	e := start(t, Options{Key: KeyOptions{History: 8, HistoryBytes: 1 << 20, HistoryTTL: math.MaxInt64, MaxSubscribers: 1, Slow: 99}})
	for i := range 100 {
		publish(t, e, fmt.Sprint(i), 1)
	}
	for _, n := range []int{math.MaxInt, math.MaxInt / 2, 100} {
		if got := len(e.Top(n)); got != 100 {
			t.Errorf("Top(%d): %d keys", n, got)
		}
	}
	if got := len(e.Top(math.MinInt)); got != 0 {
		t.Errorf("%d keys", got)
	}
	for _, name := range []string{Policy(99).String(), Reason(99).String(), GapReason(99).String()} {
		if name != "unknown" {
			t.Error(name)
		}
	}
	for _, r := range []Reason{0, 99} {
		var s Subscriber
		if _, err := e.Subscribe(&s, []string{"0"}, "", new(countSink)); err != nil {
			t.Fatal(err)
		}
		for range 20 { // laps it
			publish(t, e, "0", 1)
		}
		if it, ok := s.Next(true); !ok || it.Gap == nil || it.Gap.Policy != Skip {
			t.Errorf("%+v", it)
		}
		if !s.Close(r) || s.Closing() != ReasonError || e.Count("0") != 0 {
			t.Errorf("Close(%d): %v", r, s.Closing())
		}
	}
}
