package gate

import (
	"net/netip"
	"testing"
)

// TestClientAddress: only a trusted proxy is believed, and only in what it wrote itself.
func TestClientAddress(t *testing.T) {
	proxies := Proxies{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("127.0.0.1/32"),
	}
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
		if got := proxies.Client(test.peer, test.forwarded); got != test.want {
			t.Errorf("%s, %q: %s, want %s", test.peer, test.forwarded, got, test.want)
		}
	}
	if got := (Proxies{}).Client("127.0.0.1:5000", []string{"198.51.100.7"}); got != "127.0.0.1:5000" {
		t.Errorf("with no proxy trusted: %s", got)
	}
}
