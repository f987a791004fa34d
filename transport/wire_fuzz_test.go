package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"
	"github.com/valyala/fasthttp"

	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/test/vectors"
	"fanfare/internal/test/wiretest"
	"fanfare/transport/internal/stream"
)

// ownedSink is for subscribers whose owner never lets go of them.
type ownedSink struct{ t testing.TB }

func (s ownedSink) Ready() { s.t.Error("Ready, although the subscriber has an owner") }

// fuzzServer is a server without listeners.
func fuzzServer(f *testing.F, o Options, eo engine.Options) *Server {
	f.Helper()
	o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	eng := engine.New(eo)
	srv, err := NewServer(eng, o)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { srv.Close(); eng.Close() })
	return srv
}

func parseAll(t *testing.T, stream []byte) (messages []wiretest.Message, comments int) {
	t.Helper()
	p := codec.Parser{OnComment: func([]byte) { comments++ }}
	if err := p.Feed(stream, func(m codec.Message) {
		messages = append(messages, wiretest.Message{Type: string(m.Type), Data: string(m.Data), ID: string(m.LastEventID)})
	}); err != nil {
		t.Fatalf("%q: %v", stream, err)
	}
	return messages, comments
}

// FuzzPublishAPI sends any body by each way to publish. Either it is published,
// and a subscriber gets frames that a client parses, or the answer is an error
// that names a field, and nothing is published.
func FuzzPublishAPI(f *testing.F) {
	for _, v := range vectors.Load(f) {
		if v.JSON != "" && len(v.JSON) < 2000 {
			f.Add([]byte(v.JSON), uint8(0), false)
		}
	}
	for i, body := range []string{
		`"text"`, `{"data":"x","id":"1","event":"e","retry":5}`, "plain\r\ntext\r", ": comment", "\ufeff:c",
		"id: 1\ndata: a\n\n: c\n\nid\ndata:b\ndata\n\n", "data: a", "\ufeffevent:x\r\rretry: 5\ndata\n\n", "id: a\x00\ndata: b\n\n",
		`{"key":"k","data":1}` + "\n\r\n" + `{"op":"publishAll","data":"x"}` + "\n" + `{"op":"close","key":"k"}`,
		`{"op":"closeAll"}` + "\n" + `{"op":7}` + "\n{\n" + `{"key":["k"]}`, "{\"key\":\"\xff\"}", `{"key":"\ud800","op":null}`, " \n\u00a0\n\x00",
	} {
		for way := range uint8(4) {
			f.Add([]byte(body), way, i%2 == 0)
		}
	}
	o := engine.Options{Key: engine.KeyOptions{History: 1 << 17, HistoryBytes: 64 << 20}}
	servers := map[bool]*Server{
		false: fuzzServer(f, Options{MaxEventBytes: 1 << 16, MaxKeyBytes: 100}, o),
		true:  fuzzServer(f, Options{MaxEventBytes: 1 << 16, MaxKeyBytes: 100, PlainIDs: true}, o),
	}
	types := []string{"application/json", "text/plain", "text/event-stream", "application/x-ndjson"}
	f.Fuzz(func(t *testing.T, body []byte, way uint8, plain bool) {
		way %= uint8(len(types))
		srv := servers[plain]
		var sub engine.Subscriber
		if _, err := srv.eng.Subscribe(&sub, []string{"k"}, "", ownedSink{t}); err != nil {
			t.Fatal(err)
		}
		defer sub.Close(engine.ReasonGone)

		var ctx fasthttp.RequestCtx
		var req fasthttp.Request
		req.Header.SetMethod("POST")
		req.Header.SetContentType(types[way])
		req.SetRequestURI(map[bool]string{true: "/batch", false: "/publish?key=k"}[way == 3])
		req.SetBody(body)
		client, conn := net.Pipe() // nothing is written to it
		defer client.Close()
		ctx.Init2(conn, nil, false)
		req.CopyTo(&ctx.Request)
		panics := srv.panics()
		srv.api.Handle(&ctx, nil, func() {})
		if srv.panics() != panics {
			t.Fatalf("a panic by %q", body)
		}
		status, text := ctx.Response.StatusCode(), ctx.Response.Body()

		var stream []byte
		events := 0
		for {
			it, ok := sub.Next(true)
			if !ok {
				break
			}
			if it.Gap != nil {
				t.Skip("more events than the history holds")
			}
			events++
			frame := it.Event.Bytes()
			if !utf8.Valid(frame) || !bytes.HasSuffix(frame, []byte("\n\n")) || bytes.Contains(frame[:len(frame)-1], []byte("\n\n")) {
				t.Fatalf("%q made the frame %q", body, frame)
			}
			stream = append(stream, frame...)
		}
		messages, comments := parseAll(t, stream)
		switch {
		case way == 3:
			checkBatch(t, body, status, text, events)
		case status == 200:
			var p publishAnswer
			if err := json.Unmarshal(text, &p); err != nil || p.Subscribers < 1 {
				t.Fatalf("%q: %s, %v", body, text, err)
			}
			if way == 2 {
				if p.Events != events || len(p.IDs) != events {
					t.Fatalf("%q: %s, %d events", body, text, events)
				}
				want, _ := parseAll(t, append(bytes.Clone(body), '\n')) // a body may end with the CR of a CRLF
				same := func(a, b wiretest.Message) bool { return a.Type == b.Type && a.Data == b.Data }
				if !slices.EqualFunc(messages, want, same) {
					t.Fatalf("%q was published as %q: %v, want %v", body, stream, messages, want)
				}
				return
			}
			if events != 1 || len(messages)+min(comments, 1) != 1 {
				t.Fatalf("%q: %d events, %q", body, events, stream)
			}
			if len(messages) == 1 && messages[0].ID != p.ID && !(plain && p.ID == "") {
				t.Fatalf("%q: id %q in the answer, %q on the wire", body, p.ID, messages[0].ID)
			}
			if way == 1 && len(messages) == 1 {
				if want := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(body)); messages[0].Data != want {
					t.Fatalf("%q arrived as %q", want, messages[0].Data)
				}
			}
		default:
			var e failure
			if err := json.Unmarshal(text, &e); err != nil || status/100 != 4 || e.Error == "" || e.Field == "" || !utf8.Valid(text) {
				t.Fatalf("%q: %d %s, %v", body, status, text, err)
			}
			if events > 0 {
				t.Fatalf("%q was refused (%s) and published %q", body, text, stream)
			}
		}
	})
}

