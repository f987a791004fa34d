//go:build !unix

package transport

import (
	"errors"
	"io/fs"
	"net"
)

// UnixSocket is a socket file to listen on.
type UnixSocket struct {
	Path  string
	Mode  fs.FileMode
	Owner string
}

// ListenUnix is not available on this system.
func ListenUnix(UnixSocket) (net.Listener, error) {
	return nil, errors.New("socket files have no owner and mode on this system: listen on a TCP address")
}
