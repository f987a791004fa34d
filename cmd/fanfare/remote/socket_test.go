package remote

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// serveUnix serves HTTP on a socket file.
func serveUnix(t *testing.T, handler http.HandlerFunc) (path string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "fanfare")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path = filepath.Join(dir, "a b") // a path needs no escapes
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: ln, Config: &http.Server{Handler: handler}}
	srv.Start()
	t.Cleanup(srv.Close)
	return path
}

// TestSocketURL: a request for a URL of a Unix socket reaches the socket with its path and query, as one for localhost.
func TestSocketURL(t *testing.T) {
	socket := serveUnix(t, func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.Host, r.URL.RequestURI()) })
	for text, want := range map[string]string{
		"":                 "localhost/publish?key=a%20b",
		":":                "localhost/publish?key=a%20b",
		":/below":          "localhost/below/publish?key=a%20b",
		":/stream?x=1&y=2": "localhost/stream?x=1&y=2",
	} {
		u, err := ParseURL("--server", "unix:"+socket+text, "http://127.0.0.1:8081")
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{}
		UseSocket(transport, u)
		at := u.String()
		if u.RawQuery == "" {
			at += "/publish?key=a%20b"
		}
		resp, err := (&http.Client{Transport: transport}).Get(at)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(body) != want {
			t.Errorf("%q: %q, want %q", text, body, want)
		}
	}
	u, err := ParseURL("--url", "unix:"+socket, "http://127.0.0.1:8080/stream")
	if err != nil || Show(u) != "unix:"+strings.ReplaceAll(socket, " ", "%20") {
		t.Errorf("%s, %v", Show(u), err)
	}
	DefaultPath(u, "/stream")
	if u.Path != socket+":/stream" {
		t.Error(u.Path)
	}
	for _, bad := range []string{"unix:", "unix:run/s", "unix:/a#b", "unix:?x"} {
		if _, err := ParseURL("--server", bad, "http://127.0.0.1:8081"); err == nil || !strings.Contains(err.Error(), "--server") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestNoOtherSocket: a server cannot send a request on to a socket of this machine.
func TestNoOtherSocket(t *testing.T) {
	secret := serveUnix(t, func(http.ResponseWriter, *http.Request) { t.Error("the socket was reached") })
	redirect := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" { // a request for the other socket must not come back here, either
			w.Header().Set("Location", "unix:"+secret+":/stop")
			w.WriteHeader(http.StatusFound)
		}
	}
	web := httptest.NewServer(http.HandlerFunc(redirect))
	defer web.Close()
	for _, text := range []string{web.URL, "unix:" + serveUnix(t, redirect) + ":/"} {
		u, err := ParseURL("--url", text, "http://127.0.0.1:8080/stream")
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{}
		UseSocket(transport, u)
		resp, err := (&http.Client{Transport: transport}).Get(u.String())
		if err == nil {
			_ = resp.Body.Close()
			t.Errorf("%s: %s", text, resp.Status)
		}
	}
}
