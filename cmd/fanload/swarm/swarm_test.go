//go:build linux

package swarm

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/sequence"
	"fanfare/internal/test/eventually"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// streams is a server whose answers the test writes.
type streams struct {
	address string
	mu      sync.Mutex
	conns   []net.Conn // in the order in which they came; nil: closed by the test
	asked   []*http.Request
}

func serve(t *testing.T, head string) *streams {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &streams{address: l.Addr().String()}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(c, head)
			v.mu.Lock()
			v.conns, v.asked = append(v.conns, c), append(v.asked, r)
			v.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wait.Wait()
		for i := range v.conns {
			v.end(i)
		}
	})
	return v
}

func (v *streams) send(to int, text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, _ = io.WriteString(v.conns[to], text)
}

func (v *streams) end(i int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	_ = v.conns[i].Close()
}

func (v *streams) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.conns)
}

const streamHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

func connected(t *testing.T, p *plan.Plan) *Swarm {
	t.Helper()
	s, err := New(p, 0, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Connect(); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "all are connected", func() bool { return s.Counts().Open == int64(p.Subscribers) })
	if err := s.Begin(); err != nil {
		t.Fatal(err)
	}
	if err := s.Measure(0); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestCutStreamComesBack: the server breaks off in the middle of an event; the subscriber comes back with the id of the
// last whole one, and has lost nothing when the rest is replayed.
func TestCutStreamComesBack(t *testing.T) {
	v := serve(t, streamHead)
	p := testPlan(v.address, 1)
	p.Reconnect = true
	s := connected(t, p)
	v.send(0, "retry: 3\n\n"+frame(1)+frame(2)[:40])
	v.end(0)
	eventually.True(t, "it is back", func() bool { return v.count() == 2 })
	if id := v.asked[1].Header.Get("Last-Event-ID"); id != "e-1" {
		t.Errorf("it came back with %q", id)
	}
	if id, has := v.asked[0].Header["Last-Event-Id"]; has {
		t.Errorf("it came first with %q", id)
	}
	v.send(1, frame(2)+frame(3))
	eventually.True(t, "all is there", func() bool { n, err := s.Behind([]int64{3}); return n == 0 && err == nil })
	r, err := s.Finish(&sequence.Published{Last: []int64{3}})
	c := r.Counts
	if err != nil || c.Delivered != 3 || c.Lost+c.Duplicate+c.Foreign != 0 || c.Ended != 1 || c.Reconnects != 1 || c.Retries != 1 {
		t.Errorf("%v, %+v", err, c)
	}
	if r.Reconnect.Count() != 1 || r.Head.Count() != 2 || r.FirstEvent.Count() != 2 {
		t.Errorf("%d reconnects, %d heads, %d first events", r.Reconnect.Count(), r.Head.Count(), r.FirstEvent.Count())
	}
}

// TestLostAtSomeOfMany: loops are joined, and only who has lost something counts as such.
func TestLostAtSomeOfMany(t *testing.T) {
	v := serve(t, streamHead)
	s := connected(t, testPlan(v.address, 5))
	for i := range 5 {
		if i != 3 {
			v.send(i, frame(1))
		}
		v.send(i, frame(2))
	}
	reached := make(chan struct{})
	if err := s.Await(0, 3, func() { close(reached) }); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		v.send(i, frame(3))
	}
	eventually.True(t, "the events are there", func() bool { n, err := s.Behind([]int64{3}); return n == 1 && err == nil })
	select {
	case <-reached:
		t.Error("the last one has not got it")
	default:
	}
	v.send(4, frame(3))
	<-reached
	r, err := s.Finish(&sequence.Published{Last: []int64{3}})
	if c := r.Counts; err != nil || c.Delivered != 14 || c.Undelivered != 1 || c.Lost != 0 || c.LostOf != 1 || r.Latency.Count() != 14 {
		t.Errorf("%v, %+v", err, r.Counts)
	}
}

// TestWindowsAreTheWhole: what windows tell and what is left at the end are all latencies, each once.
func TestWindowsAreTheWhole(t *testing.T) {
	v := serve(t, streamHead)
	s := connected(t, testPlan(v.address, 4))
	if w, err := s.Window(); w != nil || err != nil {
		t.Errorf("a window of nothing: %v, %v", w, err)
	}
	var all measure.Profile
	windows := 0
	const n = 40
	for seq := range int64(n) {
		for i := range 4 {
			v.send(i, frame(seq+1))
		}
		w, err := s.Window()
		if err != nil {
			t.Fatal(err)
		}
		if w != nil {
			windows++
		}
		all = all.Merge(w)
	}
	eventually.True(t, "all is there", func() bool { n, err := s.Behind([]int64{n}); return n == 0 && err == nil })
	r, err := s.Finish(&sequence.Published{Last: []int64{n}})
	if err != nil {
		t.Fatal(err)
	}
	all = all.Merge(r.Window)
	if all.Count() != 4*n || r.Latency.Count() != 4*n || r.Counts.Measured != 4*n {
		t.Errorf("%d in %d windows, %d in all, of %d", all.Count(), windows, r.Latency.Count(), 4*n)
	}
	if top := all.Spread().Max; top < r.Latency.Summary().Max {
		t.Errorf("at most %d in the windows, %d in all", top, r.Latency.Summary().Max)
	}
}

// TestSilentServer answers nothing: that is a failure, in time.
func TestSilentServer(t *testing.T) {
	v := serve(t, "")
	p := testPlan(v.address, 3)
	p.ConnectTimeout = 50 * time.Millisecond
	s, err := New(p, 0, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Connect(); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "all have failed", func() bool { return s.Counts().Failed == 3 })
	r, err := s.Finish(&sequence.Published{Last: []int64{0}})
	if err != nil || r.Errors["connect: timeout: no answer in 50ms"] != 3 || r.Counts.Opening != 0 {
		t.Errorf("%v, %v, %+v", err, r.Errors, r.Counts)
	}
}

// TestSharesAreDisjoint: each subscriber belongs to one loop of one process.
func TestSharesAreDisjoint(t *testing.T) {
	p := testPlan("127.0.0.1:9", 101)
	seen := map[int]bool{}
	for shard := range 3 {
		s, err := New(p, shard, 3, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range s.loops {
			for i := range l.subs {
				if at := l.subs[i].index; seen[at] {
					t.Errorf("subscriber %d is there twice", at)
				}
				seen[l.subs[i].index] = true
			}
		}
		s.Close()
	}
	if len(seen) != 101 {
		t.Errorf("%d subscribers", len(seen))
	}
}

// TestClosedSwarm says so, and holds nobody up.
func TestClosedSwarm(t *testing.T) {
	s, err := New(testPlan("127.0.0.1:9", 2), 0, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.Close()
	_, behind := s.Behind([]int64{0})
	_, finish := s.Finish(&sequence.Published{Last: []int64{0}})
	for _, err := range []error{s.Connect(), s.Storm(1, 0), behind, finish} {
		if err == nil || !strings.Contains(fmt.Sprint(err), "has ended") {
			t.Errorf("error %v", err)
		}
	}
}
