package main_test

import (
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/test/proctest"
)

func atoi(t testing.TB, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// row is an event in the list of the built-in page.
type row struct{ Kind, Type, ID, Text string }

// rows returns the built-in page's list, the oldest first, without its notes.
func (tb *tab) rows() []row {
	tb.t.Helper()
	return eval[[]row](tb, `[...document.querySelectorAll("#list li:not(.note)")].reverse().map((li) => ({
		kind: li.className, type: li.querySelector(".type").textContent, id: li.querySelector(".id")?.textContent ?? "",
		text: li.querySelector("pre, strong").textContent }))`)
}

// reconcile checks that events hold the numbers 0 to n-1, each once and in order.
func reconcile(t testing.TB, n int, data []string) {
	t.Helper()
	if len(data) != n {
		t.Errorf("%d events, want %d", len(data), n)
	}
	for i, d := range data {
		if d != strconv.Itoa(i) {
			t.Fatalf("event %d is %q", i, d)
		}
	}
}

func TestPageLosesItsConnectionTenTimes(t *testing.T) {
	s := start(t, "--retry", "50ms")
	c := newCutter(t, s.Stream)
	tb := open(t, c.url+"/?connectKey=numbers")
	tb.awaitText("state", "open")

	const rounds, perRound = 10, 30
	n := 0
	publish := func(until int) {
		for ; n < until; n++ {
			s.Publish("numbers", `"`+strconv.Itoa(n)+`"`)
		}
	}
	for round := range rounds {
		publish(n + perRound/3)
		// Some of it has come, over the connection that is cut now, while publishing goes on.
		tb.awaitText("state", "open")
		tb.await(fmt.Sprintf("counts.events > %d", round*perRound), "counts.events")
		done := make(chan int)
		go func() { done <- c.cut(round%2 == 0) }()
		publish((round + 1) * perRound)
		if cut := <-done; cut != 1 {
			t.Errorf("round %d: %d streams were cut", round, cut)
		}
		tb.awaitText("reconnects", strconv.Itoa(round+1))
	}
	tb.awaitText("events", strconv.Itoa(n))

	var data []string
	ids := make(map[string]bool)
	for _, r := range tb.rows() {
		if r.Kind != "event" || r.Type != "message" || r.ID == "" || ids[r.ID] {
			t.Errorf("row %+v", r)
		}
		ids[r.ID] = true
		data = append(data, r.Text)
	}
	reconcile(t, n, data)
	if gaps := tb.text("gaps"); gaps != "0" {
		t.Errorf("%s gaps", gaps)
	}
	s.AwaitCount("numbers", 1)
}

// The same under load, and with cuts at any byte: a collector of 20,000 events.
func TestBrowserLosesItsConnectionUnderLoad(t *testing.T) {
	s := start(t, "--retry", "20ms", "--history", "32768")
	c := newCutter(t, s.Stream)
	tb := openCollector(t, c.url+proctest.StreamPath("numbers"))
	tb.await("opens.length === 1", "source.readyState")

	const events, cuts = 20_000, 10
	quit, cut := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { cut <- n }()
		for n < cuts {
			select {
			case <-quit:
				return
			default:
			}
			accepted, _ := c.times()
			if len(accepted) > n && c.streams() == 1 {
				n += c.cut(n%2 == 1)
			}
			time.Sleep(time.Millisecond)
		}
	}()
	for i := 0; i < events; i += 100 {
		data := make([]string, 100)
		for j := range data {
			data[j] = strconv.Itoa(i + j)
		}
		s.publishBatch("numbers", data)
	}
	tb.awaitSeen(events)
	close(quit)
	t.Logf("%d cuts", <-cut)
	got := eval[[]seen](tb, "seen")
	data := make([]string, len(got))
	for i, e := range got {
		data[i] = e.Data
	}
	reconcile(t, events, data)
}

