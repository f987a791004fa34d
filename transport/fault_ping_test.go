package transport

import (
	"bufio"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/race"
	"fanfare/internal/test/wiretest"
)

// TestPings: quiet streams get a heartbeat in time, spread over a while, busy
// ones get none.
func TestPings(t *testing.T) {
	const (
		interval = 800 * time.Millisecond
		quiet    = 100
		rounds   = 3
	)
	allowance := 40 * time.Millisecond
	if race.Enabled {
		allowance = 200 * time.Millisecond
	}
	onBoth(t, rigOptions{Options: Options{PingInterval: interval, PlainIDs: true}}, func(t *testing.T, r *rig) {
		attempts(t, 4, func() string {
			busy := r.stream("connectKey=busy")
			worst := disturbance()
			pings := make([][]time.Time, quiet)
			var reading sync.WaitGroup
			for i := range pings {
				w := r.stream("connectKey=quiet")
				_ = w.NetConn().SetReadDeadline(time.Now().Add(eventually.Patience))
				in := bufio.NewReader(w.Body)
				reading.Go(func() {
					defer w.Close()
					for len(pings[i]) <= rounds {
						line, err := in.ReadString('\n')
						if err != nil {
							t.Errorf("stream %d: %v", i, err)
							return
						}
						// All begin with the same event.
						if strings.HasPrefix(line, ":") && len(pings[i]) > 0 || line == "data: together\n" {
							pings[i] = append(pings[i], time.Now())
						}
					}
				})
			}
			r.waitCount("quiet", quiet)
			r.publish("quiet", "together")
			done := make(chan struct{})
			go func() {
				reading.Wait()
				close(done)
			}()
			sent := 0
			tick := time.NewTicker(interval / 10)
			defer tick.Stop()
			for reads := true; reads; {
				select {
				case <-done:
					reads = false
				case <-tick.C:
					r.publish("busy", "x")
					sent++
				}
			}
			r.eng.CloseKey("busy")
			if got := busy.Rest(); strings.Count(got, "data: x\n") != sent {
				t.Errorf("the busy stream got %d events of %d", strings.Count(got, "data: x\n"), sent)
			} else if n := strings.Count(got, "\n:"); n > 0 {
				worst()
				return fmt.Sprintf("the busy stream got %d pings", n) // also if this test was stopped for a while
			}
			busy.Close()
			var longest time.Duration
			first, last := pings[0][1], pings[0][1]
			for _, at := range pings {
				for i := 1; i < len(at); i++ {
					longest = max(longest, at[i].Sub(at[i-1]))
				}
				if at[1].Before(first) {
					first = at[1]
				}
				if at[1].After(last) {
					last = at[1]
				}
			}
			r.waitOpen(0)
			delay := worst()
			t.Logf("longest silence %s, first pings spread over %s, delays up to %s", longest, last.Sub(first), delay)
			switch {
			case longest > interval+allowance+4*delay:
				return fmt.Sprintf("silent for %s", longest)
			case last.Sub(first) < interval/16:
				return "the pings came all at once"
			}
			return ""
		})
		if n := r.metric("fanfare_pings_total"); n < quiet*rounds {
			t.Errorf("%v pings counted", n)
		}
	})
}

// TestGarbage: a client that goes on sending after its request harms nobody,
// gets its events, and is noticed when it has gone: at once by fasthttp's server,
// which discards what it sends; by the heartbeat with net/http, which stops
// reading, so that the FIN waits behind the rest.
func TestGarbage(t *testing.T) {
	o := rigOptions{Options: Options{PingInterval: 400 * time.Millisecond}}
	onBoth(t, o, func(t *testing.T, r *rig) {
		c := r.subscribe("connectKey=k")
		garbage := strings.Repeat("GET / HTTP/1.1\r\nnonsense \x00\xff", 40<<10) // 1.1 MB
		if r.via == viaFast {
			garbage = garbage[:40<<10] // more, and the client counts as gone: see TestJunkAfterTheRequest
		}
		w := r.dial()
		w.Send(r.get("connectKey=k", "Connection: close") + garbage[:8<<10])
		var sending sync.WaitGroup
		sending.Go(func() {
			_ = w.NetConn().SetWriteDeadline(time.Now().Add(2 * time.Second))
			_, _ = w.NetConn().Write([]byte(garbage)) // as much as the kernel takes
		})
		w.ReadHead()
		r.waitCount("k", 2)
		r.publish("k", "one")
		c.WantData("one")
		e := wiretest.NewEvents(w)
		e.WantData("one")
		w.Close()
		sending.Wait()
		r.waitCount("k", 1)
		r.publish("k", "two")
		c.WantData("two")

		// The response's end is not lost by what the client has sent.
		w = r.dial()
		w.Send(r.get("connectKey=end", "Connection: close") + garbage[:32<<10])
		w.ReadHead()
		r.waitCount("end", 1)
		r.publish("end", "last")
		if n := r.eng.CloseKey("end"); n != 1 {
			t.Errorf("closed %d", n)
		}
		if got := w.Rest(); !strings.HasSuffix(got, "-1\n\n") || !strings.Contains(got, "\ndata: last\nid: ") {
			t.Errorf("read %q", got)
		}
	})
}

// TestReconfigure: settings change while streams run, under load.
func TestReconfigure(t *testing.T) {
	onBoth(t, rigOptions{Engine: engine.Options{Key: engine.KeyOptions{History: 1 << 14}}}, func(t *testing.T, r *rig) {
		const events, clients = 2000, 8
		var reading sync.WaitGroup
		readers := make([]*reader, clients)
		for i := range readers {
			readers[i] = &reader{Conn: r.stream("connectKey=k")}
			reading.Go(readers[i].follow)
		}
		stop := make(chan struct{})
		var changing sync.WaitGroup
		changing.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				err := r.reconfigure(Options{
					PingInterval: time.Duration(100+i%3*100) * time.Millisecond,
					WriteTimeout: time.Duration(20+i%3*10) * time.Second,
					PlainIDs:     i%2 == 0,
					Headers:      map[string]string{"X-Change": fmt.Sprint(i), "Cache-Control": ""},
					Retry:        time.Duration(i%2) * time.Second,
					AccessLog:    i%2 == 1,
				})
				if err != nil {
					t.Errorf("Reconfigure: %v", err)
					return
				}
			}
		})
		changing.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				w := r.dial()
				w.Send(r.get("connectKey=k"))
				if _, err := w.TryHead(); err != nil || w.Header.Get("X-Change") == "" && w.Header.Get("Cache-Control") == "" {
					t.Errorf("head: %v %v", w.Header, err)
					return
				}
				w.Close()
			}
		})
		for n := 1; n <= events; n++ {
			r.must("k", numbered(n, 200))
			if n%16 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		for i, rd := range readers {
			eventually.True(t, fmt.Sprintf("client %d has all", i), func() bool { return rd.reached(events) })
		}
		close(stop)
		changing.Wait()
		r.eng.CloseAll()
		reading.Wait()
		for i, rd := range readers {
			if rd.bad != "" || rd.last != events {
				t.Errorf("client %d: %d events, %s", i, rd.last, rd.bad)
			}
		}
		if err := r.reconfigure(Options{Path: "nowhere"}); err == nil {
			t.Error("a path without / is accepted")
		}
	})
}
