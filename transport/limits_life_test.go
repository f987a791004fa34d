package transport

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fanfare/codec"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// TestMaxLife: a stream ends after its time, each at another moment, with a reconnection time and all its events; the client
// that comes back resumes exactly.
func TestMaxLife(t *testing.T) {
	for _, via := range []string{viaFast, viaStd} {
		t.Run(via, func(t *testing.T) {
			for life := 2 * time.Second; !maxLife(t, via, life); life *= 4 {
				t.Logf("this machine is too busy for a life of %s", life)
			}
		})
	}
}

// maxLife returns false if streams may have ended before the first event.
func maxLife(t *testing.T, via string, life time.Duration) bool {
	r := startRig(t, via, rigOptions{Options: Options{MaxLife: life, PingInterval: time.Minute}})
	defer r.stop()
	const streams = 20
	shortest := life * 8 / 10
	var all []*wiretest.Conn
	start := time.Now()
	for range streams {
		all = append(all, r.stream("connectKey=k"))
	}
	eventually.Equal(t, "the streams have been opened", streams, func() float64 { return r.metric("fanfare_connections_opened_total") })
	r.must("k", codec.Event{Data: []byte("one")})
	if time.Since(start) > shortest/2 {
		return false
	}
	var last time.Duration
	var id string
	for _, w := range all {
		_, after, found := strings.Cut(w.Rest(), "data: one\nid: ")
		if !found || !retryLine.MatchString(after) {
			t.Errorf("after the position: %q", after)
		}
		id, _, _ = strings.Cut(after, "\n")
		last = time.Since(start)
	}
	if last < shortest {
		t.Errorf("the last stream ended after %s", last)
	}
	eventually.Equal(t, "they are counted", streams, func() float64 { return r.metric(`fanfare_connections_closed_total{reason="age"}`) })
	r.must("k", codec.Event{Data: []byte("two")})
	r.subscribe("connectKey=k", "Last-Event-ID: "+id).WantData("two")
	return true
}

// TestConnectionsPerAddress: the streams of a client's address are limited, by the address that a trusted proxy tells; other
// addresses are not, and a stream that ends leaves room.
func TestConnectionsPerAddress(t *testing.T) {
	o := Options{MaxConnectionsPerAddress: 2, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	onBoth(t, rigOptions{Options: o}, func(t *testing.T, r *rig) {
		from := func(address string) *wiretest.Conn {
			w := r.dial()
			w.Send(r.get("connectKey=k", "X-Forwarded-For: "+address))
			w.ReadHead()
			return w
		}
		one, two := from("192.0.2.1"), from("192.0.2.1")
		r.waitCount("k", 2)
		if rest := from("192.0.2.1").Rest(); !strings.HasPrefix(rest, "retry: ") {
			t.Errorf("%q", rest)
		}
		if n := r.metric(`fanfare_rejected_total{limit="maxConnectionsPerAddress"}`); n != 1 {
			t.Errorf("%v refused", n)
		}
		for i := range 3 { // one network
			from(fmt.Sprintf("2001:db8::%d", i))
		}
		r.waitCount("k", 4)
		from("2001:db8:0:1::1") // and another
		r.waitCount("k", 5)
		one.Close()
		r.waitCount("k", 4)
		from("192.0.2.1")
		r.waitCount("k", 5)
		two.Close()
	})
}
