package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestMain lets the test binary be its own worker, as the program is.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args[1:], workerCommand) {
		main()
	}
	os.Exit(m.Run())
}

func fanload(args ...string) (status int, out, errs string) {
	var o, e strings.Builder
	status = execute(args, strings.NewReader(""), &o, &e)
	return status, o.String(), e.String()
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"", exitOK, "closed"},
		{"--help", exitOK, "soak"},
		{"stall --help", exitOK, "--percent"},
		{"version", exitOK, "fanload "},
		{"presets", exitOK, `"fanfare-batch"`},
		{"presets mercure", exitOK, ".well-known/mercure"},
		{"presets nothing", exitUsage, "give one of"},
		{"sprint", exitUsage, "sprint"},
		{"open --percent 3", exitUsage, "--percent"},
		{"open -n zero", exitUsage, "zero"},
		{"open --rate 0", exitUsage, "--rate 0"},
		{"open --preset nothing", exitUsage, "give one of"},
		{"open --batch 5", exitUsage, "fanfare-batch"},
		{"open --base http://192.0.2.1", exitUsage, "--allow-remote"},
		{"open --insecure", exitUsage, "no URL is"},
		{"open --base https://127.0.0.1:1 --ca /nowhere", exitUsage, "--ca: open /nowhere"},
		{"open --base https://127.0.0.1:1 -n 2 --insecure -d 1h", exitFailed, "connection refused"},
		{"open -t p99<5", exitUsage, "with its unit"},
		{"open -t rss_max<5MB", exitUsage, "--server-pid"},
		{"open --preset pushpin", exitUsage, "--subscribe is missing"},
		{"soak --base http://127.0.0.1:1 --publish-base http://127.0.0.1:1 -n 2 -d 100ms", exitFailed, "connection refused"},
		{"open --server-pid 1073741824", exitFailed, "no such process"},
	} {
		status, out, errs := fanload(strings.Fields(c.args)...)
		if status != c.status || !strings.Contains(out+errs, c.want) {
			t.Errorf("fanload %s: status %d, want %d; lacks %q\n%s%s", c.args, status, c.status, c.want, out, errs)
		}
	}
}

// echoServer sends what is posted to all streams.
func echoServer(t *testing.T) string {
	t.Helper()
	var mu sync.Mutex
	subs := map[chan string]bool{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			defer mu.Unlock()
			for c := range subs {
				c <- string(body)
			}
			return
		}
		c := make(chan string, 1000)
		mu.Lock()
		subs[c] = true
		mu.Unlock()
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				mu.Lock()
				delete(subs, c)
				mu.Unlock()
				return
			case d := <-c:
				_, _ = fmt.Fprintf(w, "data: %s\n\n", d)
			}
		}
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

func TestRunFromFlags(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	base := echoServer(t)
	args := []string{
		"open", "--preset", "none", "--subscribe", base + "/{{.Key}}", "--publish", base + "/", "--publish-header", "X-Token: secret",
		"-n", "10", "--rate", "200", "--events", "20", "--settle", "50ms", "--processes", "2", "--progress", "on", "--sample", "20ms",
		"--json", file("r.json"), "--html", file("r.html"), "-t", "lost==0", "-t", "deliveries==200", "-t", "p99<10s",
	}
	status, out, errs := fanload(args...)
	if status != exitOK || !strings.Contains(out, "held, 200") || !strings.Contains(errs, "deliveries") {
		t.Fatalf("status %d\n%s\n%s", status, out, errs)
	}
	b, err := os.ReadFile(file("r.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Command string
		Latency struct{ Count int }
	}
	if err := json.Unmarshal(b, &r); err != nil || r.Latency.Count != 200 {
		t.Errorf("%v, %+v", err, r)
	}
	if strings.Contains(r.Command, "secret") || !strings.Contains(r.Command, "'X-Token: …'") {
		t.Errorf("command %s", r.Command)
	}
	page, err := os.ReadFile(file("r.html"))
	if err != nil || !strings.Contains(string(page), "<polyline") {
		t.Errorf("page: %v", err)
	}
	status, out, _ = fanload(append(args, "-t", "lost>0", "--json", "-")...)
	if status != exitFailed || !json.Valid([]byte(out)) {
		t.Errorf("status %d of a threshold that fails; JSON on standard output: %.200s", status, out)
	}
}
