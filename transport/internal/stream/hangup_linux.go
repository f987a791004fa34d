package stream

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"fanfare/engine"
)

// hangups notices clients that go away, by one epoll instance for all streams
// instead of a reading goroutine per connection. A client that closes its sending
// side counts as gone, since an EventSource never does that while it wants to stay.
type hangups struct {
	file *os.File // the epoll descriptor; the runtime's poller waits for it
	fd   int

	mu      sync.Mutex
	streams []*Stream // by descriptor
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
	h := &hangups{file: os.NewFile(uintptr(fd), "hangups"), fd: fd}
	raw, err := h.file.SyscallConn()
	if err != nil {
		_ = h.file.Close()
		return nil, err
	}
	go h.run(raw)
	return h, nil
}

// edgeTriggered is syscall.EPOLLET as the unsigned number that it is.
const edgeTriggered = 1 << 31

// add watches st, which may end at any moment from now on.
func (h *hangups) add(st *Stream) error {
	st.gen = h.gen.Add(1)
	h.mu.Lock()
	if more := st.fd + 1 - len(h.streams); more > 0 {
		h.streams = append(h.streams, make([]*Stream, more)...)
	}
	h.streams[st.fd] = st
	h.mu.Unlock()
	ev := syscall.EpollEvent{Events: syscall.EPOLLRDHUP | syscall.EPOLLIN | edgeTriggered, Fd: int32(st.fd), Pad: int32(st.gen)}
	return os.NewSyscallError("epoll_ctl", syscall.EpollCtl(h.fd, syscall.EPOLL_CTL_ADD, st.fd, &ev))
}

// remove forgets st before its descriptor is closed, and so before the kernel can
// reuse it. Closing takes it out of the epoll instance.
func (h *hangups) remove(st *Stream) {
	h.mu.Lock()
	if h.streams[st.fd] == st {
		h.streams[st.fd] = nil
	}
	h.mu.Unlock()
}

// run aborts the streams whose clients have gone, until close.
func (h *hangups) run(raw syscall.RawConn) {
	events := make([]syscall.EpollEvent, 256)
	for {
		var n int
		var failed error
		// Edge-triggered: every call first takes what is there.
		err := raw.Read(func(fd uintptr) bool {
			for {
				n, failed = syscall.EpollWait(int(fd), events, 0)
				if failed != syscall.EINTR {
					return n != 0 // also on an error
				}
			}
		})
		if err != nil || failed != nil { // closed: epoll_wait fails for no other reason
			return
		}
		for _, ev := range events[:n] {
			if st := h.gone(ev); st != nil {
				st.abort(engine.ReasonGone)
			}
		}
	}
}

// gone returns the stream whose client has gone, or nil. It discards what a client
// sends after its request: the FIN could not pass a receive buffer full of it.
func (h *hangups) gone(ev syscall.EpollEvent) *Stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := h.streams[ev.Fd]
	// An event of a descriptor's former life has another generation.
	if st == nil || st.gen != uint32(ev.Pad) {
		return nil
	}
	if ev.Events&(syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		return st
	}
	discardInput(st.fd) // under mu: remove comes before the descriptor is closed
	return nil
}

func (h *hangups) close() { _ = h.file.Close() }