// checkBatch compares the answer to a batch with its lines.
func checkBatch(t *testing.T, body []byte, status int, text []byte, events int) {
	lines := 0
	for line := range bytes.SplitSeq(body, []byte("\n")) {
		if len(bytes.TrimSpace(line)) > 0 {
			lines++
		}
	}
	answers := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	if len(text) == 0 {
		answers = nil
	}
	if status != 200 || len(answers) != lines {
		t.Fatalf("%q: %d, %d answers to %d lines: %s", body, status, len(answers), lines, text)
	}
	published := 0
	for _, a := range answers {
		var v struct {
			failure
			Subscribers *int
		}
		if err := json.Unmarshal(a, &v); err != nil || !utf8.Valid(a) || v.Error != "" && (v.Field == "" || v.Line < 1) {
			t.Fatalf("%q: %s, %v", body, a, err)
		}
		if v.Subscribers != nil {
			published++
		}
	}
	if events > published {
		t.Fatalf("%q: %d events of %d publishes: %s", body, events, published, text)
	}
}

// panics returns how many panics were recovered.
func (s *Server) panics() float64 {
	var m dto.Metric
	if err := s.metrics.Panics.Write(&m); err != nil {
		return -1
	}
	return m.Counter.GetValue()
}

// capture is an output that keeps what is written, and says when that was flushed.
type capture struct {
	bytes.Buffer
	written chan struct{}
}

func (c *capture) Flush() error {
	select {
	case c.written <- struct{}{}:
	default:
	}
	return nil
}

func (c *capture) SetWriteDeadline(time.Time) error { return nil }
func (c *capture) Close() error                     { return nil }

