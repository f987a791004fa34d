//go:build unix

package transport

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// socketPath is a path that is short enough for a socket.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fanfare")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// onUnix are the options of a server whose stream listener is a socket file.
func onUnix(t *testing.T, o Options) rigOptions {
	path := socketPath(t)
	o.AccessLog = true
	return rigOptions{Options: o, listen: func() (net.Listener, error) { return ListenUnix(UnixSocket{Path: path}) }}
}

// dialUnix connects to a stream listener that is a socket file.
func (r *rig) dialUnix() *wiretest.Conn {
	r.t.Helper()
	c, err := net.Dial("unix", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	return wiretest.New(r.t, c)
}

// openUnix opens a stream by a socket file.
func (r *rig) openUnix(before string, header ...string) *wiretest.Conn {
	r.t.Helper()
	w := r.dialUnix()
	w.Send(before + r.get("connectKey=k", header...))
	w.ReadHead()
	return w
}

// TestUnixSocket: streams over a socket file, whose clients have no address: limits per address do not count them, and what they
// say about one is not believed.
func TestUnixSocket(t *testing.T) {
	plainOnly(t)
	r := startRig(t, viaFast, onUnix(t, Options{MaxConnectionsPerAddress: 1, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}))
	info, err := os.Stat(r.addr)
	if err != nil || info.Mode().Perm() != 0o660 || info.Mode().Type() != fs.ModeSocket {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	var all []*wiretest.Conn
	for range 3 {
		all = append(all, r.openUnix("", "X-Forwarded-For: 192.0.2.1"))
	}
	r.waitCount("k", 3)
	r.publish("k", "hello")
	for _, w := range all {
		e := wiretest.NewEvents(w)
		e.AwaitPosition()
		e.WantData("hello")
	}
	all[0].Close()
	r.waitCount("k", 2)
	if got := r.remoteOf(1); got != "unix" {
		t.Error(got)
	}
	bad := r.dialUnix()
	bad.Send("nothing like HTTP\r\n\r\n")
	if bad.ReadHead(); bad.Status != 400 {
		t.Errorf("%d", bad.Status)
	}
	eventually.True(t, "the refusal is logged", func() bool { return r.log.Find("a request was refused") != nil })
	if line := r.log.Find("a request was refused"); line["remote"] != "unix" {
		t.Error(line)
	}
	r.srv.Drain(t.Context())
	if text := all[1].Rest(); !strings.Contains(text, "retry: ") {
		t.Errorf("%q", text)
	}
	if _, err := os.Lstat(r.addr); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
}

// TestUnixSocketOfAProxy: with TrustUnixSockets the address that a peer tells counts, by a field or by a PROXY header.
func TestUnixSocketOfAProxy(t *testing.T) {
	plainOnly(t)
	t.Run("field", func(t *testing.T) {
		r := startRig(t, viaFast, onUnix(t, Options{MaxConnectionsPerAddress: 1, TrustUnixSockets: true}))
		for i := range 3 {
			w := r.openUnix("", fmt.Sprintf("X-Forwarded-For: 192.0.2.%d", i/2))
			if again := i == 1; again != strings.HasPrefix(first(w), "retry: ") {
				t.Errorf("client %d", i)
			}
		}
		r.waitCount("k", 2)
	})
	t.Run("header", func(t *testing.T) {
		o := onUnix(t, Options{MaxConnectionsPerAddress: 1, TrustUnixSockets: true, ProxyProtocol: true})
		r := startRig(t, viaFast, o)
		for i := range 3 {
			w := r.openUnix(headerV2(t, fmt.Sprintf("192.0.2.%d:4711", i/2), 0), "X-Forwarded-For: 203.0.113.9")
			if again := i == 1; again != strings.HasPrefix(first(w), "retry: ") {
				t.Errorf("client %d", i)
			}
		}
		w := r.dialUnix()
		w.Send(r.get("connectKey=k"))
		closed(t, w)
		r.openUnix(local, "X-Forwarded-For: 192.0.2.1").Close()
		r.waitCount("k", 2)
		if got := r.remoteOf(1); got != "unix:proxy" {
			t.Error(got)
		}
	})
}

// first is what a stream begins with.
func first(w *wiretest.Conn) string { return w.Read(len("retry: ")) }

// TestUnixSocketFile: a file that nobody listens on is replaced, one in use is not, nor is anything else; the end removes the
// listener's own file alone.
func TestUnixSocketFile(t *testing.T) {
	path := socketPath(t)
	open := func() net.Listener {
		t.Helper()
		ln, err := ListenUnix(UnixSocket{Path: path, Mode: 0o600, Owner: fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())})
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	_ = stale.Close()
	ln := open()
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if ln.Addr().String() != path {
		t.Error(ln.Addr())
	}
	if _, err := ListenUnix(UnixSocket{Path: path}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("in use: %v", err)
	}
	// Another process has taken the path.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other := open()
	_ = ln.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the file of the other listener is gone: %v", err)
	}
	_ = other.Close()
	_ = other.Close()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}

	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenUnix(UnixSocket{Path: path}); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("another file: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
	for owner, want := range map[string]string{"nobody-of-this-name": "the user", ":no-such-group": "the group"} {
		if _, err := ListenUnix(UnixSocket{Path: path + "2", Owner: owner}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", owner, err)
		}
	}
	if _, err := ListenUnix(UnixSocket{Path: filepath.Join(path+"3", "s")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such folder: %v", err)
	}
}

// TestUnixSocketsStartTogether: of servers that start at the same moment over a stale file one gets it.
func TestUnixSocketsStartTogether(t *testing.T) {
	path := socketPath(t)
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	_ = stale.Close()
	var mu sync.Mutex
	var won []net.Listener
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			ln, err := ListenUnix(UnixSocket{Path: path})
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			won = append(won, ln)
		})
	}
	all.Wait()
	if len(won) != 1 {
		t.Errorf("%d of them listen", len(won))
	}
	for _, ln := range won {
		_ = ln.Close()
	}
}

// TestInheritUnixSocket: a socket file of the parent process serves streams, and stays.
func TestInheritUnixSocket(t *testing.T) {
	plainOnly(t)
	path := socketPath(t)
	parent, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	r := startRig(t, viaFast, rigOptions{listen: func() (net.Listener, error) {
		f, err := parent.File()
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		return Inherit(f)
	}})
	w := r.openUnix("")
	r.waitCount("k", 1)
	r.srv.Drain(t.Context())
	if text := w.Rest(); !strings.Contains(text, "retry: ") {
		t.Errorf("%q", text)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
	datagrams, err := net.ListenPacket("unixgram", path+"d")
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	f, err := datagrams.(*net.UnixConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Inherit(f); err == nil {
		t.Error("a socket for datagrams is taken")
	}
}
