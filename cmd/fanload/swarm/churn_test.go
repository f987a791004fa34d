//go:build linux

package swarm

import (
	"testing"

	"fanfare/cmd/fanload/ledger"
	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/sequence"
)

// newcomer is a loop in the middle of a run, whose subscriber is about to open a stream.
func newcomer(t *testing.T, ready string) (*loop, *subscriber, *ledger.Ledger) {
	t.Helper()
	l, s := still(t)
	book, err := ledger.New(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = book.Close() })
	l.ledger, l.plan.Ready, l.plan.Settle, l.plan.Patience = book, ready, 5e9, 10e9
	l.begin()
	return l, s, book
}

const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

// missing is what a subscriber has missed in all by the end, when the last event is n.
func missing(l *loop, n int64) int64 {
	l.finish(&sequence.Published{Last: []int64{n}})
	return l.result.Counts.Lost + l.result.Counts.Undelivered
}

// TestNewcomerMustGetWhatIsSentLater than its head, and what was on its way may come.
func TestNewcomerMustGetWhatIsSentLater(t *testing.T) {
	for stream, want := range map[string]int64{
		"":                               3, // 8, 9 and 10
		frame(8) + frame(9) + frame(10):  0,
		frame(7) + frame(8) + frame(9):   1,
		frame(6) + frame(8) + frame(9):   2, // 7 was sent behind 6
		frame(10) + frame(9) + frame(8):  0,
		frame(11) + frame(12):            3,
		": nothing\n\n" + frame(9):       2,
		frame(8) + frame(10) + frame(11): 1,
	} {
		l, s, book := newcomer(t, plan.ReadyHead)
		book.Sending(0, 7)
		if err := l.consume(s, []byte(head+stream)); err != nil {
			t.Fatal(err)
		}
		if n := missing(l, 10); n != want {
			t.Errorf("%q: %d are missing, want %d", stream, n, want)
		}
	}
}

// TestReadySent: without a head nobody knows when the server has read the request, but for a while later.
func TestReadySent(t *testing.T) {
	l, s, book := newcomer(t, plan.ReadySent)
	l.subscribed(s)
	book.Sending(0, 7)
	if l.expectFresh(); s.check.Begun() {
		t.Fatal("the server may not have read the request yet")
	}
	l.now += 6e6
	if l.expectFresh(); !s.check.Begun() || len(l.fresh) != 0 {
		t.Fatal("it has begun")
	}
	if n := missing(l, 10); n != 3 {
		t.Errorf("%d are missing", n)
	}

	l, s, book = newcomer(t, plan.ReadySent)
	l.subscribed(s)
	book.Sending(0, 7)
	if err := l.consume(s, []byte(head)); err != nil {
		t.Fatal(err)
	}
	book.Sending(0, 9)
	l.now += 6e6
	if l.expectFresh(); s.check.Lost(9) != 2 {
		t.Errorf("%d are missing since the head", s.check.Lost(9))
	}
}

// TestLeavingTakesPatience: who leaves stays until it has what was answered before.
func TestLeavingTakesPatience(t *testing.T) {
	l, s, book := newcomer(t, plan.ReadyHead)
	if err := l.consume(s, []byte(head+frame(1))); err != nil {
		t.Fatal(err)
	}
	book.Sending(0, 4)
	book.Settle(0, 3)
	l.churn(1000)
	step := func(micros int64, churned int64) {
		t.Helper()
		l.now += micros
		if l.doChurn(); l.counts.Churned != churned {
			t.Fatalf("%d have left, want %d", l.counts.Churned, churned)
		}
	}
	step(1000, 0)
	if err := l.consume(s, []byte(frame(3))); err != nil {
		t.Fatal(err)
	}
	step(1000, 0) // it lacks 2
	if err := l.consume(s, []byte(frame(2))); err != nil {
		t.Fatal(err)
	}
	l.now++
	l.leaving = nil
	if !l.gone(s) || l.counts.Churned != 1 || len(l.leavers) != 0 {
		t.Fatalf("%+v, leavers %v", l.counts, l.leavers)
	}

	l, s, book = newcomer(t, plan.ReadyHead)
	if err := l.consume(s, []byte(head+frame(1))); err != nil {
		t.Fatal(err)
	}
	book.Sending(0, 4)
	book.Settle(0, 3)
	l.churn(1000)
	step(1000, 0)
	step(11e6, 1)
	l.counts.Waiting, s.state = 0, over
	if l.counts.Expected != 0 || !s.newcomer {
		t.Errorf("the first one is no newcomer: %d", l.counts.Expected)
	}
	if n := missing(l, 4); n != 2 {
		t.Errorf("%d are missing of those that were answered before it left", n)
	}
}
