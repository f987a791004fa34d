package stream

import "testing"

// TestNetwork: ports do not count, IPv4 in IPv6 is IPv4, an IPv6 network of 64 bits is one client.
func TestNetwork(t *testing.T) {
	for _, test := range []struct{ remote, want string }{
		{"192.0.2.1:5000", "192.0.2.1/32"},
		{"192.0.2.1", "192.0.2.1/32"},
		{"[::ffff:192.0.2.1]:5000", "192.0.2.1/32"},
		{"::ffff:192.0.2.1", "192.0.2.1/32"},
		{"[2001:db8:1:2:3:4:5:6]:5000", "2001:db8:1:2::/64"},
		{"2001:db8:1:2:ffff::", "2001:db8:1:2::/64"},
		{"[fe80::1%eth0]:5000", "fe80::/64"},
		{"@", ""}, {"", ""}, {"/run/x.sock", ""}, {"localhost:80", ""},
	} {
		got := ""
		if p, ok := network(test.remote); ok {
			got = p.String()
		}
		if got != test.want {
			t.Errorf("%q: %q, want %q", test.remote, got, test.want)
		}
	}
}

// TestAddresses: each stream counts once and is given back once; nothing stays.
func TestAddresses(t *testing.T) {
	var table addresses
	var streams [4]details
	for i := range streams[:3] {
		if limit := table.add(&streams[i], "192.0.2.1:1", 3); limit != "" {
			t.Fatal(limit)
		}
	}
	if limit := table.add(&streams[3], "[::ffff:192.0.2.1]:2", 3); limit != LimitAddress || streams[3].address != nil {
		t.Errorf("%q", limit)
	}
	if limit := table.add(&streams[3], "192.0.2.2:2", 3); limit != "" {
		t.Error("another address is refused")
	}
	table.remove(&streams[0])
	if limit := table.add(&streams[0], "192.0.2.1:9", 3); limit != "" {
		t.Error("there was room")
	}
	for i := range streams {
		table.remove(&streams[i])
	}
	if len(table.counts) != 0 {
		t.Errorf("%v", table.counts)
	}
}
