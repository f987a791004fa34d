package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"strings"
	"testing"

	"fanfare/cmd/fanload/wire"
	"fanfare/codec"
)

// answer reads an answer cut into pieces of n bytes, and parses its body as an event stream.
func answer(raw string, n int) (h wire.Head, events []string, b wire.Body, rest string, err error) {
	var parser codec.Parser
	headed := false
	emit := func(m codec.Message) { events = append(events, string(m.Type)+"/"+string(m.Data)) }
	for in := []byte(raw); len(in) > 0; {
		piece := bytes.Clone(in[:min(n, len(in))])
		in = in[len(piece):]
		if !headed {
			var done bool
			if piece, done, err = h.Feed(piece); err != nil {
				return
			} else if !done {
				continue
			}
			headed = true
			b.Begin(&h)
		}
		var after []byte
		after, err = b.Feed(piece, func(c []byte) {
			if bad := parser.Feed(c, emit); bad != nil {
				err = bad
			}
		})
		rest += string(after)
		if err != nil {
			return
		}
	}
	return
}

func chunked(body string, sizes ...int) string {
	var b bytes.Buffer
	w := httputil.NewChunkedWriter(&b)
	for i := 0; len(body) > 0; i++ {
		n := min(len(body), sizes[i%len(sizes)])
		_, _ = io.WriteString(w, body[:n])
		body = body[n:]
	}
	_ = w.Close()
	return b.String() + "\r\n"
}

const stream = "\xEF\xBB\xBF: hello\r\nid: 1\r\ndata: eins\r\n\r\nevent: news\ndata: zwei\ndata: drei\n\ndata:vier\r\rdata: lost"

var wantEvents = []string{"message/eins", "news/zwei\ndrei", "message/vier"}

func TestStreamCutAnywhere(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n"
	for name, raw := range map[string]string{
		"until the end":  head + "\r\n" + stream,
		"off":            head + "Transfer-Encoding: off\r\n\r\n" + stream,
		"length":         head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(stream), stream),
		"chunked":        head + "Transfer-Encoding: chunked\r\n\r\n" + chunked(stream, 1, 7, 30),
		"one chunk":      head + "Transfer-Encoding: Chunked\r\n\r\n" + chunked(stream, 1000),
		"extension":      head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Replace(chunked(stream, 1000), "\r\n", " ;a=\"b\"\r\n", 1),
		"trailer":        head + "Transfer-Encoding: chunked\r\n\r\n" + strings.TrimSuffix(chunked(stream, 20), "\r\n") + "X: y\r\n\r\n",
		"interim":        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + head + "\r\n" + stream,
		"bare line ends": "HTTP/1.1 200\nContent-Type: text/event-stream\n\n" + stream,
	} {
		for n := 1; n <= len(raw); n++ {
			h, events, b, rest, err := answer(raw, n)
			if err != nil || rest != "" {
				t.Fatalf("%s in pieces of %d: error %v, rest %q", name, n, err, rest)
			}
			if fmt.Sprint(events) != fmt.Sprint(wantEvents) {
				t.Fatalf("%s in pieces of %d: events %q", name, n, events)
			}
			if h.Status != 200 || h.ContentType != "text/event-stream" {
				t.Fatalf("%s in pieces of %d: head %+v", name, n, h)
			}
			if b.Done() != (h.Chunked || h.Length >= 0) {
				t.Fatalf("%s in pieces of %d: done is %v", name, n, b.Done())
			}
		}
	}
}

func TestHeadFields(t *testing.T) {
	raw := "HTTP/1.1 301 Moved\r\nLocation: /there\r\nRetry-After: 7\r\nConnection: keep-alive, Close\r\nContent-Length: 2\r\n\r\nhirest"
	h, _, b, rest, err := answer(raw, len(raw))
	if err != nil || h.Status != 301 || h.Location != "/there" || h.RetryAfter != "7" || !h.Close || h.Length != 2 {
		t.Errorf("head %+v, error %v", h, err)
	}
	if !b.Done() || rest != "rest" {
		t.Errorf("done %v, rest %q", b.Done(), rest)
	}
	for _, raw := range []string{"HTTP/1.1 204 No\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"} {
		if _, _, b, _, err := answer(raw, 3); err != nil || !b.Done() {
			t.Errorf("%q: done %v, error %v", raw, b.Done(), err)
		}
	}
}

func TestBadAnswers(t *testing.T) {
	chunk := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, raw := range []string{
		"SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 101 Switch\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", wire.MaxHead),
		chunk + "x\r\n", chunk + "\r\n", chunk + "1\r\naXX", chunk + "1zz\r\n", chunk + "ffffffffffffffffff\r\n",
		chunk + "1;" + strings.Repeat("e", 20_000),
	} {
		_, _, _, _, err := answer(raw, 5)
		if err == nil {
			t.Errorf("%.60q was taken", raw)
		}
		if strings.HasPrefix(raw, chunk) && !errors.Is(err, wire.ErrChunk) {
			t.Errorf("%.60q: %v", raw, err)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+chunked(stream, 9), uint8(3))
	f.Fuzz(func(t *testing.T, raw string, n uint8) {
		h1, e1, b1, r1, err1 := answer(raw, max(1, int(n)))
		h2, e2, b2, r2, err2 := answer(raw, max(1, len(raw)))
		if err1 == nil && err2 == nil && (fmt.Sprint(e1) != fmt.Sprint(e2) || h1.Status != h2.Status || b1.Done() != b2.Done() || r1 != r2) {
			t.Errorf("pieces of %d: %q %+v; at once: %q %+v", n, e1, h1, e2, h2)
		}
		if (err1 == nil) != (err2 == nil) && len(raw) < wire.MaxHead {
			t.Errorf("pieces of %d: %v; at once: %v", n, err1, err2)
		}
	})
}
