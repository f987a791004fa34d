package transport

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// reader is a healthy client: it notes what it gets and how late.
type reader struct {
	*wiretest.Conn
	mu   sync.Mutex
	late []time.Duration
	last int // number of the last event
	bad  string
}

// numbered is event n of a run: its number and time, and filler up to size.
func numbered(n, size int) codec.Event {
	text := fmt.Sprintf("%d %d ", n, time.Now().UnixNano())
	return codec.Event{Data: []byte(text + strings.Repeat("x", max(size-len(text), 0)))}
}

// follow reads until the stream ends. It looks at the beginning of each line
// only, so that it is not the client that is measured.
func (c *reader) follow() {
	_ = c.NetConn().SetReadDeadline(time.Time{})
	in := bufio.NewReaderSize(c.Body, 64<<10)
	var data []byte
	for {
		line, err := in.ReadSlice('\n')
		if bytes.HasPrefix(line, []byte("data: ")) {
			data = append(data[:0], line[6:min(len(line), 64)]...)
		}
		for err == bufio.ErrBufferFull {
			_, err = in.ReadSlice('\n')
		}
		if err != nil {
			return
		}
		if len(line) == 1 && len(data) > 0 {
			c.take(string(data), time.Now().UnixNano())
			data = data[:0]
		}
	}
}

// take notes an event, which has come to its end.
func (c *reader) take(data string, now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var number int
	var sent int64
	if _, err := fmt.Sscan(data, &number, &sent); err != nil || number != c.last+1 {
		c.bad = fmt.Sprintf("%q follows number %d", data, c.last)
		return
	}
	c.last = number
	c.late = append(c.late, time.Duration(now-sent))
}

// reached reports whether the client has event n, or never will.
func (c *reader) reached(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last == n || c.bad != ""
}

func (c *reader) takeLate() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	late := c.late
	c.late = nil
	return late
}

// p99 is the 99th percentile.
func p99(late []time.Duration) time.Duration {
	slices.Sort(late)
	return late[len(late)*99/100]
}

// TestStalledBesideHealthy compares the delivery latency of healthy clients with
// and without stalled ones beside them, in turns; of each the round counts that
// other processes disturbed least. The stalled clients must be ended in time,
// and cost a bounded number of bytes until then.
func TestStalledBesideHealthy(t *testing.T) {
	for _, c := range []load{
		{healthy: 50, events: 120, size: 1 << 10, pace: time.Millisecond},
		{healthy: 5, events: 6, size: 1 << 20, pace: 20 * time.Millisecond},
	} {
		for _, via := range []string{viaFast, viaStd} {
			t.Run(fmt.Sprintf("%d bytes %s", c.size, via), func(t *testing.T) { c.compare(t, via) })
		}
	}
}

// load is what TestStalledBesideHealthy measures.
type load struct {
	healthy, events, size int
	pace                  time.Duration
}

const stalledHistory = 8 << 20 // bytes

