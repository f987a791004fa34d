package nats

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"
)

// TestCloseResets: what the kernel has not sent yet is dropped, not sent later.
func TestCloseResets(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := (&dialer{}).Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	_ = client.Close()
	_ = server.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := server.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server reads %v, want a reset", err)
	}
}
