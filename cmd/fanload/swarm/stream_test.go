//go:build linux

package swarm

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/sequence"
)

func testPlan(address string, subscribers int) *plan.Plan {
	return &plan.Plan{
		Run: "abcde", Key: "k{{.KeyIndex}}", Keys: 1, Subscribers: subscribers, Ready: plan.ReadyHead, GapEvent: "gap", Address: address,
		Subscribe: plan.Request{Method: "GET", URL: "http://" + address + "/{{.Key}}/{{.Subscriber}}", Headers: plan.DefaultHeaders},
		InFlight:  100, ConnectTimeout: 5e9, ReconnectDelay: 1e6, Sources: 1, Loops: 2,
	}
}

// still is a loop whose goroutine doesn't run: the test is its owner. Its one subscriber waits for a head.
func still(t *testing.T) (*loop, *subscriber) {
	t.Helper()
	l, err := newLoop(testPlan("127.0.0.1:80", 1), netip.MustParseAddrPort("127.0.0.1:80"), []int{0}, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.closeFiles)
	return l, anew(l)
}

// anew makes the subscriber one that waits for its first head, and forgets what was counted.
func anew(l *loop) *subscriber {
	l.subs[0] = subscriber{fd: -1, state: heading}
	l.subs[0].parser.OnComment = l.onComment
	l.counts, l.measureFrom = Counts{Opening: 1}, 0
	l.live[0] = 0
	l.result.Latency.Drain(new(measure.Histogram))
	return &l.subs[0]
}

// frame is an event's bytes, with an id.
func frame(seq int64) string {
	return fmt.Sprintf("id: e-%d\r\ndata: %s\r\n\r\n", seq, plan.AppendPayload(nil, "abcde", 0, seq, 1, 64))
}

// chunked puts each piece into a chunk of its own.
func chunked(pieces ...string) string {
	var b strings.Builder
	for _, p := range pieces {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(p), p)
	}
	return b.String()
}

// split cuts s at random.
func split(r *rand.Rand, s string) (pieces []string) {
	for len(s) > 0 {
		n := 1 + r.IntN(min(len(s), 1+r.IntN(40)))
		pieces, s = append(pieces, s[:n]), s[n:]
	}
	return pieces
}

// TestStreamsInPieces: whatever the transfer coding, and wherever chunks and reads are cut, in the middle of a field, of a
// line's end, of a chunk's size or of the head, each event is seen once.
func TestStreamsInPieces(t *testing.T) {
	const n = 3
	var stream strings.Builder
	stream.WriteString("\xEF\xBB\xBF: welcome\n\nretry: 1500\n\n")
	for seq := range int64(n) {
		stream.WriteString(frame(seq + 1))
	}
	head := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
	r := rand.New(rand.NewPCG(5, 6))
	var bytewise []string
	for i := range stream.Len() {
		bytewise = append(bytewise, stream.String()[i:i+1])
	}
	for name, raw := range map[string]string{
		"until the end":      head + "\r\n" + stream.String(),
		"chunks of a byte":   head + "Transfer-Encoding: chunked\r\n\r\n" + chunked(bytewise...),
		"chunks cut at will": head + "Transfer-Encoding: chunked\r\n\r\n" + chunked(split(r, stream.String())...),
	} {
		l, _ := still(t)
		check := func(how string, pieces []string) {
			s := anew(l)
			for _, p := range pieces {
				if err := l.consume(s, []byte(p)); err != nil {
					t.Fatalf("%s, %s: %v", name, how, err)
				}
			}
			c := l.counts
			if c.Delivered != n || c.Events != n || c.Duplicate+c.Reordered+c.Foreign != 0 || c.Comments != 1 || c.Open != 1 {
				t.Errorf("%s, %s: %+v", name, how, c)
			}
			if l.remember(s); string(s.lastID) != fmt.Sprintf("e-%d", n) {
				t.Errorf("%s, %s: last id %q", name, how, s.lastID)
			}
			if l.result.Latency.Count() != n || s.check.Lost(n) != 0 {
				t.Errorf("%s, %s: %d latencies, %d lost", name, how, l.result.Latency.Count(), s.check.Lost(n))
			}
		}
		for at := range len(raw) { // in two pieces, at each byte
			check(fmt.Sprintf("cut at %d", at), []string{raw[:at], raw[at:]})
		}
		for i := range 50 {
			check(fmt.Sprintf("cut at will, %d", i), split(r, raw))
		}
		check("byte by byte", strings.Split(raw, ""))
	}
}

// TestStreamEndsInAField: an event whose empty line has not come is none (WHATWG HTML 9.2.6), its id neither.
func TestStreamEndsInAField(t *testing.T) {
	whole := frame(1) + frame(2)
	for cut := len(frame(1)); cut < len(whole); cut++ {
		l, s := still(t)
		raw := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: " + fmt.Sprint(cut) + "\r\n\r\n" + whole[:cut]
		if err := l.consume(s, []byte(raw)); !errors.Is(err, errEnded) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		l.lose(s, errEnded)
		// The empty line is there with its CR: the LF behind it is no line of its own.
		events := int64(1)
		if cut == len(whole)-1 {
			events = 2
		}
		if l.counts.Delivered != events || string(s.lastID) != fmt.Sprintf("e-%d", events) || l.counts.Ended != 1 || l.counts.Open != 0 {
			t.Errorf("cut at %d of %d: %+v, last id %q", cut, len(whole), l.counts, s.lastID)
		}
		l.closeFiles()
	}
}