// FuzzLastEventID: whatever a client claims to have seen, it gets a stream, and
// a gap event that a client understands if the claim is not good.
func FuzzLastEventID(f *testing.F) {
	for _, id := range []string{"", "1-0", "zz-5", "a", "1-1,1-1", "1-1,", ",,", "\xff", "a\x00b", "18446744073709551616-1", "3w5e11264sgsf-18446744073709551615", "-", "1--1", "1-01", "A-1",
		strings.Repeat("9", 5000), "你", `"\`, "\u2028", "a\r\nb", "-1-1", "+1-1", "1-+1", "1_0-1"} {
		for keys := range uint8(3) {
			f.Add(id, "", keys)
			f.Add("", id, keys)
		}
	}
	srv := fuzzServer(f, Options{}, engine.Options{Key: engine.KeyOptions{History: 8}})
	for i := range 30 {
		if _, err := srv.Publish(fmt.Sprint(i%3), codec.Event{Data: []byte("x")}); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, header, query string, keys uint8) {
		n := int(keys%3) + 1
		id := lastEventID(header, query, n)
		if !utf8.ValidString(id) || len(id) > 3*maxLastID || id == "" && header+query != "" {
			t.Fatalf("%q, %q: %q", header, query, id)
		}
		if header != "" && id != lastEventID(header, "", n) {
			t.Fatalf("%q does not win over %q: %q", header, query, id)
		}
		names := []string{"0", "1", "2"}[:n]
		out := &capture{written: make(chan struct{}, 1)}
		st, limit := srv.streams.Subscribe(out, stream.Request{Keys: names, LastID: id})
		if limit != "" {
			t.Fatal(limit)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); st.Serve(ctx) }()
		<-out.written
		cancel()
		<-ended
		messages, comments := parseAll(t, out.Bytes())
		gaps := 0
		for _, m := range messages {
			if strings.Count(m.ID, ",") != n-1 {
				t.Fatalf("%q: the id %q is not of %d keys", id, m.ID, n)
			}
			if m.Type == "gap" {
				if g := m.Gap(t); !slices.Contains(names, g.Key) || g.Reason == "" {
					t.Fatalf("%q: %+v", id, g)
				}
				gaps++
			}
		}
		// A stream begins with its position, or with a gap.
		if comments > 0 || (gaps > 0) == (messages[0].Type == "position") || (id == "") && gaps > 0 {
			t.Fatalf("%q: %q", id, out.Bytes())
		}
	})
}

// FuzzConnectKeys: any query gives keys that can be served, or a text that says
// what is wrong with it; and keys are read as other parsers read them.
func FuzzConnectKeys(f *testing.F) {
	for _, q := range []string{"", "connectKey", "connectKey=a&connectKey=b&connectKey=a", "connectKey=%zz", "connectKey=%FF", "connectKey=a+b%2B", "&&=&connectKey=%00",
		"connectKey=1&connectKey=2&connectKey=3&connectKey=4&connectKey=5", "connectKey=" + strings.Repeat("k", 40), "connectKey=a;connectKey=b", "%63onnectKey=a", "connectKey==&connectKey=%",
		"lastEventId=x&connectKey=%E4%BD%A0", "connectKey=constructor&connectKey=__proto__"} {
		f.Add(q)
	}
	st, err := newSettings(Options{MaxKeyBytes: 32, MaxKeysPerConnection: 4, CacheKey: "pool"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query string) {
		var args fasthttp.Args
		args.Parse(query)
		req, problem := st.parse(&args, "")
		if problem != "" {
			if !strings.HasPrefix(problem, "connectKey ") && !strings.HasPrefix(problem, "envelope ") || !utf8.ValidString(problem) || strings.ContainsAny(problem, "\r\n") {
				t.Fatalf("%q: %q", query, problem)
			}
			return
		}
		if len(req.Keys) < 1 || len(req.Keys) > st.MaxKeysPerConnection {
			t.Fatalf("%q: %d keys", query, len(req.Keys))
		}
		for i, k := range req.Keys {
			if k == "" || len(k) > st.MaxKeyBytes || !utf8.ValidString(k) || slices.Contains(req.Keys[:i], k) {
				t.Fatalf("%q: %q", query, req.Keys)
			}
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			return // ; and broken escapes: it drops them
		}
		var want []string
		for _, v := range values["connectKey"] {
			if v == "" {
				v = "pool"
			}
			if !slices.Contains(want, v) {
				want = append(want, v)
			}
		}
		if len(want) == 0 {
			want = []string{"pool"}
		}
		if !slices.Equal(req.Keys, want) {
			t.Fatalf("%q: %q, want %q", query, req.Keys, want)
		}
	})
}
