package transport

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/race"
	"fanfare/internal/test/wiretest"
)

// prompt is how soon the counts are right after clients have gone.
func prompt() time.Duration {
	if race.Enabled {
		return 2 * time.Second
	}
	return 100 * time.Millisecond
}

// leavings are the ways for a client to go away.
var leavings = []struct {
	name  string
	leave func(*wiretest.Conn)
}{
	{"FIN", (*wiretest.Conn).Close},
	{"RST", (*wiretest.Conn).Reset},
	{"half-close", func(w *wiretest.Conn) { w.CloseWrite() }},
}

// TestHangup: a client's end is noticed at once, with no traffic at all.
func TestHangup(t *testing.T) {
	onBoth(t, rigOptions{Options: Options{PingInterval: time.Hour}}, func(t *testing.T, r *rig) {
		for _, l := range leavings {
			attempts(t, 3, func() string {
				stays := r.stream("connectKey=k")
				defer stays.Close()
				w := r.stream("connectKey=k&connectKey=other")
				r.waitCount("k", 2)
				worst, start := disturbance(), time.Now()
				l.leave(w)
				r.waitCount("k", 1)
				r.waitCount("other", 0)
				took := time.Since(start)
				w.Close()
				stays.Close()
				r.waitCount("k", 0)
				if n := r.eng.CountAll(); n != 0 {
					t.Errorf("%s: countAll is %d", l.name, n)
				}
				if took > prompt()+4*worst() {
					return fmt.Sprintf("%s: noticed after %s", l.name, took)
				}
				return ""
			})
		}
		r.waitOpen(0)
		if n := r.metric(`fanfare_connections_closed_total{reason="gone"}`); n < 6 {
			t.Errorf("%v streams closed as gone", n)
		}
	})
}

// TestHangupOfMany: 1,000 clients that go at once, in all ways, beside ones that
// stay.
func TestHangupOfMany(t *testing.T) {
	const leaving, staying = 1000, 20
	onBoth(t, rigOptions{Options: Options{PingInterval: time.Hour}}, func(t *testing.T, r *rig) {
		for range staying {
			r.stream("connectKey=k7")
		}
		attempts(t, 3, func() string {
			all := make([]*wiretest.Conn, leaving)
			for i := range all {
				all[i] = r.dial()
				all[i].Send(r.get(fmt.Sprintf("connectKey=k%d", i%10)))
			}
			for _, w := range all {
				w.ReadHead()
			}
			eventually.Equal(t, "all are counted", leaving+staying, r.eng.CountAll)
			var left sync.WaitGroup
			for part := range 4 {
				left.Go(func() {
					for i := part; i < leaving; i += 4 {
						leavings[i%len(leavings)].leave(all[i])
					}
				})
			}
			left.Wait()
			worst, start := disturbance(), time.Now()
			eventually.Equal(t, "the dead are not counted", staying, r.eng.CountAll)
			took := time.Since(start)
			if n := r.count("k7"); n != staying {
				t.Errorf("/count says %d", n)
			}
			for _, w := range all {
				w.Close()
			}
			r.waitOpen(staying)
			delay := worst()
			t.Logf("%d clients noticed %s after the last one left, delays up to %s", leaving, took, delay)
			if took > prompt()+4*delay {
				return "too late"
			}
			return ""
		})
		// Those that stayed are unharmed.
		if n := r.eng.Count("k7"); n != staying {
			t.Errorf("%d are counted of %d that stay", n, staying)
		}
	})
}
