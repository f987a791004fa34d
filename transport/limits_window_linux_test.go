package transport

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fanfare/codec"
	"fanfare/internal/test/eventually"
)

// serverSide returns a socket option of the server's end of a client's connection.
func serverSide(t *testing.T, client net.Conn, option int) (value int) {
	t.Helper()
	port := client.LocalAddr().(*net.TCPAddr).Port
	for fd := range 1 << 12 {
		peer, err := unix.Getpeername(fd)
		if at, ok := peer.(*unix.SockaddrInet4); err != nil || !ok || at.Port != port {
			continue
		}
		if value, err = unix.GetsockoptInt(fd, unix.IPPROTO_TCP, option); err != nil {
			t.Fatal(err)
		}
		return value
	}
	t.Fatal("the server has no such connection")
	return 0
}

// smallWindow opens a stream with a receive buffer of a few kB.
func (r *rig) smallWindow(query string) net.Conn {
	r.t.Helper()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) })
	}}
	c, err := d.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, r.get(query)); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// TestKernelTimeoutOfSlowClients: while a stream waits for a client that reads slowly, the kernel must not end the connection because
// the client's window is small. Once the client has got all, the kernel's limit is on again; and a client that stops before it has
// got what the kernel holds is ended by the server.
func TestKernelTimeoutOfSlowClients(t *testing.T) {
	plainOnly(t)
	const limit = 4 * time.Second
	r := startRig(t, viaFast, rigOptions{Options: Options{WriteTimeout: limit, MinReadRate: 1}})
	c := r.smallWindow("connectKey=k")
	r.waitCount("k", 1)
	option := func() int { return serverSide(t, c, unix.TCP_USER_TIMEOUT) }
	// It must wait.
	const size = 100 << 10
	r.must("k", codec.Event{Data: []byte(strings.Repeat("x", size))})
	eventually.Equal(t, "the option is off", 0, option)
	go func() { _, _ = io.Copy(io.Discard, c) }() // it reads all
	eventually.Equal(t, "the option is on again", int(limit.Milliseconds()), option)

	// Another one gets so much that the stream has nothing to wait for any more, and stops reading.
	stops := r.smallWindow("connectKey=other")
	r.waitCount("other", 1)
	r.must("other", codec.Event{Data: []byte(strings.Repeat("x", size))})
	eventually.Equal(t, "the stream waits", 1, r.srv.streams.Blocked)
	read, buf := 0, make([]byte, 512)
	for r.srv.streams.Blocked() > 0 {
		// It may have read all before the server notices.
		_ = stops.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := stops.Read(buf)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		read += n
	}
	if read >= size {
		t.Logf("all was read before the server looked: on this busy machine nothing was left for the kernel to hold")
		return
	}
	eventually.Equal(t, "it is ended", 1, func() float64 { return r.metric(`fanfare_connections_closed_total{reason="stalled"}`) })
	if n := r.metric(`fanfare_connections_closed_total{reason="gone"}`); n != 0 {
		t.Errorf("%v were ended by the kernel", n)
	}
}
