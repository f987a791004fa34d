//go:build linux && (386 || s390x)

package stream

import (
	"golang.org/x/sys/unix"
)

// sendNow is send(2) without blocking. These systems reach it through another
// system call, for which the library is as good as a few lines of our own.
func sendNow(fd int, b []byte) (int, error) {
	return unix.SendmsgN(fd, b, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}
