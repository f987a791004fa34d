package proctest

import (
	"net"
	"strconv"
	"testing"
)

func TestFreeAddr(t *testing.T) {
	low, high := ephemeralRange()
	seen := map[string]bool{}
	for range 200 {
		addr := FreeAddr(t)
		if seen[addr] {
			t.Fatalf("%s was given away twice", addr)
		}
		seen[addr] = true
		port, err := strconv.Atoi(Port(addr))
		if err != nil || port < lowestPort || low <= port && port <= high {
			t.Fatalf("%s: not above %d and outside of the ephemeral ports %d to %d (%v)", addr, lowestPort, low, high, err)
		}
		for range 2 { // a server, and the one that takes its place
			ln, err := net.Listen("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = ln.Close()
		}
	}
}

func TestPortRange(t *testing.T) {
	for _, c := range []struct{ ephemeralLow, ephemeralHigh, low, high int }{
		{32768, 60999, 11000, 32767},
		{49152, 65535, 11000, 49151},
		{15000, 20000, 20001, 65535},
		{1024, 50000, 50001, 65535},
		{1024, 65535, 11000, 65535}, // nothing is left
	} {
		if low, high := portRange(c.ephemeralLow, c.ephemeralHigh); low != c.low || high != c.high {
			t.Errorf("%d to %d are ephemeral: %d to %d, want %d to %d", c.ephemeralLow, c.ephemeralHigh, low, high, c.low, c.high)
		}
	}
}
