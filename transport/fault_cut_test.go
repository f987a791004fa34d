package transport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// TestCutWrites: a socket that takes frames and batches in parts gets every byte
// once: each event in its key's order, and, with several keys, each id telling
// the positions of all of them at that event.
func TestCutWrites(t *testing.T) {
	history := engine.Options{Key: engine.KeyOptions{History: 1 << 13, HistoryBytes: 256 << 20}}
	for _, keys := range [][]string{{"a"}, {"a", "b", "c"}} {
		for _, large := range []bool{false, true} {
			name := fmt.Sprintf("%d keys", len(keys))
			n, size := 4000, func() int { return rand.N(3000) }
			if large {
				name += ", large events"
				n, size = 10, func() int { return 1<<20 - 10 + rand.N(20) }
			}
			t.Run(name, func(t *testing.T) {
				onBoth(t, rigOptions{Engine: history}, func(t *testing.T, r *rig) {
					w := r.stuckClient("connectKey="+strings.Join(keys, "&connectKey="), "Connection: close")
					r.waitCount(keys[len(keys)-1], 1)
					want := map[string]int{} // events of each key
					for i := range n {
						key := keys[rand.N(len(keys))]
						want[key]++
						text := fmt.Sprintf("%s %d ", key, want[key])
						r.must(key, codec.Event{Data: []byte(text + strings.Repeat("x", size()))})
						if i == n/2 && !large { // batches in the first half, single events later
							eventually.Equal(t, "the stream is blocked", 1, r.blocked)
						}
					}
					w.ReadHead()
					e := wiretest.NewEvents(w)
					got := map[string]int{}
					for i := range n {
						m := e.Next()
						var key string
						var number int
						if _, err := fmt.Sscan(m.Data[:min(len(m.Data), 40)], &key, &number); err != nil || number != got[key]+1 {
							t.Fatalf("event %.60q after %d of its key", m.Data, got[key])
						}
						got[key]++
						positions := strings.Split(m.ID, ",")
						if len(positions) != len(keys) {
							t.Fatalf("id %q", m.ID)
						}
						for k, p := range positions {
							if at, ok := engine.ParsePosition(p); !ok || at.Seq != uint64(got[keys[k]]) {
								t.Fatalf("id %q at event %d, where %v have come", m.ID, i, got)
							}
						}
						if rand.N(50) == 0 {
							time.Sleep(time.Duration(rand.N(2000)) * time.Microsecond) // so that the socket is full now and then
						}
					}
					r.must(keys[0], codec.Event{Data: []byte("end")})
					e.WantData("end")
					if n := r.metric("fanfare_missed_events_total"); n != 0 {
						t.Errorf("%v events counted as missed", n)
					}
					// The client may have an event before it is counted.
					eventually.Equal(t, "deliveries counted", float64(n+1), func() float64 { return r.metric("fanfare_deliveries_total") })
				})
			})
		}
	}
}

// TestFullBetweenEvents: a socket that is full where an event ends goes on with
// the next one. Sockets of this kind take a write as a whole or not at all.
func TestFullBetweenEvents(t *testing.T) {
	plainOnly(t)
	path := filepath.Join(t.TempDir(), "s")
	r := startRig(t, viaFast, rigOptions{
		listen: func() (net.Listener, error) { return net.Listen("unix", path) },
		Engine: engine.Options{Key: engine.KeyOptions{History: 1 << 16, HistoryBytes: 256 << 20}},
	})
	c := openPlain(t, r, net.Dial, "connectKey=a&connectKey=b")
	r.waitCount("b", 1)
	n := 0
	for r.blocked() == 0 {
		n++
		r.must("a", codec.Event{Data: fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", 500))})
	}
	r.must("b", codec.Event{Data: []byte("end")})
	c.until("data: end\n")
	// It may have come before events of the other key.
	c.until(fmt.Sprintf("data: %d ", n))
	for i, at := 1, 0; i <= n; i++ {
		next := strings.Index(c.seen[at:], fmt.Sprintf("data: %d x", i))
		if next < 0 {
			t.Fatalf("event %d of %d is not where it belongs", i, n)
		}
		at += next
	}
	if got := strings.Count(c.seen, "data: "); got != n+1 {
		t.Errorf("%d events, want %d", got, n+1)
	}
}
