//go:build !linux

package transport

import (
	"net"
	"syscall"
	"time"
)

func setSocketOptions(int) error { return nil }

func setUserTimeout(net.Listener, time.Duration) error { return nil }

func rawOf(net.Conn) (syscall.RawConn, int) { return nil, -1 }
