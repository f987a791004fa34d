//go:build !linux

package transport

import "errors"

// Without raw writes every stream is written to by its goroutine, through
// net.Conn: rawOf never gives a descriptor.
var errWouldBlock = errors.New("transport: would block")

func rawWrite(int, []byte) (int, error) { panic("transport: raw write without a descriptor") }

func discardInput(int) {}
