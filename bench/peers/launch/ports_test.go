package launch

import (
	"fmt"
	"net"
	"os"
	"testing"
)

func TestFreePorts(t *testing.T) {
	var low, high int
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(text), &low, &high); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		p, err := freePorts()
		if err != nil {
			t.Fatal(err)
		}
		if p.Stream == p.Publish || p.Stream == p.Helper || p.Publish == p.Helper {
			t.Fatalf("the same port twice: %+v", p)
		}
		for _, port := range []int{p.Stream, p.Publish, p.Helper} {
			if port < lowestPort || low-lowestPort > 1000 && port >= low {
				t.Fatalf("%d: not from %d to %d, below the ephemeral ports", port, lowestPort, low)
			}
			l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			_ = l.Close()
		}
	}
}
