package launch

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"

	"fanfare/bench/peers/catalog"
)

// lowestPort is above the ports that browsers refuse and most services use.
const lowestPort = 11000

func freePorts() (catalog.Ports, error) {
	found, err := FreePorts(3)
	if err != nil {
		return catalog.Ports{}, err
	}
	return catalog.Ports{Stream: found[0], Publish: found[1], Helper: found[2]}, nil
}

// FreePorts returns n ports that are free now. They are below the ephemeral ports, which the kernel gives to outgoing connections
// and to listeners on port 0: neither a subscriber nor another test takes one before the peer does.
func FreePorts(n int) ([]int, error) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return nil, err
	}
	var ephemeral int
	if _, err := fmt.Sscan(string(text), &ephemeral); err != nil {
		return nil, fmt.Errorf("ip_local_port_range: %w", err)
	}
	var found []int
	for range 1000 {
		port := lowestPort + rand.IntN(max(ephemeral-lowestPort, 1000))
		if slices.Contains(found, port) {
			continue
		}
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue // somebody has it
		}
		_ = l.Close()
		if found = append(found, port); len(found) == n {
			return found, nil
		}
	}
	return nil, fmt.Errorf("fewer than %d free ports from %d in 1000 attempts", n, lowestPort)
}