// TestFaultsOfASequence: what is lost, comes twice, out of order, too late or from elsewhere is counted as that.
func TestFaultsOfASequence(t *testing.T) {
	const far = sequence.Window + 50
	for name, c := range map[string]struct {
		stream string
		last   int64
		want   Counts
	}{
		"all there":  {frame(1) + frame(2) + frame(3), 3, Counts{Events: 3, Delivered: 3}},
		"first lost": {frame(2) + frame(3), 3, Counts{Events: 2, Delivered: 2, Undelivered: 1, LostOf: 1}},
		"one lost":   {frame(1) + frame(3), 3, Counts{Events: 2, Delivered: 2, Lost: 1, LostOf: 1}},
		"end lost":   {frame(1), 3, Counts{Events: 1, Delivered: 1, Undelivered: 2, LostOf: 1}},
		"all lost":   {": nothing\n\n", 3, Counts{Comments: 1, Undelivered: 3, LostOf: 1}},
		"twice":      {frame(1) + frame(2) + frame(2) + frame(1), 2, Counts{Events: 4, Delivered: 2, Duplicate: 2}},
		"reordered":  {frame(2) + frame(1) + frame(3), 3, Counts{Events: 3, Delivered: 3, Reordered: 1}},
		"reordered far": {frame(far) + frame(2), far,
			Counts{Events: 2, Delivered: 2, Reordered: 1, Undelivered: 1, Lost: far - 3, LostOf: 1}},
		"of another key": {strings.Replace(frame(1), "abcde.0", "abcde.7", 1) + frame(1), 1, Counts{Misrouted: 1, Events: 1, Delivered: 1}},
		"of another run": {strings.Replace(frame(1), "abcde", "edcba", 1) + frame(1), 1, Counts{Foreign: 1, Events: 1, Delivered: 1}},
		"gap event": {"event: gap\ndata: {\"missed\":2}\n\n" + frame(3), 3,
			Counts{Gaps: 1, Events: 1, Delivered: 1, Undelivered: 2, LostOf: 1}},
	} {
		l, s := still(t)
		s.check.Begin(0)
		if err := l.consume(s, []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"+c.stream)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		l.finish(&sequence.Published{Last: []int64{c.last}})
		got := l.result.Counts
		c.want.Measured, c.want.Open, c.want.Connected = c.want.Delivered, 1, 1
		got.LastDelivery, got.LastConnected = 0, 0
		if got != c.want {
			t.Errorf("%s:\n%+v, want\n%+v", name, got, c.want)
		}
	}
}

// TestComingBackTakesLonger each time, is bounded, and is given up in the end.
func TestComingBackTakesLonger(t *testing.T) {
	l, s := still(t)
	s.times = 1
	before := int64(0)
	for s.state != over {
		l.now = 0
		l.counts.Opening, s.state = 1, connecting
		l.lose(s, errEnded)
		if s.state == waiting {
			if s.due < before || s.due > 10_000_000 {
				t.Fatalf("attempt %d: %d us behind %d us", s.attempts, s.due, before)
			}
			before = s.due
		}
	}
	if s.attempts != maxAttempts || l.counts.GaveUp != 1 || before < 1_000_000 {
		t.Errorf("%d attempts, the last behind %d us, %+v", s.attempts, before, l.counts)
	}
}

// TestNotBackAtTheEnd: whoever has not come back is not left out of the reconnect times.
func TestNotBackAtTheEnd(t *testing.T) {
	for _, state := range []state{waiting, connecting, heading, over} {
		l, s := still(t)
		l.plan.Reconnect = state != over
		if err := l.consume(s, []byte(streamHead)); err != nil {
			t.Fatal(err)
		}
		l.lose(s, errEnded)
		s.left -= 3_000_000
		if state != waiting && state != over {
			l.counts.Opening++
			s.state, s.began = state, l.now
		}
		l.finish(&sequence.Published{Last: []int64{0}})
		want := int64(1)
		if state == over {
			want = 0 // it was not to come back
		}
		if n := l.result.Reconnect.Count(); n != want || l.counts.NotBack != want || want == 1 && l.result.Reconnect.Quantile(100) < 3_000_000 {
			t.Errorf("state %d: %d times, %d not back", state, n, l.counts.NotBack)
		}
	}
}

// TestAnswersThatAreNoStream are kept short, and printable.
func TestAnswersThatAreNoStream(t *testing.T) {
	l, s := still(t)
	raw := "HTTP/1.1 500 Oh\r\nContent-Length: 1000\r\n\r\n" + strings.Repeat("é", 100) + "\xFF" + strings.Repeat("x", 799)
	if err := l.consume(s, []byte(raw)); !errors.Is(err, errEnded) {
		t.Fatal(err)
	}
	if got := answer(s); !strings.HasPrefix(got, "500: éé") || len(got) > 300 || bytes.ContainsRune([]byte(got), 0) {
		t.Errorf("%q", got)
	}
}
