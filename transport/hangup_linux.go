package transport

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"fanfare/engine"
)

// hangups notices clients that go away: one epoll instance for all streams,
// asked for EPOLLRDHUP only, instead of a goroutine per connection that reads.
// A client that closes its sending side counts as gone: EventSource never does
// that and stays.
type hangups struct {
	file *os.File // the epoll descriptor; the runtime's poller waits for it
	fd   int

	mu      sync.Mutex
	streams map[int32]*stream
	gen     atomic.Uint32
}

func newHangups() (*hangups, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // so that os.File hands it to the poller
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	h := &hangups{file: os.NewFile(uintptr(fd), "hangups"), fd: fd, streams: map[int32]*stream{}}
	go h.run()
	return h, nil
}

// add watches st, which may end any moment from now on.
func (h *hangups) add(st *stream) error {
	st.gen = h.gen.Add(1)
	h.mu.Lock()
	h.streams[int32(st.fd)] = st
	h.mu.Unlock()
	ev := syscall.EpollEvent{Events: syscall.EPOLLRDHUP | syscall.EPOLLONESHOT, Fd: int32(st.fd), Pad: int32(st.gen)}
	return os.NewSyscallError("epoll_ctl", syscall.EpollCtl(h.fd, syscall.EPOLL_CTL_ADD, st.fd, &ev))
}

// remove forgets st, before its descriptor is closed and can be given out
// again. Closing takes it out of the epoll instance.
func (h *hangups) remove(st *stream) {
	h.mu.Lock()
	if h.streams[int32(st.fd)] == st {
		delete(h.streams, int32(st.fd))
	}
	h.mu.Unlock()
}

func (h *hangups) run() {
	raw, err := h.file.SyscallConn()
	if err != nil {
		return // closed already
	}
	events := make([]syscall.EpollEvent, 256)
	for {
		var n int
		// Edge-triggered: every call first takes what is there.
		err := raw.Read(func(fd uintptr) bool {
			var err error
			n, err = syscall.EpollWait(int(fd), events, 0)
			return n > 0 || err != nil && err != syscall.EINTR
		})
		if err != nil {
			return
		}
		for _, ev := range events[:max(n, 0)] {
			h.mu.Lock()
			st := h.streams[ev.Fd]
			h.mu.Unlock()
			// An event of a descriptor's former life has another generation.
			if st != nil && st.gen == uint32(ev.Pad) {
				st.abort(engine.ReasonGone)
			}
		}
	}
}

func (h *hangups) close() { _ = h.file.Close() }
