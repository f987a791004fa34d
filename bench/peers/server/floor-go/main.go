//go:build linux

// Command floor-go is the floor in Go. It does the same as conf/floor.c, in one goroutine on its own thread, with raw system
// calls of which the scheduler does not know. The difference from the floor in C is the cost of Go itself.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	maxRequest = 4 << 20
	fullMillis = 10_000 // longest wait for a full socket
	head       = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nConnection: keep-alive\r\n\r\n"
	done       = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	notFound   = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)

type key struct{ fds []int32 }

// conn is a connection: with key, a stream at place in the key's fds; without, one whose requests are read into buf.
type conn struct {
	key   *key
	place int
	buf   []byte
}

type floor struct {
	ep, listener int
	keys         map[string]*key
	conns        []*conn // by fd
	frame        []byte
	scratch      [64 << 10]byte
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address of both routes; loopback only")
	flag.Parse()
	runtime.LockOSThread()
	fmt.Fprintln(os.Stderr, run(*listen))
	os.Exit(1)
}

func run(listen string) error {
	a, err := net.ResolveTCPAddr("tcp4", listen)
	if err != nil || !a.IP.IsLoopback() {
		return fmt.Errorf("-listen %s is not an IPv4 loopback address: give one such as 127.0.0.1:8080", listen)
	}
	f := &floor{keys: map[string]*key{}}
	if f.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	if err = unix.SetsockoptInt(f.listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err = unix.Bind(f.listener, &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}); err != nil {
		return err
	}
	if err = unix.Listen(f.listener, 4096); err != nil {
		return err
	}
	if f.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if err = f.watch(f.listener); err != nil {
		return err
	}
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(f.ep, events, -1)
		if err != nil && err != unix.EINTR {
			return err
		}
		for _, e := range events[:max(n, 0)] {
			switch fd := int(e.Fd); {
			case fd == f.listener:
				f.accept()
			case f.conns[fd] != nil: // an earlier one of this batch may have dropped it
				f.readable(fd)
			}
		}
	}
}

func (f *floor) watch(fd int) error {
	return unix.EpollCtl(f.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(fd)})
}

func (f *floor) accept() {
	for {
		fd, _, err := unix.Accept4(f.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		for fd >= len(f.conns) {
			f.conns = append(f.conns, make([]*conn, 1024)...)
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		f.conns[fd] = &conn{}
		if f.watch(fd) != nil {
			f.drop(fd)
		}
	}
}

func (f *floor) drop(fd int) {
	if c := f.conns[fd]; c.key != nil {
		fds := c.key.fds
		last := fds[len(fds)-1]
		fds[c.place] = last
		f.conns[last].place = c.place
		c.key.fds = fds[:len(fds)-1]
	}
	f.conns[fd] = nil
	_ = unix.Close(fd)
}

// sendAll returns false if the connection is broken, or full for fullMillis. It waits for a full socket, because the floor must
// not lose anything.
func sendAll(fd int, b []byte) bool {
	for len(b) > 0 {
		// Safety: b is not empty, and stays alive and unmoved during the call, as syscall.RawSyscall6 promises for
		// a conversion in its argument list.
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
			syscall.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			b = b[n:]
		case syscall.EAGAIN:
			if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, fullMillis); n <= 0 && err != unix.EINTR {
				return false
			}
		case syscall.EINTR:
		default:
			return false
		}
	}
	return true
}

func (f *floor) publish(name string, data []byte) {
	k := f.keys[name]
	if k == nil {
		return
	}
	f.frame = append(f.frame[:0], "data: "...)
	f.frame = append(f.frame, data...)
	f.frame = append(f.frame, "\n\n"...)
	for i := len(k.fds) - 1; i >= 0; i-- { // downwards, because drop moves the last one to the place of the dropped one
		if fd := int(k.fds[i]); !sendAll(fd, f.frame) {
			f.drop(fd)
		}
	}
}

func (f *floor) open(fd int, name string) {
	k := f.keys[name]
	if k == nil {
		k = &key{}
		f.keys[name] = k
	}
	c := f.conns[fd]
	c.key, c.place, c.buf = k, len(k.fds), nil
	k.fds = append(k.fds, int32(fd))
	if !sendAll(fd, []byte(head)) {
		f.drop(fd)
	}
}

func (f *floor) readable(fd int) {
	c := f.conns[fd]
	n, err := unix.Read(fd, f.scratch[:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return
	case err != nil, n == 0, c.key != nil, len(c.buf) > maxRequest: // a subscriber sends nothing after its request, so it has gone
		f.drop(fd)
		return
	}
	c.buf = append(c.buf, f.scratch[:n]...)
	for {
		used := f.serve(fd, c)
		if used <= 0 {
			return
		}
		c.buf = c.buf[:copy(c.buf, c.buf[used:])]
	}
}

// serve handles a request if it is complete. It returns the request's length, 0 if more bytes are needed, and -1 if the
// connection must no longer be read.
func (f *floor) serve(fd int, c *conn) int {
	end := bytes.Index(c.buf, []byte("\r\n\r\n"))
	if end < 0 {
		return 0
	}
	lines := strings.Split(string(c.buf[:end]), "\r\n")
	method, target, _ := strings.Cut(strings.TrimSuffix(lines[0], " HTTP/1.1"), " ")
	u, err := url.Parse(target)
	switch {
	case err == nil && method == "GET" && u.Path == "/stream":
		f.open(fd, u.Query().Get("connectKey"))
		return -1
	case err != nil || method != "POST" || u.Path != "/publish":
		sendAll(fd, []byte(notFound))
		f.drop(fd)
		return -1
	}
	length := end + 4
	for _, l := range lines[1:] {
		if name, value, _ := strings.Cut(l, ":"); strings.EqualFold(name, "Content-Length") {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil || n < 0 || n > maxRequest {
				f.drop(fd)
				return -1
			}
			length += n
		}
	}
	if len(c.buf) < length {
		return 0
	}
	f.publish(u.Query().Get("key"), c.buf[end+4:length])
	if !sendAll(fd, []byte(done)) {
		f.drop(fd)
		return -1
	}
	return length
}
