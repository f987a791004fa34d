package sse

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
)

type flusher interface {
	io.WriteCloser
	Flush() error
}

// A stream that comes compressed is decoded as it comes, with chunks or without, and needs no trailer.
func TestContentEncoding(t *testing.T) {
	for coding, compress := range map[string]func(io.Writer) flusher{
		"gzip":    func(w io.Writer) flusher { return gzip.NewWriter(w) },
		"x-gzip":  func(w io.Writer) flusher { return gzip.NewWriter(w) },
		"GZIP":    func(w io.Writer) flusher { return gzip.NewWriter(w) },
		"deflate": func(w io.Writer) flusher { return zlib.NewWriter(w) },
	} {
		for _, chunked := range []bool{true, false} {
			for _, trailer := range []bool{true, false} {
				t.Run(fmt.Sprint(coding, ", chunked ", chunked, ", trailer ", trailer), func(t *testing.T) {
					next := make(chan struct{})
					s := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) {
						head := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: " + coding + "\r\n"
						if chunked {
							head += "Transfer-Encoding: chunked\r\n"
						}
						send(c, head+"\r\n")
						var out bytes.Buffer
						w := compress(&out)
						flush := func() {
							switch {
							case out.Len() == 0:
							case chunked:
								send(c, fmt.Sprintf("%x\r\n%s\r\n", out.Len(), out.Bytes()))
							default:
								send(c, out.String())
							}
							out.Reset()
						}
						for i := range 3 {
							_, _ = io.WriteString(w, fmt.Sprintf("data: %d\n\n", i))
							_ = w.Flush()
							flush()
							<-next // the client has it before there is more
						}
						if trailer {
							_ = w.Close()
							flush()
						}
						if chunked {
							send(c, "0\r\n\r\n")
						}
					})
					v := newVU(t, map[string]any{"url": s.url, "next": func() { next <- struct{}{} }})
					v.must(`
						const es = new EventSource(url, { reconnect: false });
						es.onmessage = (e) => { note(e.data); next(); };
						es.onerror = (e) => note(e.message);`)
					v.wantNotes("0", "1", "2", "the server ended the stream")
					v.wantSum(1, "sse_disconnects", "reason=end")
				})
			}
		}
	}
}

// A stream that isn't what it says ends with an error that says so, and one that is cut off was truncated.
func TestContentEncodingBroken(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n"
	plain := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) { send(c, head+"\r\ndata: not compressed at all\n\n") })
	v := newVU(t, map[string]any{"url": plain.url})
	v.must(`new EventSource(url, { reconnect: false }).onerror = (e) => note(e.message);`)
	v.wantNotes("the stream does not have the coding of its Content-Encoding: gzip: invalid header")
	cut := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) {
		send(c, head+"Transfer-Encoding: chunked\r\n\r\n5\r\n\x1f\x8b\x08\x00\x00\r\n")
	})
	v = newVU(t, map[string]any{"url": cut.url})
	v.must(`new EventSource(url, { reconnect: false });`)
	v.wantSum(1, "sse_disconnects", "reason=truncated")
}

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
