//go:build !linux

package stream

import (
	"errors"
	"net"
	"syscall"
)

// Without raw writes every stream is written to by its goroutine, through
// net.Conn: rawOf never gives a descriptor.
var errWouldBlock = errors.New("stream: would block")

func rawWrite(int, []byte) (int, error) { panic("stream: raw write without a descriptor") }

func discardInput(int) {}

func rawOf(net.Conn) (syscall.RawConn, int) { return nil, -1 }