func (c load) compare(t *testing.T, via string) {
	patient, strict := Options{WriteTimeout: time.Minute}, Options{WriteTimeout: 200 * time.Millisecond}
	r := startRig(t, via, rigOptions{
		Options: patient,
		Engine:  engine.Options{Key: engine.KeyOptions{History: 4096, HistoryBytes: stalledHistory}},
	})
	var readers []*reader
	var following sync.WaitGroup
	for range c.healthy {
		rd := &reader{Conn: r.stream("connectKey=k")}
		readers = append(readers, rd)
		following.Go(rd.follow)
	}
	sent := 0
	publish := func(size int) {
		sent++
		r.must("k", numbered(sent, size))
	}
	settle := func() (late []time.Duration) {
		for i, rd := range readers {
			if !eventually.Within(eventually.Patience, func() bool { return rd.reached(sent) }) {
				t.Fatalf("client %d has event %d of %d: %s", i, rd.last, sent, r.state())
			}
			late = append(late, rd.takeLate()...)
		}
		return late
	}
	// phase publishes the events and returns how late they came.
	phase := func() time.Duration {
		tick := time.NewTicker(c.pace)
		defer tick.Stop()
		for range c.events {
			<-tick.C
			publish(c.size)
		}
		return p99(settle())
	}
	// stall opens clients that do not read, and fills their sockets.
	done := make(chan struct{})
	stall := func() {
		r.stuckClient("connectKey=k")
		slow := r.stuckClient("connectKey=k")
		_ = slow.NetConn().(*net.TCPConn).SetReadBuffer(4 << 10)
		following.Go(func() { trickle(slow.NetConn(), done) })
		r.waitCount("k", c.healthy+2)
		for r.blocked() < 2 {
			publish(64 << 10)
			settle()
		}
	}
	phase() // warms up
	stalled := 0
	attempts(t, 4, func() string {
		without, with := time.Hour, time.Hour
		for range 3 {
			without = min(without, phase())
			heap := heapInUse()
			stall()
			with = min(with, phase())
			if grown := heapInUse() - heap; grown > stalledHistory+8<<20 {
				t.Errorf("two stalled clients made the heap grow by %d bytes", grown)
			}
			if kept := r.eng.Stats().HistoryBytes; kept > stalledHistory+int64(c.size)+1024 {
				t.Errorf("%d bytes are kept", kept)
			}
			if n := r.eng.Count("k"); n != c.healthy+2 {
				t.Errorf("%d streams in the run, want %d: %s", n, c.healthy+2, r.state())
			}
			stalled += 2
			if err := r.reconfigure(strict); err != nil {
				t.Fatal(err)
			}
			r.waitCount("k", c.healthy)
			if err := r.reconfigure(patient); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("p99 %s without stalled clients, %s with", without, with)
		if with > 2*without+5*time.Millisecond {
			return "the healthy clients are slower"
		}
		return ""
	})
	eventually.True(t, "the streams are closed as stalled", func() bool {
		return r.metric(`fanfare_connections_closed_total{reason="stalled"}`) == float64(stalled)
	})
	if n := r.metric("fanfare_connections_blocked"); n != 0 {
		t.Errorf("%v streams count as blocked", n)
	}
	close(done)
	r.eng.CloseAll()
	following.Wait()
	for i, rd := range readers {
		if rd.bad != "" || rd.last != sent {
			t.Errorf("client %d: %d events of %d, %s", i, rd.last, sent, rd.bad)
		}
	}
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// lag opens a stream of key k that does not read, and publishes numbered events
// of 16 kB until it has been lapped by some rounds. It returns how many.
func (r *rig) lag(w *wiretest.Conn) (published int) {
	r.waitCount("k", 1)
	send := func() {
		published++
		r.must("k", numbered(published, 16<<10))
	}
	for r.blocked() == 0 {
		send()
		time.Sleep(100 * time.Microsecond) // so that the stream, and not the history, takes them
	}
	for range 40 {
		send()
	}
	return published
}

// lagging are the engine's options for a key of 8 events.
func lagging(p engine.Policy) rigOptions {
	return rigOptions{Engine: engine.Options{Key: engine.KeyOptions{History: 8, Slow: p}}}
}

func number(t *testing.T, m wiretest.Message) int {
	t.Helper()
	n, err := strconv.Atoi(strings.SplitN(m.Data, " ", 2)[0])
	if err != nil {
		t.Fatalf("%+v: %v", m.Type, err)
	}
	return n
}

// TestSlowSkip: a client that was lapped and reads on gets each event or a gap
// event that counts it.
func TestSlowSkip(t *testing.T) {
	onBoth(t, lagging(engine.Skip), func(t *testing.T, r *rig) {
		c := wiretest.NewEvents(r.stuckClient("connectKey=k"))
		published := r.lag(c.Conn)
		c.ReadHead()
		last, gaps, missed := 0, 0, 0
		for last < published {
			m := c.Next()
			if m.Type == "gap" {
				g := m.Gap(t)
				if g.Reason != "lag" || g.Missed == nil || *g.Missed <= 0 || m.ID != g.Next {
					t.Fatalf("gap %+v", m)
				}
				last += int(*g.Missed)
				missed += int(*g.Missed)
				gaps++
				continue
			}
			if n := number(t, m); n != last+1 {
				t.Fatalf("event %d follows %d", n, last)
			}
			last++
		}
		if last != published || gaps == 0 {
			t.Errorf("%d events of %d, %d gaps", last, published, gaps)
		}
		if n := r.metric("fanfare_missed_events_total"); n != float64(missed) {
			t.Errorf("%v events counted as missed, the client missed %d", n, missed)
		}
		if n := r.metric(`fanfare_slow_actions_total{policy="skip"}`); n != float64(gaps) {
			t.Errorf("%v slow actions counted, %d gaps", n, gaps)
		}
		if n := r.metric(`fanfare_gaps_total{reason="lag"}`); n != float64(gaps) {
			t.Errorf("%v gaps counted, %d told", n, gaps)
		}
		r.must("k", numbered(published+1, 0))
		if n := number(t, c.Next()); n != published+1 {
			t.Errorf("then event %d", n)
		}
	})
}

// TestSlowLatest: the newest value arrives, without a gap event, and what was
// skipped is counted.
func TestSlowLatest(t *testing.T) {
	onBoth(t, lagging(engine.Latest), func(t *testing.T, r *rig) {
		c := wiretest.NewEvents(r.stuckClient("connectKey=k"))
		published := r.lag(c.Conn)
		c.ReadHead()
		last, got := 0, 0
		for last < published {
			m := c.Next()
			if m.Type == "gap" {
				t.Fatalf("gap %+v", m)
			}
			if n := number(t, m); n <= last {
				t.Fatalf("event %d follows %d", n, last)
			} else {
				last = n
			}
			got++
		}
		if got == published {
			t.Error("nothing was skipped")
		}
		if n := r.metric("fanfare_missed_events_total"); n != float64(published-got) {
			t.Errorf("%v events counted as missed, of %d %d came", n, published, got)
		}
		if n := r.metric(`fanfare_slow_actions_total{policy="latest"}`); n == 0 {
			t.Error("no slow action counted")
		}
	})
}

// TestSlowDisconnect: the connection of a client that was lapped ends, and it
// resumes with a gap event for what is lost.
func TestSlowDisconnect(t *testing.T) {
	onBoth(t, lagging(engine.Disconnect), func(t *testing.T, r *rig) {
		c := wiretest.NewEvents(r.stuckClient("connectKey=k"))
		published := r.lag(c.Conn)
		c.ReadHead()
		last := 0
		for c.Err == nil {
			c.Feed()
			for _, m := range c.Take() {
				if m.Type == "gap" || number(t, m) != last+1 {
					t.Fatalf("%s %.40q follows %d", m.Type, m.Data, last)
				}
				last++
			}
		}
		if last == 0 || last >= published-8 {
			t.Fatalf("%d events of %d came", last, published)
		}
		r.waitOpen(0)
		if n := r.metric(`fanfare_connections_closed_total{reason="lagged"}`); n != 1 {
			t.Errorf("%v streams closed as lagged", n)
		}
		if n := r.metric(`fanfare_slow_actions_total{policy="disconnect"}`); n != 1 {
			t.Errorf("%v slow actions counted", n)
		}
		again := wiretest.NewEvents(r.stream("connectKey=k", "Last-Event-ID: "+c.LastID()))
		g := again.Next().Gap(t)
		if g.Reason != "history" || g.Missed == nil || int(*g.Missed) != published-8-last {
			t.Errorf("gap %+v: %d events of %d came", g, last, published)
		}
		for n := published - 7; n <= published; n++ {
			if got := number(t, again.Next()); got != n {
				t.Fatalf("event %d, want %d", got, n)
			}
		}
	})
}

// TestGracefulCloseOfStalled: a client that takes nothing cannot put off the end of its stream for longer than WriteTimeout.
func TestGracefulCloseOfStalled(t *testing.T) {
	const writeTimeout = time.Second
	o := rigOptions{Options: Options{WriteTimeout: writeTimeout}}
	onBoth(t, o, func(t *testing.T, r *rig) {
		c := r.stuckClient("connectKey=k")
		r.waitCount("k", 1)
		for r.blocked() == 0 {
			r.must("k", numbered(1, 64<<10))
		}
		blocked := time.Now() // at the latest: the write began before
		for _, st := range r.srv.streams.States() {
			blocked = blocked.Add(-st.Blocked)
		}
		if n := r.eng.CloseKey("k"); n != 1 {
			t.Fatalf("%d closed", n)
		}
		if n := r.eng.Count("k"); n != 0 {
			t.Errorf("count is %d after close", n)
		}
		r.waitOpen(0)
		if took := time.Since(blocked); took < writeTimeout || took > 20*writeTimeout {
			t.Errorf("the stream ended after %s", took)
		}
		if n := r.metric(`fanfare_connections_closed_total{reason="stalled"}`); n != 1 {
			t.Errorf("%v closed as stalled", n)
		}
		c.Close()
	})
}

// TestFastPublisher: a publisher that is faster than a socket does not keep the
// waker at that stream: subscribers of other keys get their events meanwhile.
func TestFastPublisher(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Engine: engine.Options{Wakers: 1, Key: engine.KeyOptions{History: 64}}})
	var reading, publishing sync.WaitGroup
	for range 3 {
		hot := r.stream("connectKey=hot")
		reading.Go(func() {
			_ = hot.NetConn().SetReadDeadline(time.Time{})
			_, _ = io.Copy(io.Discard, hot.Body)
		})
	}
	calm := r.subscribe("connectKey=calm")
	var stop atomic.Bool
	for range 2 {
		publishing.Go(func() {
			for n := 0; !stop.Load(); n++ {
				r.must("hot", numbered(n, 0))
			}
		})
	}
	worst := disturbance()
	var late []time.Duration
	for range 50 {
		start := time.Now()
		r.must("calm", codec.Event{Data: []byte("x")})
		calm.WantData("x")
		late = append(late, time.Since(start))
		time.Sleep(2 * time.Millisecond) // a pause in which the publisher has the waker's whole attention
	}
	stop.Store(true)
	publishing.Wait()
	r.eng.CloseAll()
	reading.Wait()
	slices.Sort(late)
	delay := worst()
	t.Logf("the other key's events came after %s, the latest %s, delays up to %s", late[len(late)/2], late[len(late)-1], delay)
	if late[len(late)/2] > time.Second+4*delay {
		t.Error("the other key's subscriber has to wait")
	}
}
