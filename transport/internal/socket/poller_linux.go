package socket

import (
	"os"
	"sync"
	"syscall"
)

// Poller waits for the sockets of a server: one epoll instance for all of them.
// It notices clients that go away, and it wakes the few goroutines that wait for
// a socket. A stream costs it one epoll_ctl, and no memory but its place in a
// table; Go's own poller would keep a descriptor's state and a copy of both
// addresses for each.
//
// A socket is in the epoll instance from the first time that it waits, or from
// Watch, until it is closed. Events are edge-triggered.
type Poller struct {
	file *os.File // the epoll descriptor; the runtime's poller waits for it
	fd   int

	mu     sync.Mutex
	closed bool    // fd may be another file's by now
	conns  []*Conn // by descriptor
	gen    uint32
	events []syscall.EpollEvent // of run
}

// NewPoller starts a poller.
func NewPoller() (*Poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // so that os.File hands it to the runtime's poller
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &Poller{file: os.NewFile(uintptr(fd), "epoll"), fd: fd, events: make([]syscall.EpollEvent, 256)}
	raw, err := p.file.SyscallConn()
	if err != nil {
		_ = p.file.Close()
		return nil, err
	}
	go p.run(raw)
	return p, nil
}

// Close ends the poller. Nothing is reported any more, so end the streams first. A
// Read or Write that would have to wait fails from now on: connections without a
// stream may outlive the poller for a moment.
func (p *Poller) Close() {
	p.mu.Lock()
	p.closed = true // under mu, so no epoll_ctl is under way and none follows
	p.mu.Unlock()
	_ = p.file.Close()
}

// MaxJunk is how many bytes a client may send after its request before it counts
// as gone. No client of event streams sends any; nothing is read in between, so a
// client that sends more than a read takes would not be noticed when it leaves.
const MaxJunk = 64 << 10

// What an event says.
const (
	edgeTriggered = 1 << 31 // syscall.EPOLLET as the unsigned number that it is
	hungUp        = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR
	readable      = syscall.EPOLLIN
	writable      = syscall.EPOLLOUT
)

// armLocked makes sure that c is watched for events, besides hang-up. When it asks
// the kernel, always with again, the kernel reports what is true already. When it
// does not, the owner has just seen EAGAIN, after which the kernel reports the
// next change. So nothing is missed.
func (p *Poller) armLocked(c *Conn, events uint32, again bool) error {
	if c.closed || p.closed {
		return os.ErrClosed
	}
	before := c.events
	if events |= before; events == before && !again {
		return nil
	}
	op := syscall.EPOLL_CTL_MOD
	if before == 0 {
		op = syscall.EPOLL_CTL_ADD
		if more := int(c.fd) + 1 - len(p.conns); more > 0 {
			p.conns = append(p.conns, make([]*Conn, more)...)
		}
		p.gen++
		c.gen = p.gen
		p.conns[c.fd] = c
	}
	ev := syscall.EpollEvent{Events: events | syscall.EPOLLRDHUP | edgeTriggered, Fd: c.fd, Pad: int32(c.gen)}
	if err := syscall.EpollCtl(p.fd, op, int(c.fd), &ev); err != nil {
		if before == 0 {
			p.conns[c.fd] = nil // Close clears it only for a socket that the epoll instance knows
		}
		return os.NewSyscallError("epoll_ctl", err)
	}
	c.events = events // only now: after an error the next wait asks the kernel again
	return nil
}

// run acts on events until Close.
func (p *Poller) run(raw syscall.RawConn) {
	for {
		var n int
		var failed error
		// Edge-triggered: every call first takes what is there.
		err := raw.Read(func(fd uintptr) bool {
			for {
				n, failed = syscall.EpollWait(int(fd), p.events, 0)
				if failed != syscall.EINTR {
					return n != 0 // also on an error
				}
			}
		})
		if err != nil || failed != nil { // closed: epoll_wait fails for no other reason
			return
		}
		for _, ev := range p.events[:n] {
			switch owner, gone := p.handle(ev); {
			case owner == nil:
			case gone:
				owner.Gone()
			default:
				owner.Readable()
			}
		}
	}
}

// handle wakes who waits for the socket of an event. If its client has gone and
// the socket is watched, handle returns the watcher; also if a TLS client has sent
// something.
func (p *Poller) handle(ev syscall.EpollEvent) (owner Owner, gone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.conns[ev.Fd]
	// An event of a descriptor's former life has another generation.
	if c == nil || c.gen != uint32(ev.Pad) {
		return nil, false
	}
	c.wakeLocked()
	switch {
	case c.owner == nil:
		return nil, false
	case ev.Events&hungUp != 0:
		return c.owner, true
	case ev.Events&readable != 0:
		if c.secure != nil {
			return c.owner, false
		}
		// What a client sends after its request: the FIN could not pass a receive
		// buffer full of it. Under mu, so the descriptor is not closed meanwhile.
		if c.junk += uint32(discardInput(int(c.fd))); c.junk > MaxJunk {
			return c.owner, true
		}
	}
	return nil, false
}
