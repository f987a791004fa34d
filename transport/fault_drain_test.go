package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

var retryLine = regexp.MustCompile(`retry: (\d+)\n\n$`)

// TestDrain: streams end at the rate set, each with a reconnection time of its
// own, and after all that was published.
func TestDrain(t *testing.T) {
	for via, streams := range map[string]int{viaFast: 2000, viaStd: 500} {
		t.Run(via, func(t *testing.T) {
			const retryMin, retryMax = 2 * time.Second, 6 * time.Second
			o := Options{PlainIDs: true, DrainRate: streams, DrainTimeout: eventually.Patience, RetryMin: retryMin, RetryMax: retryMax}
			r := startRig(t, via, rigOptions{Options: o})
			type end struct {
				text string
				at   time.Time
				err  error
			}
			ends := make([]end, streams)
			var reading sync.WaitGroup
			for i := range ends {
				w := r.stream("connectKey=k" + strconv.Itoa(i%100))
				reading.Go(func() {
					_ = w.NetConn().SetReadDeadline(time.Now().Add(eventually.Patience))
					b, err := io.ReadAll(w.Body)
					ends[i] = end{string(b), time.Now(), err}
				})
			}
			for k := range 100 {
				r.must("k"+strconv.Itoa(k), numbered(k, 0))
			}
			start := time.Now()
			r.srv.Drain(context.Background())
			took := time.Since(start)
			if n := r.srv.Open(); n != 0 {
				t.Errorf("%d streams are open after Drain", n)
			}
			reading.Wait()
			late, low, high := 0, 0, 0
			for i, e := range ends {
				m := retryLine.FindStringSubmatch(e.text)
				if e.err != nil || m == nil || !strings.HasPrefix(e.text, fmt.Sprintf("data: %d ", i%100)) {
					t.Fatalf("stream %d: %q, %v", i, e.text, e.err)
				}
				ms, _ := strconv.Atoi(m[1])
				switch d := time.Duration(ms) * time.Millisecond; {
				case d < retryMin || d > retryMax:
					t.Errorf("retry %s", d)
				case d < retryMin+(retryMax-retryMin)/4:
					low++
				case d > retryMax-(retryMax-retryMin)/4:
					high++
				}
				if e.at.After(start.Add(took / 2)) {
					late++
				}
			}
			t.Logf("%d streams in %s, %d in the second half; retry: %d in the first quarter, %d in the last", streams, took, late, low, high)
			if took < 900*time.Millisecond || took > 5*time.Second {
				t.Errorf("took %s, at a rate that takes 1 s", took)
			}
			if late < streams/4 || late > streams*3/4 {
				t.Errorf("%d streams of %d ended in the second half", late, streams)
			}
			if low < streams/8 || high < streams/8 {
				t.Errorf("%d retry times of %d in the first quarter, %d in the last", low, streams, high)
			}
			if n := r.metric(`fanfare_connections_closed_total{reason="drain"}`); n != float64(streams) {
				t.Errorf("%v streams closed by drain", n)
			}
		})
	}
}

// TestDrainOrder: readiness goes first, then new connections, then streams.
func TestDrainOrder(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: Options{DrainDelay: 400 * time.Millisecond}})
	c := r.subscribe("connectKey=k")
	if a := r.call("GET", "/readyz", ""); a.status != 200 {
		t.Fatalf("readyz %d before the drain", a.status)
	}
	start := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.srv.Drain(context.Background())
	}()
	eventually.True(t, "readyz is 503", func() bool { return r.call("GET", "/readyz", "").status == 503 })
	if time.Since(start) < 300*time.Millisecond { // else a machine too busy for this part
		r.subscribe("connectKey=late")
		if n := r.srv.Open(); n != 2 {
			t.Errorf("%d streams are open in the delay", n)
		}
	}
	if a := r.call("GET", "/healthz", ""); a.status != 200 {
		t.Errorf("healthz %d", a.status)
	}
	r.publish("k", "in the delay")
	c.WantData("in the delay")
	c.ExpectEnd()
	if took := time.Since(start); took < 400*time.Millisecond {
		t.Errorf("the stream ended %s after the drain began", took)
	}
	<-done
	if _, err := net.Dial("tcp", r.addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection: %v", err)
	}
	if a := r.call("GET", "/countAll", ""); a.status != 200 {
		t.Errorf("the admin listener answers %d", a.status)
	}
}

