//go:build linux

package swarm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/wire"
)

// maxAttempts bounds how often in a row a subscriber tries to reconnect.
const maxAttempts = 20

// startConnecting queues all subscribers.
func (l *loop) startConnecting() {
	for i := range l.subs {
		l.queue = append(l.queue, i)
	}
	l.pacedAt, l.allowance = l.now, 1
}

// pump opens as many connections as the rate and the number of connects in flight allow.
func (l *loop) pump() {
	if len(l.queue) == 0 {
		return
	}
	room := max(1, int64(float64(l.plan.InFlight)/l.loopsOfAll)) - l.counts.Opening
	if rate := l.plan.ConnectRate / l.loopsOfAll; rate > 0 {
		// At most as many as for 100 ms at once: a loop that is late must not catch up with a burst.
		l.allowance = min(l.allowance+rate*float64(l.now-l.pacedAt)/1e6, max(1, rate/10))
		l.pacedAt = l.now
		room = min(room, int64(l.allowance))
		l.allowance -= float64(max(0, room))
	}
	for ; room > 0 && len(l.queue) > 0; room-- {
		i := l.queue[0]
		l.queue = l.queue[1:]
		l.open(i)
	}
}

// open begins a connection. An error is handled like that of a failed connection.
func (l *loop) open(i int) {
	s := &l.subs[i]
	if s.state == waiting {
		l.counts.Waiting--
	}
	s.state, s.began, s.firstEvent = connecting, l.now, false
	s.parser.Reset()
	s.head, s.body, s.sample = wire.Head{}, wire.Body{}, nil
	l.counts.Opening++
	if err := l.dial(s); err != nil {
		l.lose(s, err)
	}
}

func (l *loop) dial(s *subscriber) error {
	name, err := l.keys.Name(s.key)
	if err != nil {
		return err
	}
	s.out, err = l.request.Append(nil, &plan.Vars{
		Base: l.plan.Base, PublishBase: l.plan.PublishBase, Run: l.plan.Run, Key: name, KeyIndex: s.key,
		Subscriber: s.index, LastEventID: string(s.lastID),
	})
	if err != nil {
		return err
	}
	if s.carrier != nil {
		l.attach(s)
		return nil
	}
	fd, err := l.socket(s.index)
	if err != nil {
		return err
	}
	s.fd = fd
	s.generation++
	if s.stalls && l.plan.StallBuffer > 0 {
		// Set it before the connect, because the offered window depends on it.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, l.plan.StallBuffer); err != nil {
			return fmt.Errorf("SO_RCVBUF: %w", err)
		}
	}
	if err := l.connect(fd); err != nil {
		return err
	}
	return l.watch(unix.EPOLL_CTL_ADD, s, unix.EPOLLOUT)
}

// socket makes a socket for the connection with a number.
func (l *loop) socket(number int) (fd int, err error) {
	family := unix.AF_INET
	if l.addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // an error does not matter: the request is one write
	if err := l.bind(fd, number); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// connect begins to connect a socket.
func (l *loop) connect(fd int) error {
	if err := unix.Connect(fd, l.remote()); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}

// bind spreads the subscribers over source addresses, because an address has only 28,000 ports. With IP_BIND_ADDRESS_NO_PORT
// the kernel chooses the port at the connect, when it need only be unique for the destination.
func (l *loop) bind(fd, index int) error {
	if l.plan.Sources == 0 || !l.addr.Addr().Is4() || !l.addr.Addr().IsLoopback() {
		return nil
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1) // fails before Linux 4.2: fewer ports
	n := index % l.plan.Sources
	var a unix.SockaddrInet4
	binary.BigEndian.PutUint32(a.Addr[:], 127<<24|1<<16|uint32(n/250)<<8|uint32(1+n%250)) // 127.1.0.1 and following
	if err := unix.Bind(fd, &a); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

func (l *loop) remote() unix.Sockaddr {
	if l.addr.Addr().Is6() {
		return &unix.SockaddrInet6{Port: int(l.addr.Port()), Addr: l.addr.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(l.addr.Port()), Addr: l.addr.Addr().As4()}
}

// sweep ends connects that take too long, and reconnects subscribers whose delay is over.
func (l *loop) sweep() {
	limit := l.now - l.plan.ConnectTimeout.Microseconds()
	for _, c := range l.carriers {
		if c.opening() && c.began < limit {
			l.breakCarrier(c, fmt.Errorf("%w: no answer in %s", errTimeout, l.plan.ConnectTimeout))
		}
	}
	for i := range l.subs {
		s := &l.subs[i]
		switch {
		case s.opening() && s.began < limit:
			l.lose(s, fmt.Errorf("%w: no answer in %s", errTimeout, l.plan.ConnectTimeout))
		case s.state == waiting && s.due <= l.now && !s.queued:
			s.queued = true
			l.queue = append(l.queue, i)
		}
	}
}

// shut closes the socket, if there is one.
func (l *loop) shut(s *subscriber) {
	if s.secure != nil {
		_ = s.secure.Close() // before another socket can get the same descriptor
		s.secure = nil
	}
	if s.fd >= 0 {
		_ = unix.Close(s.fd) // also removes it from the epoll set
		s.fd = -1
		s.generation++
	}
	if s.carrier != nil {
		l.detach(s)
	}
	s.out, s.sample = nil, nil
}

func (l *loop) closeAll() {
	l.closeCarriers()
	for i := range l.subs {
		l.shut(&l.subs[i])
	}
}
