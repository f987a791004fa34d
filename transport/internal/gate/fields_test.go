package gate

import (
	"bufio"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// heads are fields, and whether every reader understands them alike.
var heads = map[string]bool{
	"Host: x\r\n": true, "Host: x\r\nX: a b\tc\r\n": true, "Host: x\r\nTransfer-Encoding: chunked\r\n": true, "Host: x\r\ntransfer-encoding:CHUNKED \r\n": true,
	"Host: x\r\nX: \r\n": true, "Host: x\r\nX-!#$%&'*+-.^_`|~9: a\r\n": true, "Host: x\r\nContent-Length: 5\r\n": true,
	"Host: x\r\nX: a\r\n b\r\n": false, "Host: x\r\nX: a\r\n\tTransfer-Encoding: chunked\r\n": false, "Host: x\r\nX Y: a\r\n": false, "Host: x\r\n(): a\r\n": false, "Host: x\r\n\"X\": a\r\n": false,
	"Host: x\r\nTransfer-Encoding: identity\r\n": false, "Host: x\r\nTransfer-Encoding: \"chunked\"\r\n": false, "Host: x\r\nTransfer-Encoding: chunked, identity\r\n": false,
}

// TestClearFields: a head counts only if every reader finds the same fields in it.
func TestClearFields(t *testing.T) {
	for head, want := range heads {
		var h fasthttp.RequestHeader
		if err := h.Read(bufio.NewReader(strings.NewReader("POST / HTTP/1.1\r\n" + head + "\r\n"))); err != nil {
			if want {
				t.Errorf("%q: %v", head, err)
			}
			continue // fasthttp refuses it
		}
		if got := ClearFields(&h); got != want {
			t.Errorf("%q: %v", head, got)
		}
	}
}

// FuzzHead compares what is understood of any head with what net/http understands, which stands for the proxy in front: the same
// target and the same length of the body, unless one of both refuses it.
func FuzzHead(f *testing.F) {
	for head := range heads {
		f.Add("POST /publish?key=k HTTP/1.1\r\n" + head + "\r\n")
	}
	for _, head := range []string{"GET http://x/a/../b?c#d HTTP/1.1\r\nHost: y\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n", "GET /%2f HTTP/1.0\nHost: [::1]:80\n\n", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a@b\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\nOrigin: https://x.example\r\n\r\n"} {
		f.Add(head)
	}
	origins := Origins{Allowed: []string{"https://app.example", "https://*.app.example"}}
	f.Fuzz(func(t *testing.T, text string) {
		var h fasthttp.RequestHeader
		if h.Read(bufio.NewReaderSize(strings.NewReader(text), 64<<10)) != nil {
			return
		}
		target, valid := TargetOf(&h)
		if origin := string(h.Peek("Origin")); origins.Allows(origin) {
			if strings.ContainsAny(origin, "\r\n\x00 ") || !strings.HasSuffix(origin, "app.example") {
				t.Fatalf("the origin %q is allowed", origin)
			}
			for _, field := range origins.Fields(origin) {
				if strings.ContainsAny(field[0]+field[1], "\r\n") {
					t.Fatalf("%q answers with %q", origin, field)
				}
			}
		}
		if name, ok := HostName(target.Host); ok && strings.ContainsAny(name, "@/\\[]") {
			t.Fatalf("the host %q of %q", name, target.Host)
		}
		if !valid || !KnownVersion(&h) || !ClearFields(&h) {
			return
		}
		r, err := http.ReadRequest(bufio.NewReaderSize(strings.NewReader(text), 64<<10))
		if err != nil {
			return
		}
		if r.Method != string(h.Method()) || r.RequestURI != string(h.RequestURI()) {
			t.Fatalf("%q: %s %s, net/http: %s %s", text, h.Method(), h.RequestURI(), r.Method, r.RequestURI)
		}
		chunked, body := slices.Contains(r.TransferEncoding, "chunked"), HasBody(&h)
		if chunked != (h.ContentLength() == -1) || !chunked && max(r.ContentLength, 0) != int64(max(h.ContentLength(), 0)) || body != (chunked || r.ContentLength > 0) {
			t.Fatalf("%q: length %d, net/http: %d, %v", text, h.ContentLength(), r.ContentLength, r.TransferEncoding)
		}
	})
}
