package transport

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/codec"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// TestCloseAfterEvents: close and closeAll end responses behind all that was
// published before.
func TestCloseAfterEvents(t *testing.T) {
	onBoth(t, rigOptions{Options: Options{PlainIDs: true}}, func(t *testing.T, r *rig) {
		var want strings.Builder
		const n = 500
		for i := range n {
			fmt.Fprintf(&want, "data: %d %s\n\n", i, strings.Repeat("x", 100))
		}
		for _, call := range []string{"/close?key=k", "/closeAll"} {
			var clients []*wiretest.Conn
			for range 20 {
				clients = append(clients, r.stream("connectKey=k"))
			}
			other := r.stream("connectKey=other")
			for i := range n {
				r.must("k", codec.Event{Data: fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", 100))})
			}
			var closed closedAnswer
			r.call("POST", call, "").decode(t, &closed)
			all := call == "/closeAll"
			if n := closed.Closed; n != 20 && !all || n != 21 && all {
				t.Errorf("%s: closed %d", call, n)
			}
			if n := r.eng.Count("k"); n != 0 {
				t.Errorf("%s: the count is %d", call, n)
			}
			for i, c := range clients {
				if got := c.Rest(); got != want.String() {
					t.Errorf("%s: client %d got %d bytes of %d: %s", call, i, len(got), want.Len(), wiretest.Clip(got))
				}
			}
			if all {
				if got := other.Rest(); got != "" {
					t.Errorf("the other key's client got %q", got)
				}
			} else if n := r.eng.Count("other"); n != 1 {
				t.Errorf("the other key has %d", n)
			}
			other.Close()
			r.waitOpen(0)
		}
		if n := r.metric(`fanfare_connections_closed_total{reason="closed"}`); n != 41 {
			t.Errorf("%v streams closed as closed", n)
		}
	})
}

// TestCloseWithSeveralKeys: closing one key of a stream ends the stream.
func TestCloseWithSeveralKeys(t *testing.T) {
	onBoth(t, rigOptions{}, func(t *testing.T, r *rig) {
		both, one := r.subscribe("connectKey=a&connectKey=b"), r.subscribe("connectKey=b")
		r.publish("a", "first")
		r.publish("b", "second")
		if n := r.eng.CloseKey("a"); n != 1 {
			t.Errorf("closed %d", n)
		}
		r.waitCount("b", 1)
		both.WantData("first", "second")
		both.ExpectEnd()
		r.publish("b", "third")
		one.WantData("second", "third")
	})
}

// TestCloseInAStorm: clients that come and go, publishers, and closeAll all the
// time. Every stream ends, and nothing is left.
func TestCloseInAStorm(t *testing.T) {
	onBoth(t, rigOptions{}, func(t *testing.T, r *rig) {
		var stop atomic.Bool
		var work sync.WaitGroup
		var ended atomic.Int32
		for range 8 {
			work.Go(func() {
				for i := 0; !stop.Load(); i++ {
					w := r.dial()
					w.Send(r.get(fmt.Sprintf("connectKey=a&connectKey=b%d", i%3)))
					if _, err := w.TryHead(); err != nil {
						t.Errorf("head: %v", err)
						return
					}
					_ = w.NetConn().SetReadDeadline(time.Now().Add(eventually.Patience))
					if _, err := io.Copy(io.Discard, w.Body); err == nil {
						ended.Add(1)
					}
					w.Close()
				}
			})
		}
		work.Go(func() {
			for i := 0; !stop.Load(); i++ {
				r.must("a", numbered(i, 300))
				r.must(fmt.Sprintf("b%d", i%3), numbered(i, 300))
			}
		})
		work.Go(func() {
			for !stop.Load() {
				r.eng.CloseAll()
				r.eng.CloseKey("b1")
			}
		})
		eventually.True(t, "500 streams are closed", func() bool { return ended.Load() >= 500 })
		stop.Store(true)
		eventually.Within(eventually.Patience, func() bool { r.eng.CloseAll(); time.Sleep(time.Millisecond); return r.srv.Open() == 0 })
		work.Wait()
		r.waitOpen(0)
		if n := r.eng.CountAll(); n != 0 {
			t.Errorf("countAll is %d", n)
		}
	})
}
