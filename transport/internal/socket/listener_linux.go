package socket

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listener accepts connections without Go's poller knowing them.
type Listener struct {
	net.Listener
	poller *Poller
	file   *os.File // of the listening socket
	raw    syscall.RawConn
	queue  []int32 // accepted, not yet returned
	batch  [maxAccept]int32
	idle   *Idle
}

// maxAccept bounds how many connections are taken at once.
const maxAccept = 64

// Listen returns ln as a Listener, if it is a TCP or Unix listener of package
// net; otherwise ln itself. idle, if not nil, bounds its connections without a
// request.
func Listen(ln net.Listener, p *Poller, idle *Idle) (net.Listener, error) {
	f, ok := ln.(interface{ File() (*os.File, error) })
	if !ok {
		return ln, nil
	}
	switch ln.(type) {
	case *net.TCPListener, *net.UnixListener:
	case interface{ Socket() *net.UnixListener }: // does more than that only in Close
	default:
		return ln, nil
	}
	file, err := f.File()
	if err != nil {
		return nil, err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	// Connections inherit it.
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) })
	return &Listener{Listener: ln, poller: p, file: file, raw: raw, idle: idle}, nil
}

// Accept waits for a connection. Only one goroutine may call it.
func (l *Listener) Accept() (net.Conn, error) {
	if len(l.queue) == 0 {
		if err := l.fill(); err != nil {
			return nil, err
		}
	}
	fd := l.queue[0]
	l.queue = l.queue[1:]
	return &Conn{poller: l.poller, fd: fd, idle: l.idle}, nil
}

// fill accepts what is there, or waits for one connection.
func (l *Listener) fill() error {
	var failed error
	n := 0
	err := l.raw.Read(func(fd uintptr) bool {
		for n < maxAccept {
			c, err := accept(int(fd))
			if err == syscall.EAGAIN {
				return n > 0
			}
			if err != nil {
				failed = os.NewSyscallError("accept4", err)
				return true
			}
			l.batch[n] = int32(c)
			n++
		}
		return true
	})
	if err != nil { // closed
		return net.ErrClosed
	}
	l.queue = l.batch[:n]
	if n == 0 {
		return failed
	}
	return nil
}

// Close closes the listener. Accept still returns the connections that it has
// accepted already, and then fails: go on until then, or they stay open.
func (l *Listener) Close() error {
	err := l.Listener.Close()
	_ = l.file.Close()
	return err
}

// Take returns c as a Conn, which idle bounds like those of a Listener: the
// descriptor of a connection of package net is duplicated, and c closed. It
// returns nil for other types.
func Take(c net.Conn, p *Poller, idle *Idle) *Conn {
	switch c := c.(type) {
	case *Conn:
		return c
	case *net.TCPConn:
		return duplicate(c, c, p, idle)
	case *net.UnixConn:
		return duplicate(c, c, p, idle)
	}
	return nil // TLS, for example: the bytes are not the socket's
}

func duplicate(c net.Conn, sc syscall.Conn, p *Poller, idle *Idle) *Conn {
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	fd := -1
	if raw.Control(func(d uintptr) { fd, err = unix.FcntlInt(d, unix.F_DUPFD_CLOEXEC, 0) }) != nil || err != nil {
		return nil
	}
	_ = c.Close()
	return &Conn{poller: p, fd: int32(fd), idle: idle}
}
