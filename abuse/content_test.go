package abuse_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// contentAttacks are requests that two readers understand differently, that are too large, or whose parts come back in an answer.
var contentAttacks = group{
	name: "content",
	start: func(t *testing.T) *victim {
		return startVictim(t, "--max-body-bytes", "1MiB", "--max-event-bytes", "64KiB", "--max-batch-lines", "20000", "--max-keys-per-connection", "4", "--reserved-events", "refuse")
	},
	attacks: []attack{
		{name: "smuggling", keys: 2, run: smuggling},
		{name: "giant-heads", run: giantHeads},
		{name: "giant-bodies", run: giantBodies},
		{name: "compressed-bodies", run: compressedBodies},
		{name: "batch-junk", peak: 96, keys: 1, run: batchJunk},
		{name: "injection-by-requests", run: injectionByRequests},
		{name: "injection-by-events", keys: 8, run: injectionByEvents},
	},
}

const smuggled = "POST /publish?key=smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + publishToken +
	"\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\nsmuggled"

// smuggling sends requests whose end is not clear, with another one after them. Nobody may take that one for a request: a proxy in
// front may have taken it for a body (RFC 9112, 11.2).
func smuggling(t *testing.T, v *victim) {
	seen := wiretest.Subscribe(t, v.stream, "/stream?connectKey=smuggled")
	const begin, auth = "POST /publish?key=outer HTTP/1.1\r\nHost: 127.0.0.1\r\n", "Content-Type: text/plain\r\nAuthorization: Bearer " + publishToken + "\r\n"
	length := fmt.Sprintf("Content-Length: %d\r\n", len(smuggled))
	shapes := map[string]string{
		"CL and TE":            length + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"TE and CL":            "Transfer-Encoding: chunked\r\n" + length + "\r\n0\r\n\r\n",
		"CL 0 and TE":          "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
		"two lengths":          "Content-Length: 0\r\n" + length + "\r\n",
		"two lengths, turned":  length + "Content-Length: 0\r\n\r\n",
		"a list of lengths":    fmt.Sprintf("Content-Length: 0, %d\r\n\r\n", len(smuggled)),
		"length +0":            "Content-Length: +0\r\n\r\n",
		"length -1":            "Content-Length: -1\r\n\r\n",
		"length 0x0":           "Content-Length: 0x0\r\n\r\n",
		"length empty":         "Content-Length:\r\n\r\n",
		"length with a letter": "Content-Length: 0a\r\n\r\n",
		"length of 2^64":       "Content-Length: 18446744073709551616\r\n\r\n",
		"length of 2^63":       "Content-Length: 9223372036854775808\r\n\r\n",
		"length, two words":    "Content-Length: 0 0\r\n\r\n",
		"TE identity":          "Transfer-Encoding: identity\r\n" + "\r\n",
		"TE twice":             "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"TE twice, turned":     "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"TE a list":            "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
		"TE chunked twice":     "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
		"TE unknown":           "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"TE quoted":            "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
		"TE with a parameter":  "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
		"TE gzip":              "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"TE, space before":     "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		"TE, vertical tab":     "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
		"TE, NUL":              "Transfer-Encoding: chunked\x00\r\n\r\n0\r\n\r\n",
		"TE, folded":           "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
		"TE after a bare LF":   "X: a\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		"TE after a bare CR":   "X: a\rTransfer-Encoding: chunked\r\n" + length + "\r\n",
		"CL, space before":     "Content-Length : 0\r\n\r\n",
		"CL, folded":           "Content-Length: 0\r\n 9\r\n\r\n",
		"CL folded away":       "X: a\r\n Content-Length: 0\r\n\r\n",
		"chunk size +0":        "Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n",
		"chunk size 0x0":       "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
		"chunk size empty":     "Transfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n",
		"chunk size -1":        "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
		"chunk size huge":      "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n0\r\n\r\n",
		"chunk size spaced":    "Transfer-Encoding: chunked\r\n\r\n0 0\r\n\r\n",
		"chunk too short":      "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
		"chunk without CRLF":   "Transfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
		"chunk, bare LF":       "Transfer-Encoding: chunked\r\n\r\n0\n\n",
		"chunk data, bare LF":  "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
		"chunk extension, LF":  "Transfer-Encoding: chunked\r\n\r\n0;x=\n\r\n\r\n",
		"NUL in a field":       "X: a\x00b\r\nContent-Length: 0\r\n\r\n",
		"NUL in a name":        "X\x00: a\r\nContent-Length: 0\r\n\r\n",
		"a field of no name":   ": a\r\nContent-Length: 0\r\n\r\n",
		"a field of no colon":  "Content-Length 0\r\n\r\n",
		"a space in a name":    "X Y: a\r\nContent-Length: 0\r\n\r\n",
	}
	requests := map[string]string{ // whole ones
		"a stream with a body":    "GET /stream?connectKey=outer HTTP/1.1\r\nHost: 127.0.0.1\r\n" + length + "\r\n",
		"a stream with chunks":    "GET /stream?connectKey=outer HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"health with a body":      "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + length + "\r\n",
		"chunks of HTTP/1.0":      strings.Replace(begin, "HTTP/1.1", "HTTP/1.0", 1) + auth + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.0 kept":           strings.Replace(begin, "HTTP/1.1", "HTTP/1.0", 1) + auth + "Connection: keep-alive\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
		"no version":              "POST /publish?key=outer\r\n" + auth + "Content-Length: 0\r\n\r\n",
		"two spaces":              "POST  /publish?key=outer  HTTP/1.1\r\nHost: 127.0.0.1\r\n" + auth + "Transfer-Encoding: chunked\r\n" + length + "\r\n",
		"NUL in the target":       "POST /publish?key=a\x00 HTTP/1.1\r\nHost: 127.0.0.1\r\n" + auth + "Content-Length: 0\r\n\r\n",
		"a line end in the query": "POST /publish?key=a\rX HTTP/1.1\r\nHost: 127.0.0.1\r\n" + auth + "Content-Length: 0\r\n\r\n",
		"no such path":            "POST /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n" + length + "\r\n",
		"upgrade to h2c":          "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n" + length + "\r\n",
		"CONNECT":                 "CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n" + length + "\r\n",
		"a field before the line": " X: a\r\n" + begin + auth + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
	}
	for name, shape := range shapes {
		requests[name] = begin + auth + shape
	}
	for name, request := range requests {
		for _, addr := range []string{v.admin, v.stream} {
			answers := exchange(t, addr, request+smuggled)
			if len(answerLine.FindAllString(answers, -1)) > 1 {
				t.Errorf("%s: %q", name, wiretest.Clip(answers))
			}
		}
	}
	v.PublishText("smuggled", "the end")
	if m := seen.Next(); m.Data != "the end" {
		t.Fatalf("a smuggled request was executed: %s", m)
	}
	// A request after one that ends clearly is executed, so the check can fail.
	exchange(t, v.admin, begin+auth+"Content-Length: 5\r\n\r\nhello"+smuggled)
	seen.WantData("smuggled")
	seen.Close()
}

