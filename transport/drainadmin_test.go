package transport

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// DrainAdmin answers the request that is under way, closes its connection, and refuses new ones.
func TestDrainAdmin(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	idle := wiretest.Dial(t, r.admin)
	idle.Send(wiretest.Request("GET", "/count?key=news"))
	idle.ReadHead()
	idle.Rest() // of this answer; the connection is kept

	// A batch whose answers nobody reads for now.
	const lines = 90_000
	body := strings.Repeat(`{"key":"news","data":"x"}`+"\n", lines)
	busy := wiretest.Dial(t, r.admin)
	if err := busy.NetConn().(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	busy.Send(fmt.Sprintf("POST /batch HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	if busy.ReadHead(); busy.Status != 200 {
		t.Fatalf("status %d", busy.Status)
	}
	drained := make(chan struct{})
	go func() { r.srv.DrainAdmin(context.Background()); close(drained) }()
	idle.Ended()
	eventually.True(t, "new connections are refused", func() bool {
		c, err := net.Dial("tcp", r.admin)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	select {
	case <-drained:
		t.Fatal("DrainAdmin has not waited for the request")
	default:
	}
	if n := strings.Count(busy.Rest(), "\n"); n != lines {
		t.Errorf("%d answers", n)
	}
	<-drained
}

// It does not wait for longer than its context, and a request whose body has not arrived is not under way.
func TestDrainAdminCanceled(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	half := wiretest.Dial(t, r.admin)
	half.Send("POST /publish?key=news HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhe")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r.srv.DrainAdmin(ctx)
}
