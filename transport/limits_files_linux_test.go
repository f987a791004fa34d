package transport

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

func init() { children["few files"] = serveWithFewFiles }

// fewFiles is the limit of descriptors of the server in TestNoFilesLeft.
const fewFiles = 64

// serveWithFewFiles is a server in a process that may open few files. It writes
// the addresses of its listeners.
func serveWithFewFiles([]string) error {
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: fewFiles, Max: fewFiles}); err != nil {
		return err
	}
	eng := engine.New(engine.Options{})
	defer eng.Close()
	srv, err := NewServer(eng, Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer srv.Close()
	streams, err := Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		return err
	}
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- srv.Serve(streams) }()
	go func() { failed <- srv.ServeAdmin(admin) }()
	if _, err := fmt.Println(streams.Addr(), admin.Addr()); err != nil {
		return err
	}
	ended := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		ended <- err
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("a listener gave up: %w", err)
	case err := <-ended:
		return err
	}
}

// TestNoFilesLeft: a server without a free descriptor counts the errors, goes on
// serving the streams that it has, and takes new ones when it can.
func TestNoFilesLeft(t *testing.T) {
	plainOnly(t)
	checkLeaks(t)
	var r rig
	var server = startChild(t, "few files")
	if _, err := fmt.Sscan(server.line(t), &r.addr, &r.admin); err != nil {
		t.Fatal(err)
	}
	r.t, r.path = t, "/stream"
	// This connection is there before the descriptors are gone, and is kept.
	api := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	defer api.CloseIdleConnections()
	call := func(method, target, body string) string {
		req, err := http.NewRequest(method, "http://"+r.admin+target, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "text/plain")
		resp, err := api.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%s: %d %s %v", target, resp.StatusCode, text, err)
		}
		return string(text)
	}
	open := func() *wiretest.Events {
		e := wiretest.NewEvents(r.stream("connectKey=k"))
		for e.LastID() == "" {
			e.Feed()
		}
		return e
	}
	var before []*wiretest.Events
	for range 5 {
		before = append(before, open())
	}
	call("POST", "/publish?key=k", "first")

	var idle []net.Conn
	for range 2 * fewFiles {
		c, err := net.Dial("tcp", r.addr) // the kernel's queue takes it
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		idle = append(idle, c)
	}
	eventually.True(t, "accept errors are counted", func() bool {
		text := call("GET", "/metrics", "")
		return strings.Contains(text, "\nfanfare_accept_errors_total ") && !strings.Contains(text, "\nfanfare_accept_errors_total 0\n")
	})
	call("POST", "/publish?key=k", "second")
	for _, e := range before {
		e.WantData("first", "second")
	}
	if got := call("GET", "/count?key=k", ""); got != `{"count":5}`+"\n" {
		t.Errorf("count: %s", got)
	}

	for _, c := range idle {
		_ = c.Close()
	}
	start := time.Now()
	late := open()
	t.Logf("a new stream is served %s after descriptors are free", time.Since(start))
	call("POST", "/publish?key=k", "third")
	late.WantData("third")
	for _, e := range before {
		e.WantData("third")
	}
}
