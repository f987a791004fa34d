package wiretest

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"fanfare/internal/test/failure"
)

// pipe is a client of a server that sends text, and then ends unless open is set.
func pipe(t testing.TB, text string, open bool) *Conn {
	server, client := net.Pipe()
	go func() {
		_, _ = io.WriteString(server, text)
		if !open {
			_ = server.Close()
		}
	}()
	t.Cleanup(func() { _ = server.Close() })
	return New(t, client)
}

const (
	streamHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
	chunked    = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)

func TestConn(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		do   func(*Conn)
		want string // part of the failure, "" for none
	}{
		"head":            {"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n", func(w *Conn) { w.ReadHead(); w.Ended() }, ""},
		"broken head":     {"HTTP/1.1 200 OK\r\nA:", func(w *Conn) { w.ReadHead() }, `reading the head: EOF, after "HTTP/1.1 200 OK\r\nA:"`},
		"no status":       {"nonsense\r\n\r\n", func(w *Conn) { w.ReadHead() }, `status line "nonsense"`},
		"body":            {streamHead + "data: x\n\n", func(w *Conn) { w.ReadHead(); w.Expect("data: x\n\n"); w.Ended() }, ""},
		"other body":      {streamHead + "data: y\n\n", func(w *Conn) { w.ReadHead(); w.Expect("data: x\n\n") }, `want  "data: x\n\n"`},
		"short body":      {streamHead + "data", func(w *Conn) { w.ReadHead(); w.Expect("data: x\n\n") }, `read  "data"`},
		"chunks":          {chunked + "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", func(w *Conn) { w.ReadHead(); w.Expect("abcde") }, ""},
		"broken chunks":   {chunked + "3\r\nabc\r\n", func(w *Conn) { w.ReadHead(); w.Rest() }, "reading to the end: unexpected EOF"},
		"length":          {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabcd", func(w *Conn) { w.ReadHead(); w.T.Log(w.Rest()); w.Ended() }, `got "cd"`},
		"more before end": {streamHead + "x", func(w *Conn) { w.ReadHead(); w.Ended() }, `want the end of the connection, got "x"`},
		"end, not quiet":  {streamHead, func(w *Conn) { w.ReadHead(); w.Quiet(time.Minute) }, "want silence, got EOF"},
		"not quiet":       {streamHead + "x", func(w *Conn) { w.ReadHead(); w.Quiet(time.Minute) }, `want silence, got "x"`},
	} {
		t.Run(name, func(t *testing.T) {
			got := failure.Of(t, func(t testing.TB) { c.do(pipe(t, c.text, false)) })
			if !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	if got := failure.Of(t, func(t testing.TB) { w := pipe(t, streamHead, true); w.ReadHead(); w.Quiet(20 * time.Millisecond) }); got != "" {
		t.Errorf("of a quiet server: %q", got)
	}
}

func TestEvents(t *testing.T) {
	const text = "retry: 1500\nevent: position\ndata: \nid: e-1\n\ndata: one\nid: e-2\n\nevent: gap\ndata: {\"key\":\"k\",\"reason\":\"history\",\"missed\":3,\"after\":\"e-2\",\"next\":null}\n\n"
	w := pipe(t, streamHead+text, false)
	w.ReadHead()
	e := NewEvents(w)
	e.AwaitPosition()
	if e.Position() != "e-1" {
		t.Errorf("position %q", e.Position())
	}
	if m := e.Next(); m != (Message{Type: "message", Data: "one", ID: "e-2"}) {
		t.Errorf("%v", m)
	}
	if g := e.Next().Gap(t); g.Key != "k" || g.Reason != "history" || *g.Missed != 3 || g.After != "e-2" || g.Next != "" {
		t.Errorf("%+v", g)
	}
	if d, set := e.Retry(); d != 1500*time.Millisecond || !set {
		t.Errorf("retry %s, %v", d, set)
	}
	if got := failure.Of(t, func(t testing.TB) { e.T = t; e.Next() }); !strings.Contains(got, "no next message: EOF") {
		t.Errorf("%q", got)
	}
}

// TestExpectEnd: a message before the end, and an end that is not one, are failures.
func TestExpectEnd(t *testing.T) {
	for text, want := range map[string]string{
		chunked + "0\r\n\r\n":                     "",
		chunked + "9\r\ndata: x\n\n\r\n0\r\n\r\n": `messages before the end: [message "x"`,
		chunked: "the stream ended with: unexpected EOF",
	} {
		got := failure.Of(t, func(t testing.TB) {
			w := pipe(t, text, false)
			w.ReadHead()
			NewEvents(w).ExpectEnd()
		})
		if !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestCloseWrite: the server sees the end, and its response still comes.
func TestCloseWrite(t *testing.T) {
	l := Serve(t, func(_ int, c *net.TCPConn) {
		request, _ := io.ReadAll(c)
		_, _ = fmt.Fprintf(c, "got %q", request)
	})
	w := Dial(t, l.Addr().String())
	w.Send("all")
	w.CloseWrite()
	w.Body = w.In
	w.Expect(`got "all"`)
	w.Ended()
}

func TestGapIsChecked(t *testing.T) {
	for want, m := range map[string]Message{
		"not a gap":    {Type: "message", Data: `{}`},
		"invalid":      {Type: "gap", Data: `x`},
		"must be null": {Type: "gap", Data: `{"after":""}`},
	} {
		if got := failure.Of(t, func(t testing.TB) { m.Gap(t) }); !strings.Contains(got, want) {
			t.Errorf("%v: %q, want %q", m, got, want)
		}
	}
}

// TestServe: connections are counted, closed after handle, and at the end of the test the open ones are closed and waited for.
func TestServe(t *testing.T) {
	var held *Conn
	ended, parent := false, t
	t.Run("test", func(t *testing.T) {
		hold := make(chan bool, 1)
		l := Serve(t, func(n int, c *net.TCPConn) {
			_, _ = fmt.Fprint(c, n)
			if n == 1 {
				hold <- true
				_, _ = io.Copy(io.Discard, c)     // until it is closed
				time.Sleep(20 * time.Millisecond) // a Serve that does not wait is gone by then
				ended = true
			}
		})
		first := Dial(t, l.Addr().String())
		first.Body = first.In
		if got := first.Rest(); got != "0" {
			t.Errorf("%q", got)
		}
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		held = New(parent, c) // open for longer than the server
		<-hold
	})
	if !ended {
		t.Error("handle was not waited for")
	}
	if _, err := net.Dial("tcp", held.NetConn().RemoteAddr().String()); err == nil {
		t.Error("the listener is open after the test")
	}
}
