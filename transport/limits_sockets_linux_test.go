package transport

import (
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fanfare/engine"
	"fanfare/internal/test/wiretest"
)

// TestUserTimeoutIsTheWriteTimeout: what the kernel has taken for a client that has vanished counts as the client's for as
// long as writeTimeout, also after a reload, and not for a time of its own.
func TestUserTimeoutIsTheWriteTimeout(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: Options{WriteTimeout: 3 * time.Second}})
	userTimeout := func() (ms int) {
		before := r.srv.Open()
		w := r.stream("connectKey=k")
		defer w.Close()
		r.waitOpen(before + 1)
		client := w.NetConn().LocalAddr().(*net.TCPAddr)
		for fd := range 1 << 12 { // the server's side is the one whose peer is the client
			peer, err := unix.Getpeername(fd)
			if at, ok := peer.(*unix.SockaddrInet4); err != nil || !ok || at.Port != client.Port {
				continue
			}
			if ms, err = unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err != nil {
				t.Fatal(err)
			}
		}
		return ms
	}
	userTimeout() // may have been accepted by the kernel before Serve ran
	r.waitOpen(0)
	if got := userTimeout(); got != 3000 {
		t.Errorf("%d ms with a writeTimeout of 3 s", got)
	}
	r.waitOpen(0)
	if err := r.srv.Reconfigure(Options{WriteTimeout: 7 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if got := userTimeout(); got != 7000 {
		t.Errorf("%d ms after a reload with a writeTimeout of 7 s", got)
	}
}

// TestIdleConnectionsOutlastProxies: a proxy keeps a connection to its server for 60 s; the server keeps it longer.
func TestIdleConnectionsOutlastProxies(t *testing.T) {
	set, err := newSettings(Options{})
	if err != nil || set.IdleTimeout < 75*time.Second {
		t.Errorf("%v, %v", set.IdleTimeout, err)
	}
	r := startRig(t, viaFast, rigOptions{Options: Options{IdleTimeout: 300 * time.Millisecond}})
	w := r.dial()
	start := time.Now() // before the server begins to wait, however late this client reads the response
	w.Send(wiretest.Request("GET", "/healthz"))
	w.ReadHead()
	w.Rest()
	w.Ended()
	if d := time.Since(start); d < 300*time.Millisecond {
		t.Errorf("closed after %v", d)
	}
}

// TestOptionsThatMeanNothing: an engine that is missing and values below zero are refused by name.
func TestOptionsThatMeanNothing(t *testing.T) {
	if _, err := NewServer(nil, Options{}); err == nil {
		t.Error("a server without an engine")
	}
	eng := engine.New(engine.Options{})
	defer eng.Close()
	for name, o := range map[string]Options{
		"pingInterval": {PingInterval: -1}, "writeTimeout": {WriteTimeout: -1}, "retry": {Retry: -1}, "retryMin": {RetryMin: -1}, "retryMax": {RetryMax: -1},
		"maxConnections": {MaxConnections: -1}, "maxKeysPerConnection": {MaxKeysPerConnection: -1}, "maxKeyBytes": {MaxKeyBytes: -1},
		"maxEventBytes": {MaxEventBytes: -1}, "maxBodyBytes": {MaxBodyBytes: -1}, "drainDelay": {DrainDelay: -1}, "drainRate": {DrainRate: -1},
		"drainTimeout": {DrainTimeout: -1}, "idleTimeout": {IdleTimeout: -1}, "maxIdBytes": {MaxIDBytes: -1},
	} {
		_, err := NewServer(eng, o)
		if err == nil || !strings.Contains(err.Error(), name+" -1") {
			t.Errorf("%s of -1: %v", name, err)
		}
	}
}
