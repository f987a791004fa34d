package sse

import (
	"encoding/json"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fanfare/internal/test/vectors"
)

// TestWhatIsOnTheWire compares what JavaScript gets with a parser that was written down from WHATWG HTML 9.2.5 and 9.2.6 line
// by line, for its rules and for every vector of the project.
func TestWhatIsOnTheWire(t *testing.T) {
	streams := map[string]string{
		"line ends":    "data: a\n\ndata: b\r\rdata: c\r\n\r\ndata: d\n\r\ndata: e\r\n\ndata: f\n\r",
		"mark":         "\uFEFFdata: a\n\n\uFEFFdata: b\n\ndata: c\n\n",
		"comments":     ": x\n\n:\n\n:data: x\n\ndata: a\n: y\ndata: b\n\n",
		"spaces":       "data:a\ndata: b\ndata:  c\ndata:\td\n\n",
		"empty data":   "data\n\ndata:\n\ndata\ndata\n\n",
		"ids":          "id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\nid: x\x00y\ndata: d\n\nid: 2\n\ndata: e\n\n",
		"types":        "event: a\ndata: x\n\nevent: b\n\ndata: y\n\nevent:\ndata: z\n\n",
		"other fields": "foo: bar\nDATA: x\ndata\xc2\xa0: x\nretry: 1x\ndata: a\n\n",
		"half":         "data: a\n\nevent: x\ndata: half\n",
	}
	var all strings.Builder
	for _, vector := range vectors.Load(t) {
		all.WriteString(vector.Wire)
	}
	streams["vectors"] = all.String()

	for name, wire := range streams {
		t.Run(name, func(t *testing.T) {
			var want, types []string
			for _, e := range byTheRules(wire) {
				types = append(types, e.kind)
				want = append(want, note(e.kind, e.data, e.lastEventID))
			}
			for _, size := range []int{len(wire), 1, 7} {
				if got := throughWire(t, wire, size, types); !slices.Equal(got, want) {
					t.Errorf("in pieces of %d:\n%s\nwant\n%s", size, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
		})
	}
}

func note(kind, data, id string) string {
	text, _ := json.Marshal([]string{kind, data, id})
	return string(text)
}

// throughWire has an EventSource and open read a stream that comes in pieces, and returns what both got.
func throughWire(t *testing.T, wire string, size int, types []string) []string {
	t.Helper()
	s := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) {
		_ = c.SetNoDelay(true)
		send(c, streamHead)
		for rest := wire; rest != ""; rest = rest[min(size, len(rest)):] {
			send(c, rest[:min(size, len(rest))])
		}
	})
	take := func(script string) (got []string) {
		v := newVU(t, map[string]any{"url": s.url, "types": types, "take": func(kind, data, id string) { got = append(got, note(kind, data, id)) }})
		v.must(script)
		return got
	}
	source := take(`
		const es = new EventSource(url, { reconnect: false });
		for (const type of new Set(types)) {
			es.addEventListener(type, (e) => take(e.type, e.data, e.lastEventId));
		}`)
	opened := take(`sse.open(url, (c) => c.on('event', (e) => take(e.name || 'message', e.data, e.id)));`)
	if !slices.Equal(source, opened) {
		t.Errorf("EventSource got\n%s\nopen got\n%s", strings.Join(source, "\n"), strings.Join(opened, "\n"))
	}
	return opened
}

var lineEnd = regexp.MustCompile("\r\n|\r|\n")

// byTheRules parses a whole stream.
func byTheRules(wire string) (events []message) {
	wire = strings.TrimPrefix(wire, "\uFEFF")
	lines := lineEnd.Split(wire, -1)
	var data, kind, id string
	for _, line := range lines[:len(lines)-1] {
		if line == "" {
			if data != "" {
				if kind == "" {
					kind = "message"
				}
				events = append(events, message{kind, strings.TrimSuffix(data, "\n"), id})
			}
			data, kind = "", ""
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			kind = value
		case "data":
			data += value + "\n"
		case "id":
			if !strings.Contains(value, "\x00") {
				id = value
			}
		}
	}
	return events
}