func TestPageShowsWhatHistoryHasLost(t *testing.T) {
	s := start(t, "--retry", "1s", "--history", "8")
	c := newCutter(t, s.Stream)
	tb := open(t, c.url+"/?connectKey=numbers")
	tb.awaitText("state", "open")
	s.Publish("numbers", `"0"`)
	tb.awaitText("events", "1")
	c.cut(false)
	s.AwaitCount("numbers", 0)
	for i := range 19 { // before the page comes back
		s.Publish("numbers", strconv.Quote(strconv.Itoa(i+1)))
	}
	tb.awaitText("gaps", "1")
	tb.awaitText("events", "9")
	rows := tb.rows()
	if len(rows) != 10 || rows[1].Kind != "gap" || rows[1].Text != "Missed 11 events of “numbers”" || rows[2].Text != "12" || rows[9].Text != "19" {
		t.Errorf("%+v", rows)
	}
	tb.awaitPart("list", "Reason: history.")
}

func TestPageSeesARestart(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			s := start(t, "--retry", "100ms", "--retry-min", "100ms", "--retry-max", "200ms")
			tb := open(t, s.Stream+"/?connectKey=news")
			tb.awaitText("state", "open")
			s.Publish("news", `"before"`)
			tb.awaitText("events", "1")

			if code := s.Stop(sig); sig == syscall.SIGTERM && code != 0 {
				t.Errorf("exit code %d", code)
			}
			tb.awaitText("state", "reconnecting")
			s.Restart()
			tb.awaitText("state", "open")
			tb.awaitText("gaps", "1")
			s.AwaitCount("news", 1)
			after := s.Publish("news", `"after"`)
			tb.awaitText("events", "2")

			rows := tb.rows()
			if len(rows) != 3 || rows[0].Text != "before" || rows[1].Kind != "gap" || rows[1].Text != "Missed an unknown number of events of “news”" ||
				rows[2].Text != "after" || rows[2].ID != after.ID {
				t.Errorf("%+v", rows)
			}
			tb.awaitPart("list", "The server was restarted")
			// The gap is told once: the position behind it is of the server's new life.
			s.Post("/close?key=news", "", "")
			tb.awaitText("state", "open")
			s.AwaitCount("news", 1)
			s.Publish("news", `"last"`)
			tb.awaitText("events", "3")
			tb.awaitText("gaps", "1")
		})
	}
}

// A drain tells each browser when to come back, at random times of a window.
func TestPagesComeBackAfterADrain(t *testing.T) {
	s := start(t, "--retry", "20s", "--retry-min", "800ms", "--retry-max", "1200ms")
	c := newCutter(t, s.Stream)
	tabs := make([]*tab, 3)
	for i := range tabs {
		tabs[i] = open(t, c.url+"/?connectKey=news")
		tabs[i].awaitText("state", "open")
	}
	s.AwaitCount("news", len(tabs))
	s.Publish("news", `"before"`)
	for _, tb := range tabs {
		tb.awaitText("events", "1")
	}

	if code := s.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	s.Restart()
	s.AwaitCount("news", len(tabs))
	s.Publish("news", `"after"`)
	for _, tb := range tabs {
		tb.awaitText("state", "open")
		tb.awaitText("events", "2")
		if rows := tb.rows(); len(rows) != 3 || rows[1].Kind != "gap" {
			t.Errorf("%+v", rows)
		}
	}

	accepted, ended := c.times()
	if len(ended) < len(tabs) || len(accepted) < 2*len(tabs) {
		t.Fatalf("%d connections accepted, %d ended by the server", len(accepted), len(ended))
	}
	// Later than the window's begin, and much earlier than the 20 s of --retry and, on an idle machine, the browser's own 3 s.
	first, last := accepted[len(tabs)].Sub(ended[0]), accepted[2*len(tabs)-1].Sub(ended[len(tabs)-1])
	if first < 790*time.Millisecond || last > 15*time.Second {
		t.Errorf("the browsers came back after %s to %s", first, last)
	}
	t.Logf("the browsers came back after %s to %s", first, last)
}
