package main_test

import (
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/natstest"
	"fanfare/internal/test/proctest"
)

// A server that is stopped while events are queued waits for the broker. It says how many are lost if it waits in vain, and a
// second signal ends the wait.
func TestStopWithQueuedEvents(t *testing.T) {
	broker := (&natstest.Server{T: t}).Start()
	args := []string{"--backplane", "nats", "--nats-url", broker.URL(), "--away", "queue"}
	short := start(t, append(args, "--node-name", "short", "--publish-timeout", "300ms")...)
	long := start(t, append(args, "--node-name", "long", "--publish-timeout", "4m", "--duplicate-window", "10m")...)
	hurried := start(t, append(args, "--node-name", "hurried", "--publish-timeout", "4m", "--duplicate-window", "10m")...)
	broker.Kill()
	for _, s := range []server{short, long, hurried} {
		eventually.True(t, "the node notices", func() bool {
			_, body := s.Get("/healthz")
			return strings.Contains(body, "broker: disconnected")
		})
		if status, text := s.Do(http.MethodPost, "/publish?key=news", "text/plain", "queued by a node"); status != http.StatusAccepted {
			t.Fatalf("%d %s", status, text)
		}
	}

	const lost, waits = "queued events are lost: the log did not store them before the end", "waiting for the broker to store queued events: a second signal stops at once"
	for _, s := range []server{short, hurried} {
		s.Signal(syscall.SIGTERM)
		if s == hurried {
			eventually.True(t, "it waits", func() bool { return s.Log.Find(waits) != nil })
			s.Signal(syscall.SIGTERM)
		}
		if code := s.Wait(); code != 0 {
			t.Errorf("exit status %d", code)
		}
		text := s.Log.String()
		if r := s.Log.Find(lost); r == nil || r["events"] == nil || strings.Index(text, lost) > strings.Index(text, `msg=stopped`) && strings.Contains(text, "msg=stopped") {
			t.Errorf("the log says %v of lost events:\n%s", r, text)
		}
	}

	long.Signal(syscall.SIGTERM)
	eventually.True(t, "it waits", func() bool { return long.Log.Find(waits) != nil })
	broker.Start()
	if code := long.Wait(); code != 0 || long.Log.Find(lost) != nil {
		t.Errorf("exit status %d, log:\n%s", code, long.Log)
	}
	reader := start(t, "--backplane", "nats", "--nats-url", broker.URL())
	if _, text := reader.Do(http.MethodGet, "/history?key=news", "", ""); !strings.Contains(text, "queued by") || strings.Count(text, "queued by") != 1 {
		t.Errorf("%s", text)
	}
}

// A node does not start with the name of another one, and starts at once after a crash.
func TestTwoNodesWithOneName(t *testing.T) {
	backplanes(t, func(t *testing.T, args ...string) {
		args = append(args, "--node-name", "twin")
		first := start(t, args...)
		code, _, problem := run(t, nil, append(args, "--listen", "127.0.0.1:0", "--admin", "off")...)
		if code != 1 || !strings.Contains(problem, `nodeName "twin": another node of the fleet has this name`) {
			t.Errorf("exit code %d: %s", code, problem)
		}
		if a := first.ask(http.MethodGet, "/count?key=news"); a.Nodes != 1 || len(a.Silent) != 0 {
			t.Errorf("%+v", a)
		}
		first.Stop(syscall.SIGKILL)
		first.Restart()
	})
}

// Health checks are answered before the broker has been reached for the first time.
func TestStartWithoutTheBroker(t *testing.T) {
	broker := (&natstest.Server{T: t}).Start()
	broker.Kill()
	s := server{&proctest.Server{T: t, Binary: binary}}
	admin := proctest.FreeAddr(t)
	s.Process = proctest.Start(t, s.Command("--backplane", "nats", "--nats-url", broker.URL(), "--listen", "127.0.0.1:0", "--admin", admin))
	s.Admin = "http://" + admin
	get := func(method, target string) (status int, body string, header http.Header) {
		req, err := http.NewRequestWithContext(t.Context(), method, s.Admin+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err.Error(), nil
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text), resp.Header
	}
	eventually.Equal(t, "/healthz", http.StatusOK, func() int { status, _, _ := get("GET", "/healthz"); return status })
	if status, body, _ := get("GET", "/readyz"); status != http.StatusServiceUnavailable || body != "starting: the broker has not been reached\n" {
		t.Errorf("/readyz: %d %s", status, body)
	}
	if status, body, _ := get("GET", "/metrics"); status != http.StatusOK || !strings.Contains(body, "fanfare_connections ") {
		t.Errorf("/metrics: %d %.100s", status, body)
	}
	for _, target := range []string{"/publish?key=news", "/close?key=news", "/batch"} {
		if status, body, header := get("POST", target); status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || !strings.Contains(body, "the broker has not been reached") {
			t.Errorf("%s: %d %s", target, status, body)
		}
	}
	broker.Start()
	eventually.Equal(t, "/readyz", http.StatusOK, func() int { status, _, _ := get("GET", "/readyz"); return status })
	if status, body, _ := get("GET", "/count?key=news"); status != http.StatusOK || !strings.Contains(body, `"nodes":1`) {
		t.Errorf("/count: %d %s", status, body)
	}
	if code := s.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d", code)
	}
}
