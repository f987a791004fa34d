package schedule

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/internal/test/proctest"
)

func TestRequest(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		fmt.Fprintf(w, "other, key [%s], auth [%s]", req.Header.Get("X-Api-Key"), req.Header.Get("Authorization"))
	}))
	defer other.Close()
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	defer srv.Close()
	mux.HandleFunc("/headers", func(w http.ResponseWriter, req *http.Request) {
		fmt.Fprintf(w, "%s %s key [%s]\r\n", req.Method, req.UserAgent(), req.Header.Get("X-Api-Key"))
	})
	mux.HandleFunc("/json", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"data":"x","event":"e"}`) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, req *http.Request) { http.Redirect(w, req, other.URL, http.StatusFound) })
	mux.HandleFunc("/here", func(w http.ResponseWriter, req *http.Request) { http.Redirect(w, req, "/headers", http.StatusFound) })
	for path, want := range map[string]string{
		"/headers": "k=GET fanfare key [s3cret]",
		"/here":    "k=GET fanfare key [s3cret]",
		"/away":    "k=other, key [], auth []",
		"/json":    "k=x event:e",
	} {
		r := newRig(t)
		header := http.Header{"X-Api-Key": {"s3cret"}, "Authorization": {"Bearer s3cret"}}
		r.apply(once(Schedule{URL: srv.URL + path, Header: header}))
		if got := r.waitFor(1)[0]; got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
		r.Close()
	}
}

func TestRequestFailures(t *testing.T) {
	stop := make(chan struct{})
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	defer srv.Close()
	defer close(stop)
	status := func(path string, code int) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			fmt.Fprint(w, "text")
		})
	}
	status("/404", 404)
	status("/500", 500)
	mux.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1001")
		_, _ = w.Write([]byte(strings.Repeat("x", 1001)))
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write([]byte(strings.Repeat("x", 300))); err != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
	})
	mux.HandleFunc("/stall", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "half")
		w.(http.Flusher).Flush()
		<-stop
	})
	mux.HandleFunc("/silent", func(http.ResponseWriter, *http.Request) { <-stop })
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "half")
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, req *http.Request) { http.Redirect(w, req, "/loop", http.StatusFound) })
	mux.HandleFunc("/bomb", func(w http.ResponseWriter, _ *http.Request) { // a compressed body counts as what it is unpacked
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(gzipped(strings.Repeat("x", 100_000)))
	})
	nobody := "http://" + proctest.FreeAddr(t)
	for _, test := range []struct{ url, reason, says string }{
		{srv.URL + "/404", reasonStatus, "404 Not Found"},
		{srv.URL + "/500", reasonStatus, "500 Internal"},
		{srv.URL + "/long", reasonSize, "more than 1000 bytes: raise maxBytes"},
		{srv.URL + "/endless", reasonSize, "more than 1000 bytes"},
		{srv.URL + "/bomb", reasonSize, "more than 1000 bytes"},
		{srv.URL + "/stall", reasonTimeout, "longer than 1s: raise timeout"},
		{srv.URL + "/silent", reasonTimeout, "longer than 1s: raise timeout"},
		{srv.URL + "/cut", reasonRequest, "unexpected EOF"},
		{srv.URL + "/loop", reasonRequest, "more than 5 redirects"},
		{nobody, reasonRequest, "connection refused"},
	} {
		r := newRig(t)
		r.apply(once(Schedule{URL: test.url, Timeout: time.Second, MaxBytes: 1000}))
		if log := r.waitFailure(test.reason); !strings.Contains(log, test.says) {
			t.Errorf("%s: %s, want %s", test.url, log, test.says)
		}
		r.want()
		r.Close()
	}
}

// TestConnectionsAreKept: a source is not dialled anew for each run.
func TestConnectionsAreKept(t *testing.T) {
	var connections atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "x") }))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	r := newRig(t)
	defer r.Close()
	r.apply(Schedule{Name: "a", Every: 5 * time.Millisecond, Key: "k", URL: srv.URL})
	r.waitFor(20)
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for 20 runs", n)
	}
}

func gzipped(text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.Bytes()
}