// exchange sends bytes and the end of the connection, and returns all that comes back.
func exchange(t *testing.T, addr, text string) string {
	t.Helper()
	c := dial(t, addr)
	defer c.Close()
	go func() { // the server may answer and close before it has everything
		_, _ = io.WriteString(c, text)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	b, err := io.ReadAll(c)
	if err != nil && !broken(err) {
		t.Fatalf("%q after %q: %v", wiretest.Clip(string(b)), wiretest.Clip(text), err)
	}
	return string(b)
}

// status is the status of an answer.
func status(answer string) string {
	line, _, _ := strings.Cut(answer, "\r\n")
	if fields := strings.Fields(line); len(fields) > 1 {
		return fields[1]
	}
	return ""
}

// giantHeads never end, in each of their parts.
func giantHeads(t *testing.T, v *victim) {
	filler := strings.Repeat("x", sized(2<<20, 32<<20))
	for name, head := range map[string]string{
		"a target": "GET /stream?connectKey=" + filler, "a method": filler, "a field": "GET /stream HTTP/1.1\r\nX: " + filler, "a name": "GET /stream HTTP/1.1\r\n" + filler,
		"many fields": "GET /stream HTTP/1.1\r\n" + strings.Repeat("x: y\r\n", len(filler)/6), "line ends": strings.Repeat("\r\n", len(filler)/2), "keys": "GET /stream?" + strings.Repeat("&connectKey=k", len(filler)/13),
		"an id": "GET /stream?connectKey=k HTTP/1.1\r\nLast-Event-ID: " + filler, "cookies": "GET /stream?connectKey=k HTTP/1.1\r\n" + strings.Repeat("Cookie: cookie-of-the-tests\r\n", len(filler)/29),
	} {
		for _, addr := range []string{v.stream, v.admin} {
			flood(t, 5, 5, func(int) error {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					return err
				}
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(eventually.Patience))
				go func() { _, _ = io.WriteString(c, head) }()
				b, err := io.ReadAll(io.LimitReader(c, 4096))
				if s := status(string(b)); err != nil && !broken(err) || s != "431" && s != "400" && s != "" {
					return fmt.Errorf("%s: %q, %w", name, b, err)
				}
				return nil
			})
		}
	}
}

