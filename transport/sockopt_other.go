//go:build !linux

package transport

import (
	"net"
	"time"
)

func setSocketOptions(int) error { return nil }

func setUserTimeout(net.Listener, time.Duration) error { return nil }
