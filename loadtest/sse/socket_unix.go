//go:build unix

package sse

import "golang.org/x/sys/unix"

// networkSegment is the largest TCP segment on an Ethernet. On loopback segments have 64 kB, by which the sender's kernel measures
// its buffer: it then takes megabytes before the server notices that nobody reads.
const networkSegment = 1460

func setReceiveBuffer(fd uintptr, size int) error {
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, networkSegment) // not every system lets it be set
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, size)
}
