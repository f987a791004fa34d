package transport

import (
	"net/netip"
	"strings"
	"testing"

	"fanfare/internal/test/eventually"
)

// TestAccessLog: the line of a stream says whose it was, what it got and why it ended, on both servers; what clients say is
// cut, and cannot make a line of its own.
func TestAccessLog(t *testing.T) {
	onBoth(t, rigOptions{Options: Options{AccessLog: true, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}}, func(t *testing.T, r *rig) {
		long := strings.Repeat("k", 100)
		e := r.subscribe("connectKey=a&connectKey="+long+"&connectKey=%0A%1B%22", "User-Agent: Test/1.0 "+strings.Repeat("u", 300), "X-Forwarded-For: 203.0.113.9, 198.51.100.7")
		r.publish("a", "one")
		r.publish(long, "two")
		r.publish("else", "not for it")
		e.WantData("one", "two")
		if strings.Contains(r.log.String(), "stream ended") {
			t.Errorf("before its end: %s", r.log)
		}
		if r.call("POST", "/close?key=a", "").status != 200 {
			t.Fatal("not closed")
		}
		eventually.True(t, "the line is there", func() bool { return strings.Contains(r.log.String(), "stream ended") })
		line := r.log.String()[strings.Index(r.log.String(), "stream ended"):]
		for _, want := range []string{
			"reason=closed", "remote=198.51.100.7 ", `keys="a,` + long[:64] + `…,\n\x1b\""`, `agent="Test/1.0 ` + strings.Repeat("u", 191) + `…"`,
			"events=2 ", " lag=0 ", "seconds=",
		} {
			if !strings.Contains(line, want) {
				t.Errorf("%q is not in %q", want, line)
			}
		}
		if strings.Contains(line, "bytes=0 ") || strings.Count(line, "\n") != 1 {
			t.Errorf("%q", line)
		}
	})
}

// TestAccessLogLag: what a client did not read is in its line.
func TestAccessLogLag(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: Options{AccessLog: true}})
	w := r.stream("connectKey=k")
	r.waitCount("k", 1)
	const events = 200
	for range events {
		r.publish("k", strings.Repeat("x", 100_000)) // it reads nothing: the sockets are full after some
	}
	w.Reset()
	eventually.True(t, "the line is there", func() bool { return strings.Contains(r.log.String(), "stream ended") })
	line := r.log.String()
	if strings.Contains(line, "lag=0 ") || !strings.Contains(line, "lag=") || !strings.Contains(line, "agent=") {
		t.Errorf("%q", line)
	}
}