// giantBodies announce more than the limit, or send it in chunks, with a token and without.
func giantBodies(t *testing.T, v *victim) {
	filler := strings.Repeat("x", 64<<10)
	flood(t, sized(100, 1000), 20, func(i int) error {
		fields := []string{"Content-Type: text/plain", [...]string{"Content-Length: 1000000000", "Transfer-Encoding: chunked"}[i%2]}
		if i%4 < 2 {
			fields = append(fields, "Authorization: Bearer "+publishToken)
		}
		c, err := net.Dial("tcp", v.admin)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(eventually.Patience))
		go func() {
			_, _ = io.WriteString(c, wiretest.Request("POST", [...]string{"/publish?key=giant", "/batch", "/close?key=giant"}[i%3], fields...))
			for range 100 {
				text := filler
				if i%2 == 1 {
					text = fmt.Sprintf("%x\r\n%s\r\n", len(filler), filler)
				}
				if _, err := io.WriteString(c, text); err != nil {
					return
				}
			}
		}()
		b, err := io.ReadAll(c)
		if s := status(string(b)); err != nil && !broken(err) || s != "413" && s != "401" && s != "415" && s != "503" && s != "" {
			return fmt.Errorf("%q, %w", b, err)
		}
		return nil
	})
}

// compressedBodies are small and would be large: the server decompresses nothing.
func compressedBodies(t *testing.T, v *victim) {
	for _, coding := range []string{"gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "identity, gzip", "gzip, gzip"} {
		for _, path := range []string{"/publish?key=bomb", "/batch", "/publishAll"} {
			answer := exchange(t, v.admin, wiretest.Request("POST", path, "Content-Type: application/json", "Authorization: Bearer "+publishToken,
				"Content-Encoding: "+coding, fmt.Sprint("Content-Length: ", len(bomb())))+string(bomb()))
			if s := status(answer); s != "415" && s != "" {
				t.Errorf("%s of %s: %q", path, coding, answer)
			}
		}
	}
}

// bomb is 64 MiB of zeros, compressed.
var bomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	_, _ = z.Write(make([]byte, 64<<20))
	_ = z.Close()
	return b.Bytes()
})

