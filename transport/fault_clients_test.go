package transport

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"fanfare/codec"
	"fanfare/engine"
)

// stuckClient opens a stream and reads only its head: a client that never reads.
func (r *rig) stuckClient(query string, header ...string) *wire {
	r.t.Helper()
	w := r.dial()
	w.send(r.get(query, header...))
	return w
}

// streamsOf returns the open streams for which want holds.
func (r *rig) streamsOf(want func(*stream) bool) []*stream {
	var all []*stream
	for shard := range registryShards {
		all = r.srv.streams.collect(all, shard, want)
	}
	return all
}

// blocked returns how many streams wait for their clients, and have for a moment.
func (r *rig) blocked() int {
	since := map[*stream]int64{}
	waits := func(st *stream) bool {
		at := st.blockedSince.Load()
		if at != 0 && r.srv.clock.Load() > at {
			since[st] = at
		}
		return since[st] != 0
	}
	if len(r.streamsOf(waits)) == 0 {
		return 0
	}
	// A write that the machine delayed looks the same for a moment.
	time.Sleep(100 * time.Millisecond)
	return len(r.streamsOf(func(st *stream) bool { return since[st] != 0 && st.blockedSince.Load() == since[st] }))
}

// must publishes in the process.
func (r *rig) must(key string, ev codec.Event) engine.Published {
	p, err := r.srv.Publish(key, ev)
	if err != nil {
		r.t.Errorf("publish: %v", err)
	}
	return p
}

// drainBody reads to the end of the connection or for as long as patience lasts.
func drainBody(c net.Conn) ([]byte, error) {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	return io.ReadAll(c)
}

// trickle reads a byte a second until done is closed.
func trickle(c net.Conn, done <-chan struct{}) {
	b := make([]byte, 1)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			if _, err := c.Read(b); err != nil {
				return
			}
		}
	}
}

// attempts runs try until it returns "", a few times: for figures of time, which
// another process can spoil.
func attempts(t *testing.T, n int, try func() (problem string)) {
	t.Helper()
	for i := 1; ; i++ {
		problem := try()
		if problem == "" {
			return
		}
		t.Logf("attempt %d: %s", i, problem)
		if i == n {
			t.Fatalf("%d attempts failed", n)
		}
	}
}

// state tells what is known of the streams, for failures.
func (r *rig) state() string {
	now := r.srv.clock.Load()
	text := fmt.Sprintf("%d open, %d counted", r.srv.Open(), r.eng.CountAll())
	for _, reason := range engine.Reasons() {
		if n := r.metric(`fanfare_connections_closed_total{reason="` + reason.String() + `"}`); n > 0 {
			text += fmt.Sprintf(", %v %s", n, reason)
		}
	}
	for _, st := range r.streamsOf(func(*stream) bool { return true }) {
		text += fmt.Sprintf("\nstream %d: wrote %d ms ago, closing %q", st.gen, now-st.lastWrite.Load(), st.sub.Closing())
		if since := st.blockedSince.Load(); since != 0 {
			text += fmt.Sprintf(", blocked for %d ms", now-since)
		}
	}
	return text
}

// disturbance measures, until it is called, by how much this machine delays a
// goroutine that has little to do, at worst. Figures of time allow for a few
// such delays.
func disturbance() (worst func() time.Duration) {
	stop, result := make(chan struct{}), make(chan time.Duration)
	go func() {
		var worst time.Duration
		for {
			start := time.Now()
			select {
			case <-stop:
				result <- worst
				return
			case <-time.After(time.Millisecond):
				worst = max(worst, time.Since(start)-time.Millisecond)
			}
		}
	}()
	return func() time.Duration {
		close(stop)
		return <-result
	}
}
