package transport

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// Writers as middleware makes them: each passes on what its methods say, and no more.
type (
	bareWriter   struct{ w http.ResponseWriter }
	flushWriter  struct{ bareWriter }
	unwrapWriter struct{ bareWriter }
	embedWriter  struct{ http.ResponseWriter }
)

func (b bareWriter) Header() http.Header           { return b.w.Header() }
func (b bareWriter) Write(p []byte) (int, error)   { return b.w.Write(p) }
func (b bareWriter) WriteHeader(status int)        { b.w.WriteHeader(status) }
func (f flushWriter) Flush()                       { f.w.(http.Flusher).Flush() }
func (u unwrapWriter) Unwrap() http.ResponseWriter { return u.w }

// TestMiddlewareHeader: a length that middleware has set does not cut the stream, and a compressing writer that can't be told
// to let go of what it has is named, where the client would wait for ever.
func TestMiddlewareHeader(t *testing.T) {
	eng := engine.New(engine.Options{})
	defer eng.Close()
	srv, err := NewServer(eng, Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	get := func(field, value string, wrap func(http.ResponseWriter) http.ResponseWriter) *http.Response {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(field, value)
			srv.Handler().ServeHTTP(wrap(w), r)
		}))
		t.Cleanup(web.Close)
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, web.URL, nil)
		req.Header.Set("Accept-Encoding", "gzip")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	}
	same := func(w http.ResponseWriter) http.ResponseWriter { return w }
	resp := get("Content-Length", "5", same)
	begin := make([]byte, len("event: position\n"))
	if _, err := io.ReadFull(resp.Body, begin); err != nil || string(begin) != "event: position\n" {
		t.Errorf("%q, %v", begin, err)
	}
	resp = get("Content-Encoding", "gzip", func(w http.ResponseWriter) http.ResponseWriter { return unwrapWriter{bareWriter{w}} })
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 500 || !strings.Contains(string(body), "Content-Encoding") || resp.Header.Get("Content-Encoding") != "" {
		t.Errorf("%s %v %q", resp.Status, resp.Header, body)
	}
	if resp = get("Content-Encoding", "br", same); resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
}

// TestMiddleware: a stream is served through whatever http.ResponseController sees through. Where it can't be flushed, or
// a client that does not read could not be ended, the answer and the log say so.
func TestMiddleware(t *testing.T) {
	for name, c := range map[string]struct {
		wrap   func(http.ResponseWriter) http.ResponseWriter
		served bool
	}{
		"none":   {func(w http.ResponseWriter) http.ResponseWriter { return w }, true},
		"Unwrap": {func(w http.ResponseWriter) http.ResponseWriter { return unwrapWriter{bareWriter{w}} }, true},
		"Unwrap twice": {func(w http.ResponseWriter) http.ResponseWriter {
			return unwrapWriter{bareWriter{unwrapWriter{bareWriter{w}}}}
		}, true},
		"neither":            {func(w http.ResponseWriter) http.ResponseWriter { return bareWriter{w} }, false},
		"embedded interface": {func(w http.ResponseWriter) http.ResponseWriter { return embedWriter{w} }, false},
		"Flush alone":        {func(w http.ResponseWriter) http.ResponseWriter { return flushWriter{bareWriter{w}} }, false},
		"Unwrap to nothing":  {func(w http.ResponseWriter) http.ResponseWriter { return unwrapWriter{bareWriter{bareWriter{w}}} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			eng := engine.New(engine.Options{})
			defer eng.Close()
			log := &proctest.Log{}
			srv, err := NewServer(eng, Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			defer srv.Close()
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { srv.Handler().ServeHTTP(c.wrap(w), r) }))
			defer web.Close()
			resp, err := http.Get(web.URL + "/stream?connectKey=k")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			if c.served {
				if resp.StatusCode != 200 || srv.Open() != 1 {
					t.Errorf("%s, %d streams", resp.Status, srv.Open())
				}
				return
			}
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != 500 || !strings.Contains(string(body), "Unwrap") || resp.Header.Get("Access-Control-Allow-Origin") != "*" || srv.Open() != 0 {
				t.Errorf("%s %q, %d streams", resp.Status, body, srv.Open())
			}
			if !strings.Contains(log.String(), "Unwrap") {
				t.Errorf("the log is silent: %s", log)
			}
		})
	}
}

// TestDrainAnswers: while streams are being ended, who comes is told to come back, whatever overLimit says; when the last one
// has ended, the port is closed. A context that is done ends the wait.
func TestDrainAnswers(t *testing.T) {
	plainOnly(t)
	r := startRig(t, viaFast, rigOptions{Options: Options{OverLimit: Refuse204, DrainTimeout: time.Hour}})
	stuck := r.stuckClient("connectKey=k")
	defer stuck.Close()
	for r.blocked() == 0 {
		r.publish("k", strings.Repeat("x", 64<<10))
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { r.srv.Drain(ctx); close(ended) }()
	eventually.True(t, "the server drains", func() bool { return r.srv.streams.Draining() })
	for range 3 {
		w := r.stream("connectKey=other")
		if got := w.Rest(); !strings.HasPrefix(got, "retry: ") || w.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("during the drain: %q", got)
		}
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(eventually.Patience):
		t.Fatal("Drain goes on without its context")
	}
	eventually.True(t, "the port is closed", func() bool {
		c, err := (&http.Client{Timeout: time.Second}).Get("http://" + r.addr + "/healthz")
		if err == nil {
			_ = c.Body.Close()
		}
		return err != nil
	})
}
