package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/race"
	"fanfare/internal/test/wiretest"
)

var retryLine = regexp.MustCompile(`retry: (\d+)\n\n$`)

// TestDrain: streams end at the rate set, each with a reconnection time of its own, and after all that was published.
func TestDrain(t *testing.T) {
	for via, streams := range map[string]int{viaFast: 2000, viaStd: 500} {
		t.Run(via, func(t *testing.T) { attempts(t, 4, func() string { return drainAll(t, via, streams) }) })
	}
}

// drainAll drains a server within a second, and returns what is wrong with the pace.
func drainAll(t *testing.T, via string, streams int) (problem string) {
	const retryMin, retryMax = 2 * time.Second, 6 * time.Second
	o := Options{PlainIDs: true, DrainRate: streams, DrainTimeout: eventually.Patience, RetryMin: retryMin, RetryMax: retryMax}
	r := startRig(t, via, rigOptions{Options: o})
	defer r.stop()
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
	worst, start := disturbance(), time.Now()
	r.srv.Drain(context.Background())
	took := time.Since(start)
	if n := r.srv.Open(); n != 0 {
		t.Errorf("%d streams are open after Drain", n)
	}
	reading.Wait()
	delay := worst()

	low, high := 0, 0
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
	}
	if low < streams/8 || high < streams/8 {
		t.Errorf("%d retry times of %d in the first quarter, %d in the last", low, streams, high)
	}
	if n := r.metric(`fanfare_connections_closed_total{reason="drain"}`); n != float64(streams) {
		t.Errorf("%v streams closed by drain", n)
	}

	// No stream ends before its turn, on any machine. How long after it depends on the machine's delays.
	slices.SortFunc(ends, func(a, b end) int { return a.at.Compare(b.at) })
	late := make([]time.Duration, streams)
	for i, e := range ends {
		due := start.Add(time.Duration(i) * time.Second / time.Duration(streams))
		if late[i] = e.at.Sub(due); late[i] < 0 {
			t.Fatalf("end %d of %d came %s before its turn", i, streams, -late[i])
		}
	}
	slices.Sort(late)
	median, allowance := late[streams/2], 100*time.Millisecond
	if race.Enabled {
		allowance = 300 * time.Millisecond
	}
	t.Logf("%d streams in %s, half of them not more than %s late, delays up to %s; retry: %d in the first quarter, %d in the last",
		streams, took, median, delay, low, high)
	if median > allowance+2*delay {
		return fmt.Sprintf("half of the streams ended more than %s after their turn", median)
	}
	return ""
}

// TestDrainOrder: readiness goes first, then new connections, then streams.
func TestDrainOrder(t *testing.T) {
	for delay := 400 * time.Millisecond; !drainInOrder(t, delay); delay *= 4 {
		t.Logf("this machine is too busy for a delay of %s", delay)
	}
}

// drainInOrder returns false if the delay was over before the steps that belong into it.
func drainInOrder(t *testing.T, delay time.Duration) bool {
	r := startRig(t, viaFast, rigOptions{Options: Options{DrainDelay: delay}})
	defer r.stop()
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
	r.stream("connectKey=late")
	open := r.srv.Open()
	healthz := r.call("GET", "/healthz", "").status
	r.publish("k", "in the delay")
	inTime := time.Since(start) < delay
	<-done
	if !inTime {
		return false
	}
	if open != 2 {
		t.Errorf("%d streams are open in the delay", open)
	}
	if healthz != 200 {
		t.Errorf("healthz %d", healthz)
	}
	c.WantData("in the delay")
	c.ExpectEnd()
	if took := time.Since(start); took < delay {
		t.Errorf("the stream ended %s after the drain began", took)
	}
	if _, err := net.Dial("tcp", r.addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection: %v", err)
	}
	if a := r.call("GET", "/countAll", ""); a.status != 200 {
		t.Errorf("the admin listener answers %d", a.status)
	}
	return true
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
	const drainTimeout = time.Second
	o := rigOptions{Options: Options{DrainTimeout: drainTimeout, WriteTimeout: time.Minute}}
	onBoth(t, o, func(t *testing.T, r *rig) {
		r.stuckClient("connectKey=k")
		r.waitCount("k", 1)
		for r.blocked() == 0 {
			r.must("k", numbered(1, 64<<10))
		}
		c := r.subscribe("connectKey=other")
		start := time.Now()
		r.srv.Drain(context.Background())
		if took := time.Since(start); took < drainTimeout || took > 30*time.Second {
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
	plainOnly(t)
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
			done := make(chan struct{})
			go func() {
				defer close(done)
				r.srv.Drain(ctx)
			}()
			eventually.True(t, "not ready", func() bool { return !r.srv.api.Ready.Load() })
			cancel()
			select {
			case <-done:
			case <-time.After(30 * time.Second): // at the rate set, the drain takes 100 s
				t.Fatal("the drain goes on")
			}
			r.waitOpen(0)
			close(stop)
			r.stop()
			storm.Wait()
		})
	}
}

// TestCloseWhileStreamsStart: no stream is left of clients that come while the
// server is closed.
func TestCloseWhileStreamsStart(t *testing.T) {
	plainOnly(t)
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
