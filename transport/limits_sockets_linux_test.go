package transport

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fanfare/auth"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
	"fanfare/transport/internal/socket"
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
	if err := r.reconfigure(Options{WriteTimeout: 7 * time.Second}); err != nil {
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
		"maxIdleConnections": {MaxIdleConnections: -1}, "drainTimeout": {DrainTimeout: -1}, "idleTimeout": {IdleTimeout: -1}, "maxIdBytes": {MaxIDBytes: -1},
		"minReadRate": {MinReadRate: -1}, "maxPinnedBytes": {MaxPinnedBytes: -1}, "maxLife": {MaxLife: -1}, "maxBodyTotalBytes": {MaxBodyTotalBytes: -1}, "maxBatchLines": {MaxBatchLines: -1},
		"maxAdminConnections": {MaxAdminConnections: -1}, "maxHeadBytes": {MaxHeadBytes: -1}, "maxConnectionsPerAddress": {MaxConnectionsPerAddress: -1},
		"maxConnectionsPerSubject": {MaxConnectionsPerSubject: -1}, "maxConnectRate": {MaxConnectRate: -1}, "maxConnectRatePerAddress": {MaxConnectRatePerAddress: -1},
		"maxAuthorizing": {MaxAuthorizing: -1}, "duplicateWindow": {DuplicateWindow: -1}, "maxIdempotencyKeys": {MaxIdempotencyKeys: -1},
		"maxRewindEvents": {MaxRewindEvents: -1}, "maxOlderBytes": {MaxOlderBytes: -1},
	} {
		_, err := NewServer(eng, o)
		if err == nil || !strings.Contains(err.Error(), name+" -1") {
			t.Errorf("%s of -1: %v", name, err)
		}
	}
}

// TestSilentConnections: connections without a request take no place from streams, however many there are. The oldest go
// first, also those that send a byte now and then, and one between two requests counts from its last answer.
func TestSilentConnections(t *testing.T) {
	const most = 40
	r := startRig(t, viaFast, rigOptions{Options: Options{MaxConnections: 100, MaxIdleConnections: most}})
	open := r.stream("connectKey=k")
	defer open.Close()
	r.waitCount("k", 1)
	idle := func() int { return int(r.metric("fanfare_idle_connections")) }
	// Connections are opened one after another, and each is idle before the next.
	silent := func(n int, first string) (all []*wiretest.Conn) {
		for range n {
			w := r.dial()
			if first != "" {
				w.Send(first)
			}
			all = append(all, w)
		}
		return all
	}
	oldest := silent(5, "GET /stream?conn") // the request does not go on
	eventually.Equal(t, "they are idle", 5, idle)
	kept := r.dial() // is between two requests
	kept.Send(wiretest.Request("GET", "/healthz"))
	kept.ReadHead()
	kept.Read(3)
	eventually.Equal(t, "it is idle", 6, idle)
	for _, w := range oldest {
		w.Send("e") // to no avail
	}
	more := silent(most-6, "")
	eventually.Equal(t, "as many as allowed", most, idle)
	for _, w := range oldest {
		w.Send("c")
	}
	kept.Send(wiretest.Request("GET", "/healthz")) // now it is the youngest
	kept.ReadHead()
	kept.Read(3)
	eventually.Equal(t, "as many as allowed", most, idle)

	more = append(more, silent(5, "")...)
	for _, w := range oldest {
		w.Ended()
	}
	eventually.True(t, "as many as allowed", func() bool { return idle() == most && r.metric("fanfare_idle_connections_closed_total") == 5 })
	kept.Send(wiretest.Request("GET", "/healthz"))
	if kept.ReadHead(); kept.Status != 200 {
		t.Errorf("the connection that was used: %d", kept.Status)
	}
	silent(3*most, "")
	late := r.stream("connectKey=k")
	defer late.Close()
	r.waitCount("k", 2)
	if n := r.metric("fanfare_idle_connections"); n > most {
		t.Errorf("%v are idle", n)
	}
	for _, w := range more {
		w.Ended()
	}
}

// TestStreamsTakeThePlaceOfSilentConnections: together they are no more than MaxConnections, plus the few of minIdle.
func TestStreamsTakeThePlaceOfSilentConnections(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: Options{MaxConnections: 100}})
	for range 90 {
		r.dial()
	}
	eventually.Equal(t, "they are idle", 90, func() float64 { return r.metric("fanfare_idle_connections") })
	for range 100 {
		w := r.stream("connectKey=k")
		defer w.Close()
	}
	r.waitCount("k", 100)
	r.dial() // who comes next makes the others go
	eventually.Equal(t, "few are idle", minIdle, func() float64 { return r.metric("fanfare_idle_connections") })
}

// TestJunkAfterTheRequest: a client that sends more than a little after its request counts as gone.
func TestJunkAfterTheRequest(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	little, much := r.stream("connectKey=k"), r.stream("connectKey=k")
	defer little.Close()
	r.waitCount("k", 2)
	little.Send(strings.Repeat("x", socket.MaxJunk/2))
	junk := make([]byte, 64<<10)
	for r.eng.Count("k") == 2 {
		if _, err := much.NetConn().Write(junk); err != nil {
			break
		}
	}
	r.waitCount("k", 1)
	r.publish("k", "still here")
	if got := little.Read(10); !strings.HasPrefix(got, "event: pos") {
		t.Errorf("%q", got)
	}
	eventually.Equal(t, "gone", 1, func() float64 { return r.metric(`fanfare_connections_closed_total{reason="gone"}`) })
}

// TestNotIdleWhileAuthorized: a client that waits for its authorization has sent its request, so silent connections do not
// push it out, and it gets an answer.
func TestNotIdleWhileAuthorized(t *testing.T) {
	asked, decide := make(chan struct{}), make(chan struct{})
	var once sync.Once
	release := func() { once.Do(func() { close(decide) }) }
	r := startRig(t, viaFast, rigOptions{Options: Options{
		MaxIdleConnections: 1,
		Authorize: func(context.Context, auth.Request) (auth.Grant, error) {
			close(asked)
			<-decide
			return auth.Grant{}, auth.ErrLater
		},
	}})
	t.Cleanup(release)
	w := r.dial()
	eventually.Equal(t, "it is idle", 1, func() float64 { return r.metric("fanfare_idle_connections") })
	w.Send(r.get("connectKey=a"))
	<-asked
	const silent = minIdle + 3
	for range silent {
		r.dial()
	}
	eventually.Equal(t, "the silent ones are closed", silent-minIdle, func() float64 { return r.metric("fanfare_idle_connections_closed_total") })
	release()
	w.ReadHead()
	if answer := w.Rest(); !strings.Contains(answer, "retry: ") {
		t.Errorf("the client got %q, want a reconnection time", answer)
	}
}
