package transport

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// prompt is how soon the counts are right after clients have gone.
func prompt() time.Duration {
	if raced {
		return 2 * time.Second
	}
	return 100 * time.Millisecond
}

// leavings are the ways for a client to go away.
var leavings = []struct {
	name  string
	leave func(*wire)
}{
	{"FIN", (*wire).close},
	{"RST", (*wire).reset},
	{"half-close", func(w *wire) { _ = w.conn.CloseWrite() }},
}

// TestHangup: a client's end is noticed at once, with no traffic at all.
func TestHangup(t *testing.T) {
	onBoth(t, rigOptions{Options: Options{PingInterval: time.Hour}}, func(t *testing.T, r *rig) {
		for _, l := range leavings {
			attempts(t, 3, func() string {
				stays := r.stream("connectKey=k")
				defer stays.close()
				w := r.stream("connectKey=k&connectKey=other")
				r.waitCount("k", 2)
				worst, start := disturbance(), time.Now()
				l.leave(w)
				r.waitCount("k", 1)
				r.waitCount("other", 0)
				took := time.Since(start)
				w.close()
				stays.close()
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
			all := make([]*wire, leaving)
			for i := range all {
				all[i] = r.dial()
				all[i].send(r.get(fmt.Sprintf("connectKey=k%d", i%10)))
			}
			for _, w := range all {
				w.readHead()
			}
			eventually(t, "all are counted", func() bool { return r.eng.CountAll() == leaving+staying })
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
			eventually(t, "the dead are not counted", func() bool { return r.eng.CountAll() == staying })
			took := time.Since(start)
			if n := r.count("k7"); n != staying {
				t.Errorf("/count says %d", n)
			}
			for _, w := range all {
				w.close()
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
