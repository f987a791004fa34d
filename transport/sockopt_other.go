//go:build !linux

package transport

import (
	"net"
	"syscall"
)

func setSocketOptions(int) error { return nil }

func rawOf(net.Conn) (syscall.RawConn, int) { return nil, -1 }
