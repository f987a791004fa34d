package clients_test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
)

// key is what all tests publish to.
const key = "k"

// scenario is a column of the page. run lets a client live through it and puts what was seen beside the expected into w.
type scenario struct {
	name  string
	short bool // it runs in the short form, too
	skip  func(client) bool
	run   func(*world)
}

var scenarios = []scenario{
	{name: "live", short: true, run: live},
	{name: "resume", short: true, run: resume},
	{name: "cut", short: true, run: cut},
	{name: "kill", run: kill},
	{name: "drain", run: drain},
	{name: "limit", run: limitRetry},
	{name: "503", run: limit503},
	{name: "204", run: limit204, skip: func(c client) bool { return c.again }},
	{name: "alone", run: alone, skip: func(c client) bool { return c.family != familyNode || c.again }},
}

// Facts that a scenario may find. The page has a sentence for each.
const (
	factGone     = "gone"      // it doesn't come back
	factLost     = "lost"      // an event never arrives
	factTwice    = "twice"     // an event arrives more than once
	factOrder    = "order"     // events arrive in another order
	factHalf     = "half"      // a part of an event is handed on
	factChanged  = "changed"   // data that nobody published
	factName     = "name"      // another name than the published
	factID       = "id"        // another id than the published
	factEmpty    = "empty"     // messages without data that nobody published
	factOpen     = "open"      // it doesn't say that it has connected before the first event
	factNoGap    = "no gap"    // a gap isn't handed on
	factFalseGap = "false gap" // it comes back with an id that the server can't know
	factFirst    = "first"     // cut off before its first event, it misses what came meanwhile
	factEarly    = "early"     // it comes back before the time that retry: gave
	factEnds     = "ends"      // its program ends while it should wait to come back
	factKeepsOn  = "keeps on"  // it comes back after 204
)

// patience bounds waits for what must happen; comesBack bounds the wait for a client that may have given up.
const (
	patience  = 60 * time.Second
	comesBack = 25 * time.Second
)

// world is what a client lives in while a scenario runs.
type world struct {
	t       *testing.T
	client  client
	server  *server
	front   *front
	session *session
	via     string // the URL's origin; "": the front's
	trust   *trust
	origin  string // of the page, see target
	lonely  bool   // see target.alone

	facts    []string
	expected []event
	gaps     int // that the server has had a reason to tell
}

func (w *world) fact(f string) {
	if !slices.Contains(w.facts, f) {
		w.facts = append(w.facts, f)
	}
}

// begin runs a server and points the client at it.
func (w *world) begin(args ...string) {
	w.t.Helper()
	w.server = startServer(w.t, append([]string{"--retry", "50ms"}, args...)...)
	w.frontOf(w.server)
	w.launch()
	w.connected(1)
}

func (w *world) frontOf(s *server) {
	w.front = newFront(w.t, s.addr(), w.pages())
	w.via = "http://" + w.front.addr
	if w.origin == sameOrigin {
		w.origin = w.via
	}
}

// pages is where a front finds the page of a browser of the same origin.
func (w *world) pages() string {
	if w.origin == "" {
		return ""
	}
	startPageServer(w.t)
	return pageServer.addr
}

func (w *world) launch() {
	w.t.Helper()
	w.session = launch(w.t, w.client, target{url: w.via + "/stream?connectKey=" + key, origin: w.origin, trust: w.trust, alone: w.lonely})
}

// connected waits for the client to come and, if it says so, for its word.
func (w *world) connected(opens int) {
	w.t.Helper()
	if !w.subscribed(w.server, patience) {
		w.t.Fatal("the client never came")
	}
	if !w.client.mute && !w.session.await(patience/2, func() bool { return w.session.opens >= opens }) {
		w.fact(factOpen)
	}
	// With the position it has an id. Who doesn't hand it on has it by now, too: the two come in one piece.
	w.session.await(patience/2, func() bool { return len(w.session.events) > 0 })
}

// subscribed waits until the server has a subscriber.
func (w *world) subscribed(s *server, limit time.Duration) bool {
	return w.within(limit, func() bool { return s.count() > 0 })
}

// left waits until the server has none.
func (w *world) left(s *server) {
	w.t.Helper()
	if !w.within(patience, func() bool { return s.count() == 0 }) {
		w.t.Fatal("the server still has a subscriber")
	}
}

// within polls until ok, a client has given up, or the limit is over.
func (w *world) within(limit time.Duration, ok func() bool) bool {
	yes := false
	eventually.Within(limit, func() bool {
		yes = ok()
		return yes || w.session != nil && w.session.hasClosed()
	})
	return yes
}

// publish publishes an event that the client is to have.
func (w *world) publish(e event) event {
	w.t.Helper()
	e = w.server.publish(e)
	w.expected = append(w.expected, e)
	return e
}

// arrive waits for an event, and notes why it doesn't come.
func (w *world) arrive(e event) bool {
	w.t.Helper()
	requests, _ := w.front.seen()
	if w.session.awaitEvent(comesBack, e) {
		return true
	}
	again, _ := w.front.seen()
	if len(again) == len(requests) && w.server.count() <= 0 || w.session.hasClosed() {
		w.fact(factGone)
	} else {
		w.fact(factLost)
	}
	return false
}

