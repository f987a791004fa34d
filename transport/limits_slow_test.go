package transport

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
)

// drip reads n bytes from c every interval, until the stream ends or done is closed.
func drip(c net.Conn, n int, interval time.Duration, done <-chan struct{}) {
	b := make([]byte, n)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			_ = c.SetReadDeadline(time.Now().Add(interval))
			if _, err := c.Read(b); err != nil {
				var timeout net.Error
				if !asTimeout(err, &timeout) {
					return
				}
			}
		}
	}
}

func asTimeout(err error, timeout *net.Error) bool {
	t, ok := err.(net.Error)
	*timeout = t
	return ok && t.Timeout()
}

// TestMinReadRate: a client that reads a little now and then, so that it is never stalled, ends; one that is behind and reads
// faster than the limit stays, and so does one that is up to date.
func TestMinReadRate(t *testing.T) {
	for _, via := range []string{viaFast, viaStd} {
		// A machine that stops this process for a second makes every client slow.
		t.Run(via, func(t *testing.T) { attempts(t, 4, func() string { return minReadRate(t, via) }) })
	}
}

func minReadRate(t *testing.T, via string) (problem string) {
	r := startRig(t, via, rigOptions{
		Options: Options{WriteTimeout: time.Second, MinReadRate: 256 << 10, PingInterval: 300 * time.Millisecond},
		Engine:  engine.Options{Key: engine.KeyOptions{History: 8, HistoryBytes: 64 << 20}},
	})
	defer r.stop()
	done := make(chan struct{})
	defer close(done)
	r.stream("connectKey=quiet")
	slow := r.stuckClient("connectKey=k")
	go drip(slow.NetConn(), 4<<10, 100*time.Millisecond, done)
	fast := r.stuckClient("connectKey=k")
	go drip(fast.NetConn(), 256<<10, 100*time.Millisecond, done)
	r.waitCount("k", 2)
	publish := func() { r.must("k", codec.Event{Data: []byte(strings.Repeat("x", 512<<10))}) }
	eventually.True(t, "a client ends", func() bool {
		publish()
		time.Sleep(50 * time.Millisecond)
		return r.eng.Count("k") < 2
	})
	for range 30 { // three windows more
		publish()
		time.Sleep(100 * time.Millisecond)
	}
	ended := r.metric(`fanfare_rejected_total{limit="minReadRate"}`)
	if ended != 1 || r.eng.Count("k") != 1 || r.eng.Count("quiet") != 1 {
		return fmt.Sprintf("%v ended by minReadRate, %d at k, %d at quiet: %s", ended, r.eng.Count("k"), r.eng.Count("quiet"), r.state())
	}
	return ""
}

// TestPinnedBytes: what clients that do not read keep in memory, beyond the history, is counted and bounded; the oldest go.
func TestPinnedBytes(t *testing.T) {
	const size, limit, clients = 1 << 20, 8 << 20, 40
	r := startRig(t, viaFast, rigOptions{
		Options: Options{WriteTimeout: time.Hour, PingInterval: 200 * time.Millisecond, MaxPinnedBytes: limit},
		Engine:  engine.Options{Key: engine.KeyOptions{History: 2, HistoryBytes: 64 << 20}},
	})
	event := codec.Event{Data: []byte(strings.Repeat("x", size))}
	healthy := r.subscribe("connectKey=last")
	for i := range clients { // each keeps an event of its own
		r.stuckClient("connectKey=k")
		eventually.Equal(t, "the stream has been opened", float64(2+i), func() float64 { return r.metric("fanfare_connections_opened_total") })
		r.must("k", event)
		r.must("k", event)
		r.must("k", event)
	}
	eventually.True(t, "few are left", func() bool { return r.eng.Count("k") <= limit/size+2 })
	eventually.True(t, "it is counted", func() bool { n := r.metric("fanfare_pinned_bytes"); return n > limit/2 && n <= limit })
	ended := int(r.metric(`fanfare_rejected_total{limit="maxPinnedBytes"}`))
	if open := r.eng.Count("k"); open < limit/size-2 || open+ended != clients {
		t.Errorf("%d are open, %d ended", open, ended)
	}
	if grown := heapAlloc() - limit; grown > 2*limit {
		t.Errorf("the heap has %d bytes more than the limit", grown)
	}
	r.publish("last", "hello")
	healthy.WantData("hello")
}
