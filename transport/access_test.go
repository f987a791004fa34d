package transport

import (
	"net/netip"
	"strings"
	"testing"
)

// TestClientAddress: only a trusted proxy is believed, and only in what it wrote itself.
func TestClientAddress(t *testing.T) {
	o := &settings{Options: Options{TrustedProxies: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("127.0.0.1/32"),
	}}}
	for _, test := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"127.0.0.1:5000", nil, "127.0.0.1:5000"},
		{"192.0.2.1:5000", []string{"198.51.100.7"}, "192.0.2.1:5000"}, // no proxy: it may say what it likes
		{"127.0.0.1:5000", []string{"198.51.100.7"}, "198.51.100.7"},
		{"[::1]:5000", []string{"198.51.100.7"}, "198.51.100.7"},
		{"[::ffff:127.0.0.1]:5000", []string{"198.51.100.7"}, "198.51.100.7"}, // a listener on all addresses
		{"127.0.0.1:5000", []string{"203.0.113.9, 198.51.100.7"}, "198.51.100.7"},
		{"127.0.0.1:5000", []string{"203.0.113.9", "198.51.100.7"}, "198.51.100.7"}, // two fields are one list (RFC 9110, 5.3)
		{"127.0.0.1:5000", []string{"203.0.113.9, 198.51.100.7, 10.1.2.3,10.0.0.9"}, "198.51.100.7"},
		{"127.0.0.1:5000", []string{"10.1.2.3, 10.0.0.9"}, "10.1.2.3"},
		{"127.0.0.1:5000", []string{"198.51.100.7:4711"}, "198.51.100.7"},
		{"127.0.0.1:5000", []string{"[2001:db8::7]:4711"}, "2001:db8::7"},
		{"127.0.0.1:5000", []string{"2001:db8::7"}, "2001:db8::7"},
		{"127.0.0.1:5000", []string{"[2001:db8::7]"}, "2001:db8::7"},
		{"127.0.0.1:5000", []string{"203.0.113.9, unknown"}, "127.0.0.1:5000"},
		{"127.0.0.1:5000", []string{"203.0.113.9, x, 10.0.0.9"}, "10.0.0.9"},
		{"127.0.0.1:5000", []string{""}, "127.0.0.1:5000"},
		{"127.0.0.1:5000", []string{"203.0.113.9,"}, "127.0.0.1:5000"},
		{"127.0.0.1:5000", []string{"fe80::1%eth0\x1b[31m"}, "127.0.0.1:5000"},
		{"@", []string{"198.51.100.7"}, "@"}, // a socket of a file
	} {
		if got := o.client(test.peer, test.forwarded); got != test.want {
			t.Errorf("%s, %q: %s, want %s", test.peer, test.forwarded, got, test.want)
		}
	}
	if got := (&settings{}).client("127.0.0.1:5000", []string{"198.51.100.7"}); got != "127.0.0.1:5000" {
		t.Errorf("with no proxy trusted: %s", got)
	}
}

// TestAccessLog: the line of a stream says whose it was, what it got and why it ended, on both servers; what clients say is
// cut, and cannot make a line of its own.
func TestAccessLog(t *testing.T) {
	onBoth(t, rigOptions{Options: Options{AccessLog: true, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}}, func(t *testing.T, r *rig) {
		long := strings.Repeat("k", 100)
		e := r.subscribe("connectKey=a&connectKey="+long+"&connectKey=%0A%1B%22", "User-Agent: Test/1.0 "+strings.Repeat("u", 300), "X-Forwarded-For: 203.0.113.9, 198.51.100.7")
		r.publish("a", "one")
		r.publish(long, "two")
		r.publish("else", "not for it")
		e.wantData("one", "two")
		if strings.Contains(r.log.String(), "stream ended") {
			t.Errorf("before its end: %s", r.log)
		}
		if r.call("POST", "/close?key=a", "").status != 200 {
			t.Fatal("not closed")
		}
		eventually(t, "the line is there", func() bool { return strings.Contains(r.log.String(), "stream ended") })
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
	w.reset()
	eventually(t, "the line is there", func() bool { return strings.Contains(r.log.String(), "stream ended") })
	line := r.log.String()
	if strings.Contains(line, "lag=0 ") || !strings.Contains(line, "lag=") || !strings.Contains(line, "agent=") {
		t.Errorf("%q", line)
	}
}

// TestCutKeys: a log line is bounded, however many keys a stream has.
func TestCutKeys(t *testing.T) {
	many := make([]string, 1000)
	for i := range many {
		many[i] = strings.Repeat("你", 300)
	}
	for _, test := range []struct {
		keys []string
		want string
	}{
		{[]string{"a"}, "a"}, {[]string{"a", "b"}, "a,b"}, {many[:1], strings.Repeat("你", 21) + "…"},
	} {
		if got := cutKeys(test.keys); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
	if got := cutKeys(many); len(got) > maxKeysText+100 || !strings.HasSuffix(got, "… 996 more") {
		t.Errorf("%d bytes, %q", len(got), got)
	}
}
