//go:build linux

package run_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/run"
	"fanfare/cmd/fanload/team"
	"fanfare/internal/test/wiretest"
)

// workerVariable makes the test binary a worker process.
const workerVariable = "FANLOAD_TEST_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(workerVariable) != "" {
		if err := team.Worker(os.Stdin, os.Stdout, true); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, // two of fasthttp's sleep on for up to 10 s behind their server's end, and one for ever
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// broker is an SSE server by net/http that errs on purpose.
type broker struct {
	*httptest.Server
	// fault says what a subscriber gets instead of an event; nil: the event.
	fault func(subscriber int, seq int64, frame string) []string

	mu   sync.Mutex
	subs map[chan string]subscription
	past []string // frames, the id of frame i is i+1
}

type subscription struct {
	key        string
	subscriber int
}

func newBroker(t *testing.T, fault func(subscriber int, seq int64, frame string) []string) *broker {
	t.Helper()
	b := unstarted(t, fault)
	b.Start()
	return b
}

func unstarted(t *testing.T, fault func(subscriber int, seq int64, frame string) []string) *broker {
	b := &broker{fault: fault, subs: map[chan string]subscription{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /s", b.stream)
	mux.HandleFunc("POST /p", b.publish)
	b.Server = httptest.NewUnstartedServer(mux)
	b.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if secure, ok := c.(*tls.Conn); ok {
			c = secure.NetConn()
		}
		_ = c.(*net.TCPConn).SetWriteBuffer(16 << 10) // a reader that stops is felt soon
		return ctx
	}
	b.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail on purpose
	t.Cleanup(func() {
		b.CloseClientConnections()
		b.Close()
	})
	return b
}

func (b *broker) stream(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	n, _ := strconv.Atoi(q.Get("sub"))
	c := make(chan string, 1000)
	after, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
	b.mu.Lock()
	if after > 0 {
		for _, f := range b.past[min(after, len(b.past)):] {
			c <- f
		}
	}
	b.subs[c] = subscription{q.Get("k"), n}
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.subs, c)
		b.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, "\xEF\xBB\xBF: welcome\r\n\r\n")
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case f := <-c:
			if f == "end" {
				return
			}
			_, _ = io.WriteString(w, f)
			_ = http.NewResponseController(w).Flush()
		}
	}
}

func (b *broker) publish(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var event struct{ Seq int64 }
	_ = json.Unmarshal(body, &event)
	b.mu.Lock()
	defer b.mu.Unlock()
	frame := fmt.Sprintf("id: %d\r\ndata: %s\r\n\r\n", len(b.past)+1, body)
	b.past = append(b.past, frame)
	for c, s := range b.subs {
		if s.key != r.URL.Query().Get("k") {
			continue
		}
		frames := []string{frame}
		if b.fault != nil {
			frames = b.fault(s.subscriber, event.Seq, frame)
		}
		for _, f := range frames {
			c <- f
		}
	}
}

// settings for a mode against a server at base.
func settings(t *testing.T, base, mode string) *run.Settings {
	t.Helper()
	return &run.Settings{
		Plan: plan.Plan{
			Run: "t" + strconv.Itoa(int(time.Now().UnixNano()%100_000)), Mode: mode, Preset: "none",
			Base: base, PublishBase: base,
			Subscribe: plan.Request{Method: "GET", URL: "{{.Base}}/s?k={{urlquery .Key}}&sub={{.Subscriber}}", Headers: plan.DefaultHeaders},
			Publish:   plan.Request{Method: "POST", URL: "{{.PublishBase}}/p?k={{urlquery .Key}}", Body: "{{.Payload}}"},
			Key:       "k {{.KeyIndex}}", Ready: plan.ReadyHead, GapEvent: "gap",
			Subscribers: 20, Keys: 1, Size: 64, Batch: 1, Processes: 1, Publishers: 4, PublishesInFlight: 1, Pipeline: 1,
			PublishTimeout: 5 * time.Second, InFlight: 64, ConnectTimeout: 5 * time.Second, ReconnectDelay: 10 * time.Millisecond,
		},
		Duration: 5 * time.Second, Settle: 50 * time.Millisecond, Drain: 5 * time.Second, Rate: 500, Events: 40,
		Burst: 10, Every: 100 * time.Millisecond, Round: 5 * time.Second, Fraction: 1, Sample: 50 * time.Millisecond,
		WorkerArgv: []string{os.Args[0]},
	}
}

// raw answers every connection with bytes, and then ends it by how.
func raw(t *testing.T, answer string, reset bool) string {
	t.Helper()
	l := wiretest.Serve(t, func(_ int, c *net.TCPConn) {
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		buf := make([]byte, 4096)
		_, _ = c.Read(buf)
		_, _ = io.WriteString(c, answer)
		if reset {
			_ = c.SetLinger(0)
		}
	})
	return "http://" + l.Addr().String()
}
