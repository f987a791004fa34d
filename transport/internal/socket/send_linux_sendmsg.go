//go:build linux && (386 || s390x)

package socket

import (
	"golang.org/x/sys/unix"
)

// sendNow is send(2) without blocking. These systems reach it through another
// system call, for which the library is as good as a few lines of our own.
func sendNow(fd int, b []byte) (int, error) {
	return unix.SendmsgN(fd, b, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

// recvNow is recv(2) without blocking.
func recvNow(fd int, b []byte) (int, error) {
	n, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
	return n, err
}

// accept is accept4(2) of a non-blocking listener.
func accept(fd int) (int, error) {
	n, _, err := unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	return n, err
}
