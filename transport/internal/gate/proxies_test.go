package gate

import (
	"net/netip"
	"testing"
)

// TestClientAddress: only a trusted proxy is believed, and only in what it wrote itself.
func TestClientAddress(t *testing.T) {
	proxies := Proxies{Prefixes: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("127.0.0.1/32"),
	}}
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
		{"127.0.0.1:5000", []string{"[fe80::1%eth0]:80"}, "127.0.0.1:5000"},
		{"@", []string{"198.51.100.7"}, Unix},                // a Unix socket, which is not trusted
		{"127.0.0.1", []string{"198.51.100.7"}, "127.0.0.1"}, // the proxy's own connection, see OwnAddr
	} {
		if got := proxies.Client(test.peer, test.forwarded); got != test.want {
			t.Errorf("%s, %q: %s, want %s", test.peer, test.forwarded, got, test.want)
		}
	}
	if got := (Proxies{}).Client("127.0.0.1:5000", []string{"198.51.100.7"}); got != "127.0.0.1:5000" {
		t.Errorf("with no proxy trusted: %s", got)
	}
}

// TestUnixPeer: with the word unix, what a peer on a Unix socket says counts, whatever name its end of the socket has.
func TestUnixPeer(t *testing.T) {
	for _, peer := range []string{"", "@", "@name", "/run/nginx.sock", Unix} {
		if got := (Proxies{Unix: true}).Client(peer, []string{"198.51.100.7"}); got != "198.51.100.7" {
			t.Errorf("%q: %s", peer, got)
		}
		if got := (Proxies{Unix: true}).Client(peer, nil); got != Unix {
			t.Errorf("%q without a field: %s", peer, got)
		}
		if got := (Proxies{Prefixes: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}).Client(peer, []string{"198.51.100.7"}); got != Unix {
			t.Errorf("%q, not trusted: %s", peer, got)
		}
	}
}

// TestForwarded: the field of RFC 7239 counts if it is chosen, by the same rule, and X-Forwarded-For does not.
func TestForwarded(t *testing.T) {
	proxies := Proxies{Field: Forwarded, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:ffff::/48")}}
	const proxy = "10.0.0.1:5000"
	for _, test := range []struct {
		values []string
		want   string
	}{
		{nil, proxy},
		{[]string{`for=192.0.2.60;proto=http;by=203.0.113.43`}, "192.0.2.60"},
		{[]string{`For="192.0.2.60:4711"`}, "192.0.2.60"},
		{[]string{`for=192.0.2.60:4711`}, "192.0.2.60"}, // against the grammar, and common
		{[]string{`FOR="[2001:db8:cafe::17]:4711"`}, "2001:db8:cafe::17"},
		{[]string{`for="[2001:db8:cafe::17]"`}, "2001:db8:cafe::17"},
		{[]string{`for="2001:db8:cafe::17"`}, "2001:db8:cafe::17"},
		{[]string{`for="[::ffff:192.0.2.60]"`}, "192.0.2.60"},
		{[]string{`for="[2001:db8:cafe::17]:_port"`}, "2001:db8:cafe::17"},
		{[]string{`for="\1\9\2.0.2.60"`}, "192.0.2.60"},
		{[]string{`proto=https;for=192.0.2.60 ; by=_x`}, "192.0.2.60"},
		{[]string{`by="a;for=203.0.113.9,for=203.0.113.9";for=192.0.2.60`}, "192.0.2.60"},
		{[]string{`for=203.0.113.9, for=192.0.2.60, for=10.2.3.4`}, "192.0.2.60"},
		{[]string{`for=203.0.113.9,for=192.0.2.60`, `for="[2001:db8:ffff::1]"`, `for=10.2.3.4`}, "192.0.2.60"},
		{[]string{`for=10.9.9.9, for=10.2.3.4`}, "10.9.9.9"},
		// What is not an address ends the search.
		{[]string{`for=203.0.113.9, for=unknown`}, proxy},
		{[]string{`for=203.0.113.9, for=_hidden`}, proxy},
		{[]string{`for=203.0.113.9, for="_SEVKISEK:80"`}, proxy},
		{[]string{`for=203.0.113.9, for=_hidden, for=10.2.3.4`}, "10.2.3.4"},
		{[]string{`for=203.0.113.9, proto=https`}, proxy},
		{[]string{`for=203.0.113.9, `}, proxy},
		{[]string{`for=203.0.113.9;for=192.0.2.60`}, proxy},
		{[]string{`for="[192.0.2.60]"`}, proxy},
		{[]string{`for="[fe80::1%25eth0]"`}, proxy},
		{[]string{`for="192.0.2.60:"`}, proxy},
		{[]string{`for="192.0.2.60:a b"`}, proxy},
		{[]string{`for="[2001:db8::1]x"`}, proxy},
		// A list that does not match the grammar: the client's open quote must not change what the proxy's own element says.
		{[]string{`for="203.0.113.9, for=192.0.2.60`}, proxy},
		{[]string{`for="203.0.113.9`, `for=192.0.2.60`}, proxy},
		{[]string{`for="`, `for="[2001:db8::1]:80"`}, proxy},
		{[]string{`for=203.0.113.9;by="\`, `for=192.0.2.60`}, proxy},
		{[]string{`for=203.0.113.9 for=192.0.2.60`}, proxy},
		{[]string{`for=`, `for=192.0.2.60`}, proxy},
		{[]string{`for`, `for=192.0.2.60`}, proxy},
		{[]string{"for=\"a\x00\", for=192.0.2.60"}, proxy},
	} {
		if got := proxies.Client(proxy, test.values); got != test.want {
			t.Errorf("%q: %s, want %s", test.values, got, test.want)
		}
	}
	if got := proxies.Client("192.0.2.1:5000", []string{"for=203.0.113.9"}); got != "192.0.2.1:5000" {
		t.Errorf("from somebody who is not trusted: %s", got)
	}
	if got := proxies.FieldName(); got != Forwarded {
		t.Error(got)
	}
	if got := (Proxies{}).FieldName(); got != XForwardedFor {
		t.Error(got)
	}
}

// FuzzForwarded: whatever a client sends in the field, when a proxy appends its own element the result is that element's
// address, or the proxy's if the list is beyond understanding.
func FuzzForwarded(f *testing.F) {
	for _, sent := range []string{"", "for=203.0.113.9", `for="203.0.113.9`, `for="a\`, `by=";for=1.1.1.1,for=`, "203.0.113.9, ", "for=10.0.0.1, for=10.0.0.2", `for="[::1]:80";proto=https`} {
		f.Add(sent, uint8(0), true)
		f.Add(sent, uint8(1), false)
	}
	own := []string{"for=192.0.2.60", `for="192.0.2.60:4711";proto=https`, `proto=https;for="192.0.2.60"`, `by="[2001:db8::1]:80";for=192.0.2.60`}
	f.Fuzz(func(t *testing.T, sent string, which uint8, forwarded bool) {
		const proxy, client = "10.0.0.1:5000", "192.0.2.60"
		proxies := Proxies{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
		element := client
		if forwarded {
			proxies.Field, element = Forwarded, own[int(which)%len(own)]
		}
		for _, values := range [][]string{{sent, element}, {sent + ", " + element}} {
			switch got := proxies.Client(proxy, values); {
			case got == client:
			case got == proxy && forwarded:
			default:
				t.Errorf("%q: %s", values, got)
			}
		}
		switch got := proxies.Client(proxy, []string{sent}); {
		case got == proxy:
		default:
			if _, err := netip.ParseAddr(got); err != nil {
				t.Errorf("%q: %q is not an address", sent, got)
			}
		}
	})
}