// batchJunk are batches whose lines are junk, and whose answers nobody reads.
func batchJunk(t *testing.T, v *victim) {
	lines := []string{"x\n", "{}\n", `{"op":"publish","key":"bystander","data":}` + "\n", `{"op":"close","key":"junk","x":1}` + "\n", "\x00\xff\n", "[[[[[[[[\n", `{"key":"junk","frame":"x"}` + "\n"}
	flood(t, sized(60, 1000), 10, func(i int) error {
		line := lines[i%len(lines)]
		body := strings.Repeat(line, min(19_000, (1<<20)/len(line)))
		c, err := net.Dial("tcp", v.admin)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(eventually.Patience))
		_, _ = io.WriteString(c, wiretest.Request("POST", "/batch", "Content-Type: application/x-ndjson", "Authorization: Bearer "+publishToken, fmt.Sprint("Content-Length: ", len(body)))+body)
		if i%2 == 0 {
			return nil // does not read
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusServiceUnavailable {
			return fmt.Errorf("%v, %w", resp, err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	})
	// A nesting that a recursive parser would follow.
	deep := strings.Repeat("[", 500_000)
	for _, body := range []string{deep, `{"data":` + deep, `{"key":"junk","data":` + deep + strings.Repeat("]", len(deep)) + "}"} {
		if s := status(exchange(t, v.admin, wiretest.Request("POST", "/publish?key=junk", "Content-Type: application/json", "Authorization: Bearer "+publishToken, fmt.Sprint("Content-Length: ", len(body)))+body)); s != "400" && s != "413" && s != "200" {
			t.Errorf("nesting: %q", s)
		}
	}
}

// injections are texts that would begin a field, an answer, a line of a stream or an event of their own.
var injections = []string{"\r\nX-Injected: 1", "\nX-Injected: 1", "\rX-Injected: 1", "\r\n\r\nX-Injected: 1", "\u2028X-Injected: 1", "\u0085X-Injected: 1", "\x00\r\nX-Injected: 1", "\n\ndata: X-Injected\n\n",
	"\r\rdata: X-Injected\r\r", "\nid: X-Injected\n", `"}X-Injected`, "<script>X-Injected</script>", "\x1b]0;X-Injected\a"}

// injectionByRequests puts such texts into everything of a request that comes back: in an answer, in a stream or in the log.
func injectionByRequests(t *testing.T, v *victim) {
	for _, text := range injections {
		escaped := url.QueryEscape("k" + text)
		raw := strings.NewReplacer("\r", "", "\n", "").Replace(text) // a real line end would end the field
		for name, request := range map[string]string{
			"a key":              wiretest.Request("GET", "/stream?envelope=key&connectKey="+escaped),
			"a parameter":        wiretest.Request("GET", "/stream?connectKey=k&"+escaped+"=1"),
			"an envelope":        wiretest.Request("GET", "/stream?envelope="+escaped),
			"an id":              wiretest.Request("GET", "/stream?connectKey=k&lastEventId="+escaped),
			"an id of a browser": wiretest.Request("GET", "/stream?connectKey=k", "Last-Event-ID: x"+raw),
			"an origin":          wiretest.Request("GET", "/stream?connectKey=k", "Origin: https://x"+raw),
			"an origin refused":  wiretest.Request("GET", "/nothing", "Origin: https://x"+raw),
			"a preflight":        wiretest.Request("OPTIONS", "/stream", "Origin: https://x", "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: x"+raw),
			"a path":             wiretest.Request("GET", "/"+escaped),
			"a method":           wiretest.Request("X"+strings.NewReplacer(" ", "", ":", "").Replace(raw), "/stream"),
			"a key of counts":    wiretest.Request("GET", "/count?key="+escaped, "Authorization: Bearer "+publishToken),
			"a parameter there":  wiretest.Request("GET", "/count?"+escaped+"=1", "Authorization: Bearer "+publishToken),
			"an origin there":    wiretest.Request("GET", "/count", "Origin: https://x"+raw, "Authorization: Bearer "+publishToken),
			"a host":             wiretest.Request("GET", "/count", "Host: x"+raw, "Authorization: Bearer "+publishToken),
			"a type":             wiretest.Request("POST", "/publish?key=k", "Content-Type: x"+raw, "Content-Length: 0", "Authorization: Bearer "+publishToken),
			"a coding":           wiretest.Request("POST", "/publish?key=k", "Content-Encoding: x"+raw, "Content-Type: text/plain", "Content-Length: 0", "Authorization: Bearer "+publishToken),
			"a subject":          wiretest.Request("POST", "/disconnect?subject="+escaped, "Content-Length: 0", "Authorization: Bearer "+publishToken),
			"an address":         wiretest.Request("GET", "/stream?connectKey=k", "X-Forwarded-For: 192.0.2.1"+raw, "Forwarded: for=x"+raw),
		} {
			for _, addr := range []string{v.stream, v.admin} {
				c := dial(t, addr)
				_, _ = io.WriteString(c, request)
				_ = c.(*net.TCPConn).CloseWrite() // a stream is the begin of one
				in := bufio.NewReader(c)
				answer := readAnswer(in)
				_ = c.Close()
				checkAnswer(t, name, text, answer)
			}
		}
	}
	for line := range strings.Lines(v.Log.String()) {
		if strings.HasPrefix(strings.TrimSpace(line), "X-Injected") || strings.ContainsAny(line, "\x1b\x00") {
			t.Errorf("the log has a line of an attacker: %q", line)
		}
	}
}

// readAnswer reads a head, and what follows it: a body of known length, or the first event of a stream.
func readAnswer(in *bufio.Reader) string {
	var text strings.Builder
	for {
		line, err := in.ReadString('\n')
		text.WriteString(line)
		if err != nil {
			return text.String()
		}
		if line == "\r\n" {
			break
		}
	}
	stream := strings.Contains(text.String(), "text/event-stream")
	for {
		line, err := in.ReadString('\n')
		text.WriteString(line)
		if err != nil || stream && line == "\n" {
			return text.String()
		}
	}
}

// answerLine is where an answer begins, but not a 100 before another one.
var answerLine = regexp.MustCompile(`(?m)^HTTP/1\.1 [2-5]`)

// checkAnswer looks for a line that the attacker has written.
func checkAnswer(t *testing.T, name, text, answer string) {
	t.Helper()
	if len(answerLine.FindAllString(answer, -1)) > 1 {
		t.Errorf("%s with %q has two answers: %q", name, text, wiretest.Clip(answer))
	}
	for line := range strings.FieldsFuncSeq(answer, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if strings.HasPrefix(line, "X-Injected") || strings.HasPrefix(line, "data: X-Injected") || strings.HasPrefix(line, "id: X-Injected") {
			t.Errorf("%s with %q makes a line of its own: %q", name, text, wiretest.Clip(answer))
		}
	}
	if head, body, _ := strings.Cut(answer, "\r\n\r\n"); strings.Contains(body, "<script>") && strings.Contains(head, "text/html") {
		t.Errorf("%s with %q makes a page with a script: %q", name, text, wiretest.Clip(answer))
	}
}

// injectionByEvents puts such texts into everything of an event. A subscriber sees the event as it is, or the publisher an error.
func injectionByEvents(t *testing.T, v *victim) {
	seen := wiretest.Subscribe(t, v.stream, "/stream?envelope=key&connectKey=injection")
	for _, text := range injections {
		quoted := jsonText("x" + text)
		for name, body := range map[string]string{
			"data": `{"data":` + quoted + `}`, "an object": `{"data":{"a":` + quoted + `}}`, "a name": `{"data":"x","event":` + quoted + `}`, "an id": `{"data":"x","id":` + quoted + `}`,
			"a time": `{"data":"x","retry":` + quoted + `}`,
		} {
			checkAnswer(t, name, text, exchange(t, v.admin, wiretest.Request("POST", "/publish?key=injection", "Content-Type: application/json", "Connection: close",
				"Authorization: Bearer "+publishToken, fmt.Sprint("Content-Length: ", len(body)))+body))
		}
		frame := jsonText("data: x" + text + "\n\n")
		if strings.Contains(text, "\nid:") {
			frame = `""` // the id is a publisher's
		}
		batch := `{"key":"injection","frame":` + frame + `}` + "\n" + `{"key":` + quoted + `,"op":"count"}` + "\n" + `{"op":` + quoted + `}` + "\n"
		checkAnswer(t, "a batch", text, exchange(t, v.admin, wiretest.Request("POST", "/batch", "Content-Type: application/x-ndjson", "Connection: close",
			"Authorization: Bearer "+publishToken, fmt.Sprint("Content-Length: ", len(batch)))+batch))
	}
	v.Publish("injection", `{"data":"the end","event":"end"}`)
	for {
		m := seen.Next()
		if m.Type == "end" {
			break
		}
		// The first line of each event is its key; an injected event has none.
		if key, _, _ := strings.Cut(m.Data, "\n"); key != `{"key":"injection"}` || m.Data == "X-Injected" || m.ID == "X-Injected" {
			t.Errorf("the subscriber sees an event of the attacker's own: %s", m)
		}
	}
	seen.Close()
}

// jsonText is a text as JSON, with its control characters escaped.
func jsonText(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(b)
}
