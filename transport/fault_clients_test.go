package transport

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// stuckClient opens a stream and reads only its head: a client that never reads.
func (r *rig) stuckClient(query string, header ...string) *wiretest.Conn {
	r.t.Helper()
	w := r.dial()
	w.Send(r.get(query, header...))
	return w
}

// blocked returns how many streams wait for their clients, and have for a moment.
func (r *rig) blocked() int {
	// A write that the machine delayed looks the same for a moment.
	n := 0
	for _, st := range r.srv.streams.States() {
		if st.Blocked > 100*time.Millisecond {
			n++
		}
	}
	return n
}

// must publishes in the process.
func (r *rig) must(key string, ev codec.Event) engine.Published {
	p, err := r.srv.Publish(key, ev)
	if err != nil {
		r.t.Errorf("publish: %v", err)
	}
	return p
}

// drainBody reads to the end of the connection, for at most eventually.Patience.
func drainBody(c net.Conn) ([]byte, error) {
	_ = c.SetReadDeadline(time.Now().Add(eventually.Patience))
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
	text := fmt.Sprintf("%d open, %d counted", r.srv.Open(), r.eng.CountAll())
	for _, reason := range engine.Reasons() {
		if n := r.metric(`fanfare_connections_closed_total{reason="` + reason.String() + `"}`); n > 0 {
			text += fmt.Sprintf(", %v %s", n, reason)
		}
	}
	for _, st := range r.srv.streams.States() {
		text += fmt.Sprintf("\nstream %d: wrote %v ago, closing %q", st.ID, st.Quiet, st.Closing)
		if st.Blocked > 0 {
			text += fmt.Sprintf(", blocked for %v", st.Blocked)
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