// TestDrainRefuses: a connection that was there before cannot open a stream
// in a server that drains.
func TestDrainRefuses(t *testing.T) {
	onBoth(t, rigOptions{}, func(t *testing.T, r *rig) {
		w := r.stream("connectKey=k")
		kept := r.dial()
		kept.Send(wiretest.Request("OPTIONS", r.path))
		if kept.ReadHead(); kept.Status != 204 {
			t.Fatalf("OPTIONS: %d", kept.Status)
		}
		r.srv.Drain(context.Background())
		w.Rest()
		kept.Send(r.get("connectKey=k"))
		if kept.ReadHead(); kept.Status != 200 || !strings.HasPrefix(kept.Read(100), "retry: ") {
			t.Errorf("a stream of a server that drains: %d", kept.Status)
		}
		if n := r.metric(`fanfare_rejected_total{limit="drain"}`); n != 1 {
			t.Errorf("%v refused", n)
		}
	})
}

// TestDrainStalled: a client that takes nothing ends with DrainTimeout.
func TestDrainStalled(t *testing.T) {
	o := rigOptions{Options: Options{DrainTimeout: 500 * time.Millisecond}}
	onBoth(t, o, func(t *testing.T, r *rig) {
		r.stuckClient("connectKey=k")
		r.waitCount("k", 1)
		for r.blocked() == 0 {
			r.must("k", numbered(1, 64<<10))
		}
		c := r.subscribe("connectKey=other")
		start := time.Now()
		r.srv.Drain(context.Background())
		if took := time.Since(start); took < 400*time.Millisecond || took > 3*time.Second {
			t.Errorf("took %s", took)
		}
		if rest := c.Rest(); !retryLine.MatchString(rest) {
			t.Errorf("the healthy client got %q", rest)
		}
		if n := r.metric(`fanfare_connections_closed_total{reason="stalled"}`); n != 1 {
			t.Errorf("%v closed as stalled", n)
		}
		r.waitOpen(0)
	})
}

// TestDrainCancelled: when the context is done, all ends at once, in the delay
// and later, also while clients keep coming.
func TestDrainCancelled(t *testing.T) {
	for _, delay := range []time.Duration{0, time.Hour} {
		o := rigOptions{Options: Options{DrainDelay: delay, DrainRate: 1, DrainTimeout: time.Hour}}
		onBoth(t, o, func(t *testing.T, r *rig) {
			for range 100 {
				r.stream("connectKey=k")
			}
			stop := make(chan struct{})
			var storm sync.WaitGroup
			for range 4 {
				storm.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						c, err := net.Dial("tcp", r.addr)
						if err != nil {
							return
						}
						_, _ = c.Write([]byte(r.get("connectKey=storm", "Connection: close")))
						_, _ = drainBody(c)
						_ = c.Close()
					}
				})
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan time.Time)
			go func() {
				r.srv.Drain(ctx)
				done <- time.Now()
			}()
			eventually.True(t, "not ready", func() bool { return !r.srv.api.Ready.Load() })
			start := time.Now()
			cancel()
			if took := (<-done).Sub(start); took > 2*time.Second {
				t.Errorf("took %s", took)
			}
			if n := r.srv.Open(); n != 0 {
				t.Errorf("%d streams are open", n)
			}
			close(stop)
			r.stop()
			storm.Wait()
		})
	}
}

// TestCloseWhileStreamsStart: no stream is left of clients that come while the
// server is closed.
func TestCloseWhileStreamsStart(t *testing.T) {
	for range 20 {
		onBoth(t, rigOptions{}, func(t *testing.T, r *rig) {
			var storm sync.WaitGroup
			for range 8 {
				storm.Go(func() {
					for {
						c, err := net.Dial("tcp", r.addr)
						if err != nil {
							return
						}
						_, _ = c.Write([]byte(r.get("connectKey=k")))
						b := make([]byte, 100)
						_ = c.SetReadDeadline(time.Now().Add(eventually.Patience))
						n, _ := c.Read(b)
						_ = c.Close()
						if n == 0 {
							return
						}
					}
				})
			}
			eventually.True(t, "a stream has been opened", func() bool { return r.metric("fanfare_connections_opened_total") > 4 })
			r.stop()
			storm.Wait()
			if n, counted := r.srv.Open(), r.eng.CountAll(); n != 0 || counted != 0 {
				t.Errorf("%d streams are open, %d counted", n, counted)
			}
		})
	}
}
