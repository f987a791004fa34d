package engine

import (
	"fmt"
	"testing"
)

func TestCounts(t *testing.T) {
	e := start(t, Options{})
	var subs []*Subscriber
	for i := range 600 { // more than two segments
		s := subscribe(t, e, "", "all", fmt.Sprint(i%3))
		subs = append(subs, s)
	}
	if e.Count("all") != 600 || e.Count("1") != 200 || e.CountAll() != 1200 || e.Count("none") != 0 {
		t.Errorf("counts %d, %d, %d, %d", e.Count("all"), e.Count("1"), e.CountAll(), e.Count("none"))
	}
	if sinks := e.Sinks("1"); len(sinks) != 200 || sinks[7] != subs[22].sink || len(e.Sinks("none")) != 0 {
		t.Errorf("%d sinks", len(sinks))
	}
	if top := e.Top(2); len(top) != 2 || top[0].Key != "all" || top[0].Subscribers != 600 || top[1].Key != "0" {
		t.Errorf("top %+v", top)
	}
	if got := len(e.Top(-1)) + len(e.Top(0)); got != 0 {
		t.Errorf("%d keys, want none", got)
	}
	for i, s := range subs { // the count is right immediately
		s.Close(ReasonGone)
		if got := e.Count("all"); got != 599-i {
			t.Fatalf("%d subscribers after %d have left", got, i+1)
		}
		s.Close(ReasonGone)
		s.Close(ReasonError)
	}
	if e.CountAll() != 0 {
		t.Errorf("%d subscribers are left", e.CountAll())
	}
}

func TestTopOfManyKeys(t *testing.T) {
	e := start(t, Options{})
	for i := range 1000 {
		p := publish(t, e, fmt.Sprintf("%03d", i), 1+i%2)
		if i%100 == 7 {
			subscribe(t, e, "", fmt.Sprintf("%03d", i))
		}
		if got := e.Top(1000)[0].Epoch; i == 0 && got+"-1" != p.String() {
			t.Errorf("epoch %q of %v", got, p)
		}
	}
	top := e.Top(12)
	if len(top) != 12 || top[0].Key != "007" || top[9].Key != "907" || top[10].Key != "000" ||
		top[0].Events != 2 || top[0].HistoryBytes != 2 {
		t.Errorf("%+v", top)
	}
}

// With a log the epoch of a key is the one that clients see in ids.
func TestTopOfALog(t *testing.T) {
	e := startLog(t, Options{}, 2, byFirstByte)
	applyTo(t, e, 1, 1, "b")
	want := Position{Epoch: testEpoch + uint64(e.PartitionOf("b"))}.epochText()
	if top := e.Top(1); len(top) != 1 || top[0].Epoch != want {
		t.Errorf("%+v, want the epoch %s", top, want)
	}
}
