package proctest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
)

// The ports from which FreeAddr chooses start at lowestPort: browsers refuse some of those below.
const (
	lowestPort  = 11000
	highestPort = 1<<16 - 1
)

// claimed are the ports that this process has given away.
var claimed struct {
	sync.Mutex
	ports map[int]bool
}

// FreeAddr returns a loopback address, host:port, on which nobody listens. A program that is killed and started again can
// have it twice: the port is not one of those that the kernel gives to outgoing connections, so no other test's connection
// takes it in between.
func FreeAddr(t testing.TB) string {
	t.Helper()
	low, high := portRange(ephemeralRange())
	claimed.Lock()
	defer claimed.Unlock()
	for range 1000 {
		port := low + rand.IntN(high-low+1)
		if claimed.ports[port] {
			continue
		}
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			continue // somebody has it
		}
		_ = ln.Close()
		if claimed.ports == nil {
			claimed.ports = map[int]bool{}
		}
		claimed.ports[port] = true
		return addr
	}
	t.Fatalf("no free port of %d to %d in 1000 attempts", low, high)
	return ""
}

// Port is the port of an address as text.
func Port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// portRange is the larger of the two ranges below and above the ephemeral ports.
func portRange(ephemeralLow, ephemeralHigh int) (low, high int) {
	low, high = lowestPort, ephemeralLow-1
	if above := ephemeralHigh + 1; highestPort-above > high-low {
		low, high = above, highestPort
	}
	if high-low < 100 { // outgoing connections have nearly all ports: a collision is unlikely, but possible
		return lowestPort, highestPort
	}
	return low, high
}

// ephemeralRange are the ports that the kernel gives to outgoing connections. Where it does not say, they are those that
// IANA sets aside for this, and Linux's default below them.
func ephemeralRange() (low, high int) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		_, err = fmt.Sscan(string(text), &low, &high)
	}
	if err != nil {
		return 32768, highestPort
	}
	return low, high
}
