//go:build unix

package sse

import "golang.org/x/sys/unix"

// networkSegment is the largest TCP segment on an Ethernet. On loopback, segments have 64 kB, and the sender's kernel sizes its
// buffer by them. It would then buffer megabytes before the server notices that a client does not read.
const networkSegment = 1460

func setReceiveBuffer(fd uintptr, size int) error {
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, networkSegment) // fails on some systems
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, size)
}
