package transport

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/auth"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// dialFrom connects to the stream listener from an address of this machine.
func (r *rig) dialFrom(address string) *wiretest.Conn {
	r.t.Helper()
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address + ":0"))}
	c, err := dialer.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	return wiretest.New(r.t, c)
}

// burst asks for n streams from the address, all at once, and returns how many were opened. All others are sent away for a while.
func (r *rig) burst(address string, n int) (opened int) {
	r.t.Helper()
	var all []*wiretest.Conn
	for range n {
		w := r.dialFrom(address)
		w.Send(r.get("connectKey=k"))
		all = append(all, w)
	}
	for _, w := range all {
		if w.ReadHead(); w.Header.Get("Content-Length") == "" {
			w.Expect("retry: 700\n") // so that the client does not keep the time for which it was sent away before
			opened++
		} else if body := w.Rest(); w.Status != 200 || !strings.HasPrefix(body, "retry: ") {
			r.t.Errorf("%d %q", w.Status, body)
		} else if ms, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(body, "retry: "))); err != nil || ms < 600 {
			r.t.Errorf("%q", body)
		}
		w.Close()
	}
	return opened
}

// TestConnectRates: no address, and not all together, may ask for more streams than in the time that it took; what is refused is
// counted, and nobody is asked about it.
func TestConnectRates(t *testing.T) {
	plainOnly(t)
	const perAddress, rate, requests = 2, 5, 12
	var asked atomic.Int32
	o := Options{MaxConnectRatePerAddress: perAddress, RetryMin: 600 * time.Millisecond, RetryMax: 700 * time.Millisecond, Authorize: func(context.Context, auth.Request) (auth.Grant, error) {
		asked.Add(1)
		return auth.Grant{Subscribe: []string{"*"}}, nil
	}}
	onBoth(t, rigOptions{Options: o}, func(t *testing.T, r *rig) {
		asked.Store(0)
		start, all := time.Now(), 0
		most := func(rate int) int { return rate + int(time.Since(start).Seconds()*float64(rate)) + 1 }
		addresses := []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"}
		for _, address := range addresses {
			n := r.burst(address, requests)
			if all += n; n < perAddress || n > most(perAddress) {
				t.Errorf("%d streams of %s after %s", n, address, time.Since(start))
			}
		}
		if n := r.metric(`fanfare_rejected_total{limit="maxConnectRatePerAddress"}`); int(n) != len(addresses)*requests-all || int(asked.Load()) != all {
			t.Errorf("%v refused, %d asked, of which %d opened", n, asked.Load(), all)
		}
		// In total, by a reload.
		changed := r.srv.settings.Load().Options
		changed.MaxConnectRatePerAddress, changed.MaxConnectRate = 0, rate
		if err := r.reconfigure(changed); err != nil {
			t.Fatal(err)
		}
		start, all = time.Now(), 0
		var coming sync.WaitGroup
		var opened atomic.Int32
		for _, address := range addresses {
			coming.Go(func() { opened.Add(int32(r.burst(address, requests))) })
		}
		coming.Wait()
		all = int(opened.Load())
		if all < rate || all > most(rate) {
			t.Errorf("%d streams after %s", all, time.Since(start))
		}
		if n := r.metric(`fanfare_rejected_total{limit="maxConnectRate"}`); int(n) != len(addresses)*requests-all {
			t.Errorf("%v refused, %d opened", n, all)
		}
		// Both limits off: nobody is refused, and nothing is sent at the beginning.
		changed.MaxConnectRate = 0
		if err := r.reconfigure(changed); err != nil {
			t.Fatal(err)
		}
		for range 3 * rate {
			w := r.stream("connectKey=k")
			w.Expect("event: position")
			w.Close()
		}
		r.waitOpen(0)
	})
}

// TestMaxAuthorizing: requests beyond the limit do not wait, and are told to come back whatever overLimit says; those that wait
// count with the streams.
func TestMaxAuthorizing(t *testing.T) {
	var release atomic.Pointer[chan struct{}]
	hold := func() { c := make(chan struct{}); release.Store(&c) }
	o := Options{MaxAuthorizing: 3, MaxConnections: 5, OverLimit: Refuse204, Authorize: func(ctx context.Context, r auth.Request) (auth.Grant, error) {
		select {
		case <-*release.Load():
		case <-ctx.Done():
		}
		return auth.Grant{Subscribe: []string{"*"}}, nil
	}}
	onBoth(t, rigOptions{Options: o, prepare: func(*Server) { hold() }}, func(t *testing.T, r *rig) {
		ask := func() *wiretest.Conn {
			w := r.dial()
			w.Send(r.get("connectKey=k"))
			return w
		}
		waiting := func() int { return int(r.metric("fanfare_authorizing")) }
		held := []*wiretest.Conn{ask(), ask(), ask()}
		eventually.Equal(t, "requests wait", 3, waiting)
		over := ask()
		over.ReadHead()
		if body := over.Rest(); over.Status != 200 || !strings.HasPrefix(body, "retry: ") {
			t.Errorf("%d %q", over.Status, body)
		}
		if n := r.metric(`fanfare_rejected_total{limit="maxAuthorizing"}`); n != 1 {
			t.Errorf("%v refused", n)
		}
		if n := r.metric("fanfare_idle_connections"); n != 0 {
			t.Errorf("%v of them count as idle", n)
		}
		close(*release.Load())
		for _, w := range held {
			if w.ReadHead(); w.Status != 200 || w.Header.Get("Content-Length") != "" {
				t.Errorf("%d %v", w.Status, w.Header)
			}
		}
		r.waitOpen(3)
		eventually.Equal(t, "none waits", 0, waiting)
		// There is room for two more: the third is not asked about.
		hold()
		held = append(held, ask(), ask())
		eventually.Equal(t, "requests wait", 2, waiting)
		if over = ask(); over.ReadHead() == "" || over.Status != 204 {
			t.Error(over.Status)
		}
		if n := r.metric(`fanfare_rejected_total{limit="maxConnections"}`); n != 1 {
			t.Errorf("%v refused", n)
		}
		close(*release.Load())
		r.waitOpen(5)
		for _, w := range held {
			w.Close()
		}
		r.waitOpen(0)
	})
}
