package redisconn

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/redis/rueidis"
)

// What is not Redis is recognized by its greeting, such as that of a NATS server.
func TestExplainAnotherServer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "INFO {\"server_id\":\"x\"}\r\n")
			defer conn.Close()
		}
	}()
	o, err := ParseURL("redis://" + ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	dial := Dialer(context.Background(), o)
	o.DialCtxFn = dial
	c, err := rueidis.NewClient(o)
	if err == nil {
		c.Close()
		t.Fatal("connected to a server that is not Redis")
	}
	if _, hint := Explain(err); !strings.Contains(hint, "is not redis") {
		t.Errorf("%v: hint %q", err, hint)
	}
}
