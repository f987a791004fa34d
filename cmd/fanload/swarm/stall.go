//go:build linux

package swarm

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/sequence"
)

// kernelRoom is what a kernel may hold of a connection whose other end is not to be seen: Linux' default for tcp_wmem's
// maximum, and half as much for what else is on the way. Bytes.
const kernelRoom = 6 << 20

// stall stops reading at the cohort. Hang-ups and errors are still told.
func (l *loop) stall() {
	for i := range l.subs {
		s := &l.subs[i]
		if !s.stalls || s.state != streaming {
			continue
		}
		if l.watch(unix.EPOLL_CTL_MOD, s, unix.EPOLLRDHUP) == nil {
			s.stalled = true
			s.until = l.ledger.Sent(s.key)
			l.counts.Stalled++
		}
	}
}

// backpressure counts, at the end, the stalled streams whose server has felt it: it was given more to send than the kernel
// holds, so its writes were refused, and it had to wait or to drop. Where the kernel holds everything, nothing was tested. The
// bytes of the events' data are compared, which are less than those of the stream.
func (l *loop) backpressure(p *sequence.Published) {
	if l.counts.Stalled == l.counts.StalledEnded {
		return
	}
	queues := measure.SendQueues(l.addr)
	for i := range l.subs {
		s := &l.subs[i]
		if !s.stalled || s.fd < 0 {
			continue
		}
		last := p.Last[s.key]
		given := p.Taken(s.key, s.until+1, max(s.until, last), func(int64) {}) * int64(l.plan.Size)
		held := l.unread(s)
		if queue, known := queues[localAddress(s.fd)]; known {
			held += queue
		} else {
			held += kernelRoom
		}
		l.counts.StallGiven += given
		l.counts.StallKept += held
		if given > held {
			l.counts.StallFelt++
		}
	}
}

// unread is how many bytes wait in the socket.
func (l *loop) unread(s *subscriber) int64 {
	n, err := unix.IoctlGetInt(s.fd, unix.TIOCINQ)
	if err != nil {
		return 0
	}
	return int64(n)
}

func localAddress(fd int) netip.AddrPort {
	a, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}