// reconcile compares what has arrived with what was published: each event once, in order, as it was.
func (w *world) reconcile() {
	w.session.mu.Lock()
	got := slices.Clone(w.session.events)
	w.session.mu.Unlock()
	times := make([]int, len(w.expected))
	last, gaps := -1, 0
	for _, e := range got {
		i := slices.IndexFunc(w.expected, func(x event) bool { return x.Data == e.Data })
		switch {
		case e.Name == "position":
		case e.Name == "gap":
			gaps++
		case i >= 0:
			times[i]++
			if i < last && times[i] == 1 {
				w.fact(factOrder)
			}
			last = max(last, i)
			w.compare(e, w.expected[i])
		case e.Data == "":
			w.fact(factEmpty)
		case slices.ContainsFunc(w.expected, func(x event) bool { return strings.Contains(x.Data, e.Data) }):
			w.fact(factHalf)
		default:
			w.t.Logf("nobody published %.100q", e.Data)
			w.fact(factChanged)
		}
	}
	for i, n := range times {
		if n > 1 {
			w.fact(factTwice)
		}
		if n == 0 && !slices.Contains(w.facts, factGone) && !slices.Contains(w.facts, factFirst) {
			w.t.Logf("%.100q is lost", w.expected[i].Data)
			w.fact(factLost)
		}
	}
	switch {
	case gaps > w.gaps:
		w.fact(factFalseGap)
	case gaps < w.gaps && !slices.Contains(w.facts, factGone):
		w.fact(factNoGap)
	}
	slices.Sort(w.facts)
}

func (w *world) compare(got, want event) {
	if got.Name != want.Name {
		w.t.Logf("the name is %q, want %q", got.Name, want.Name)
		w.fact(factName)
	}
	if got.ID != want.ID {
		w.t.Logf("the id is %q, want %q", got.ID, want.ID)
		w.fact(factID)
	}
}

// live: events arrive while the stream is open, as they were published.
func live(w *world) {
	w.begin()
	for _, e := range []event{
		{Data: "hello"},
		{Name: "update", Data: `{"text":"one\ntwo – 日本語","n":12345678901234567890}`},
		{Data: "several\nlines\n\n  with space around  "},
		{Data: strings.Repeat("a long line. ", 8000)},
		{Data: "last"},
	} {
		w.arrive(w.publish(e))
	}
	w.reconcile()
}

// resume: the connection is cut before the first event, and by RST and FIN after some. What is published meanwhile arrives.
func resume(w *world) {
	w.begin()
	w.front.hold()
	w.front.cut(false)
	w.left(w.server)
	first := w.publish(event{Data: "0"})
	w.front.release()
	if !w.subscribed(w.server, comesBack) {
		w.fact(factGone)
		return
	}
	if !w.session.awaitEvent(comesBack, first) {
		w.fact(factFirst)
	}
	for i := range 2 {
		if !w.arrive(w.publish(event{Data: fmt.Sprintf("%d before", i)})) {
			return
		}
		w.front.hold()
		w.front.cut(i == 0)
		w.left(w.server)
		w.publish(event{Data: fmt.Sprintf("%d meanwhile", i)})
		e := w.publish(event{Name: "update", Data: fmt.Sprintf("%d meanwhile, too", i)})
		w.front.release()
		if !w.arrive(e) {
			return
		}
	}
	w.reconcile()
}

// cut: the connection ends within an event of 100 kB, in the middle of its data, and then in the line of its id.
func cut(w *world) {
	w.begin()
	w.arrive(w.publish(event{Data: "before"}))
	large := strings.TrimSuffix(strings.Repeat(strings.Repeat("x", 999)+"\n", 100), "\n")
	const frame = 100*1000 + 100*len("data: ") // its lines of data
	for i, at := range []int{frame / 2, frame + len("id: 123456")} {
		w.front.cutAfter(at)
		e := w.publish(event{Data: large[1:] + fmt.Sprint(i)}) // 100 lines: their feeds count, the last one's too
		if !w.arrive(e) {
			break
		}
		if !w.arrive(w.publish(event{Data: fmt.Sprintf("after %d", i)})) {
			break
		}
	}
	w.reconcile()
}

// kill: the server is killed and comes back empty. The client hears of the gap.
func kill(w *world) {
	w.begin()
	w.arrive(w.publish(event{Data: "before"}))
	w.killServer()
	w.reconcile()
}

// killServer tells whether the client is there again.
func (w *world) killServer() bool {
	w.front.down()
	w.server.Kill()
	// Its connection is refused a few times, if it comes so often.
	w.session.mu.Lock()
	before := w.session.errors
	w.session.mu.Unlock()
	w.session.await(3*time.Second, func() bool { return w.session.errors > before+2 })
	w.server.Args = []string{"--retry", "50ms"}
	w.server.Restart()
	w.front.up()
	if !w.subscribed(w.server, 2*comesBack) {
		w.fact(factGone)
		return false
	}
	w.gaps++
	return w.arrive(w.publish(event{Data: "after"}))
}

// drain: a second server takes over while the first one drains.
func drain(w *world) {
	w.begin("--retry-min", "100ms", "--retry-max", "200ms")
	w.handOver()
	w.reconcile()
}

// handOver drains the server and lets a second one take over. Publishers send to both, with ids of their own.
func (w *world) handOver() {
	w.t.Helper()
	second := startServer(w.t, "--retry", "50ms")
	e := event{ID: "e1", Data: "event e1"}
	second.publish(e)
	if !w.arrive(w.publish(e)) {
		return
	}
	w.front.hold()
	w.front.to(second.addr())
	w.server.Stop(syscall.SIGTERM)
	w.server = second
	w.publish(event{ID: "e2", Data: "event e2"})
	w.front.release()
	if !w.subscribed(second, 2*comesBack) {
		w.fact(factGone)
		return
	}
	w.arrive(w.publish(event{ID: "e3", Data: "event e3"}))
}

// alone: the connection is lost in a program that does nothing else.
func alone(w *world) {
	w.lonely = true
	w.begin()
	w.front.cut(false)
	if !w.within(comesBack, func() bool {
		requests, _ := w.front.seen()
		return len(requests) > 1
	}) {
		w.fact(factEnds)
	}
}
