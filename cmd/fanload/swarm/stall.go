//go:build linux

package swarm

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/sequence"
)

// kernelRoom is how many bytes of a connection the kernel of another machine may buffer: Linux's default for the maximum of
// tcp_wmem, and half as much for bytes elsewhere on the way.
const kernelRoom = 6 << 20

// stall makes the chosen subscribers stop reading. epoll still reports hang-ups and errors.
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

// backpressure counts, at the end, the stalled streams that blocked the server's writes: more was published to them than the
// kernel buffers, so the server had to wait or to drop. If the kernel buffers everything, nothing was tested. It compares the
// bytes of the events' data, which are fewer than those of the stream.
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

// unread is how many unread bytes the socket has.
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
