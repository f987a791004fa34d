package main_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	natsgo "github.com/nats-io/nats.go"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/natstest"
	"fanfare/internal/test/proctest"
	"fanfare/internal/test/wiretest"
)

// resume opens a stream of a key as a client does that has received this id.
func (s server) resume(key, id string) *wiretest.Events {
	s.T.Helper()
	return wiretest.Subscribe(s.T, proctest.Addr(s.Stream), proctest.StreamPath(key), "Last-Event-ID: "+id)
}

// subscribe opens a stream of a key, and waits until it has a position.
func (s server) subscribe(key string) *wiretest.Events {
	s.T.Helper()
	e := wiretest.Subscribe(s.T, proctest.Addr(s.Stream), proctest.StreamPath(key))
	e.AwaitPosition()
	return e
}

// seqOf is the sequence in an id of the log: EPOCH-SEQ.
func seqOf(t testing.TB, id string) int {
	t.Helper()
	_, seq, ok := strings.Cut(id, "-")
	if !ok {
		t.Fatalf("%q is not an id of the log", id)
	}
	return atoi(t, seq)
}

// Nothing that was answered with 200 is lost when the server is killed, ids go on, and a client resumes without a gap.
func TestEmbeddedOutlivesAKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data") // the server makes it
	s := start(t, "--backplane", "embedded", "--data-dir", dir)
	client := s.subscribe("numbers")

	// Publish until the server is killed. Every answer counts.
	var mu sync.Mutex
	answered, lastID := 0, ""
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			resp, err := http.Post(s.Admin+"/publish?key=numbers", "text/plain", strings.NewReader(strconv.Itoa(i)))
			if err != nil {
				return
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return
			}
			mu.Lock()
			answered = i + 1
			mu.Unlock()
		}
	}()
	eventually.True(t, "50 events are published", func() bool { mu.Lock(); defer mu.Unlock(); return answered >= 50 })
	s.Stop(syscall.SIGKILL)
	<-ended

	// What the client has received before is a beginning of it.
	next := 0
	for client.Err == nil {
		client.Feed()
	}
	for _, m := range client.Take() {
		if m.Data != strconv.Itoa(next) {
			t.Fatalf("event %d is %v", next, m)
		}
		next, lastID = next+1, m.ID
	}

	s.Restart()
	resumed := s.resume("numbers", lastID)
	after := s.PublishText("numbers", "after")
	for {
		m := resumed.Next()
		if m.Data == "after" {
			if m.ID != after.ID || seqOf(t, m.ID) <= seqOf(t, lastID) {
				t.Errorf("id %s after %s, answered %s", m.ID, lastID, after.ID)
			}
			break
		}
		if m.Type != "message" || m.Data != strconv.Itoa(next) || seqOf(t, m.ID) <= seqOf(t, lastID) {
			t.Fatalf("event %d is %v, after %s", next, m, lastID)
		}
		next, lastID = next+1, m.ID
	}
	if next < answered {
		t.Errorf("%d events, but %d were answered", next, answered)
	}

	// curl, as a person resumes.
	l := listen(t, "curl", "-sSN", "-H", "Last-Event-ID: "+lastID, s.URL("numbers"))
	for line := l.next(); line != "data: after"; line = l.next() {
		if strings.HasPrefix(line, "event: gap") || strings.HasPrefix(line, "data: ") {
			t.Errorf("curl gets %q", line)
		}
	}

	// An orderly end loses nothing either.
	if code := s.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	s.Restart()
	again := s.resume("numbers", after.ID)
	s.PublishText("numbers", "last")
	again.WantData("last")
	if record := s.Log.Find("backplane"); record["dataDir"] != dir || record["node"] == "" {
		t.Errorf("%v", record)
	}
}

// A directory that cannot be used, and one that another process uses, are errors that say so.
func TestEmbeddedDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, problem := run(t, nil, "--backplane", "embedded", "--data-dir", file, "--listen", "127.0.0.1:0", "--admin", "off")
	if code != 1 || !strings.Contains(problem, `dataDir "`+file+`" cannot be used`) || strings.Contains(problem, "panic") {
		t.Errorf("%d %s", code, problem)
	}
	dir := t.TempDir()
	start(t, "--backplane", "embedded", "--data-dir", dir)
	code, _, problem = run(t, nil, "--backplane", "embedded", "--data-dir", dir, "--listen", "127.0.0.1:0", "--admin", "off")
	if code != 1 || !strings.Contains(problem, dir) || !strings.Contains(problem, "another process") {
		t.Errorf("%d %s", code, problem)
	}
}

// A repetition with the same Idempotency-Key is stored once, also after a restart, and both answers have the same id.
func TestEmbeddedIdempotencyKey(t *testing.T) {
	s := start(t, "--backplane", "embedded", "--data-dir", t.TempDir(), "--duplicate-window", "10m")
	stream := s.subscribe("news")
	publish := func() string {
		req, err := http.NewRequest(http.MethodPost, s.Admin+"/publish?key=news", strings.NewReader("once"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "text/plain")
		req.Header.Set("Idempotency-Key", "order-4711")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var a proctest.Answer
		decode(t, resp.Body, &a)
		return a.ID
	}
	first := publish()
	if again := publish(); again != first || first == "" {
		t.Errorf("ids %q and %q", first, again)
	}
	s.PublishText("news", "end")
	stream.WantData("once", "end")
	s.Stop(syscall.SIGKILL)
	s.Restart()
	if again := publish(); again != first {
		t.Errorf("ids %q and %q after a restart", first, again)
	}
}

// A reload keeps the log, and says which settings need a restart.
func TestEmbeddedReload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "fanfare.yaml")
	text := "backplane: embedded\ndataDir: " + t.TempDir() + "\n"
	replaceFile(t, file, text)
	s := start(t, "--config", file)
	stream := s.subscribe("news")
	s.PublishText("news", "before")
	replaceFile(t, file, text+"retentionAge: 48h\npingInterval: 5s\n")
	eventually.True(t, "a reload", func() bool { return s.Log.Find("configuration reloaded") != nil })
	if record := s.Log.Find("settings that need a restart keep their old value"); record["settings"] != "retentionAge" {
		t.Errorf("%v", record)
	}
	s.PublishText("news", "after")
	stream.WantData("before", "after")
}

// After a restart, however the server ended, each key of the subjects gets a gap: what was published to them meanwhile is lost. The
// clients resume exactly, so nothing else would tell them.
func TestEmbeddedSubjectsHaveAGapAfterARestart(t *testing.T) {
	broker := (&natstest.Server{T: t}).Start()
	s := start(t, "--backplane", "embedded", "--data-dir", t.TempDir(), "--nats-url", broker.URL(),
		"--nats-subjects", "plain", "--nats-subjects", "app.* -> {1}", "--nats-subjects", "silent.> -> silent")
	nc, err := natsgo.Connect(broker.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	publish := func(subject, data string) {
		t.Helper()
		if err := nc.Publish(subject, []byte(data)); err != nil {
			t.Fatal(err)
		}
		if err := nc.FlushTimeout(eventually.Patience); err != nil {
			t.Fatal(err)
		}
	}
	connected := func() {
		t.Helper()
		eventually.True(t, "the bridge is connected", func() bool {
			_, metrics := s.Get("/metrics")
			return strings.Contains(metrics, "fanfare_nats_connected 1\n")
		})
	}
	subjects := map[string]string{"plain": "plain", "one": "app.one", "two": "app.two", "silent": "silent.a"}
	next := func(e *wiretest.Events) wiretest.Message {
		t.Helper()
		m := e.Next()
		for m.Type == "position" {
			m = e.Next()
		}
		return m
	}
	for _, how := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		connected()
		ids := map[string]string{}
		for key, subject := range subjects {
			e := s.subscribe(key)
			if key != "silent" { // which has no event
				publish(subject, "before")
				for next(e).Data != "before" {
				}
			}
			ids[key] = e.LastID()
		}
		s.Stop(how)
		for _, subject := range subjects {
			publish(subject, "lost")
		}
		s.Restart()
		connected()
		for key, subject := range subjects {
			publish(subject, "after")
			e := s.resume(key, ids[key])
			if m := next(e); m.Type != "gap" || m.Gap(t).Reason != "source" {
				t.Fatalf("%v, %s: %v, want a gap", how, key, m)
			}
			if m := next(e); m.Data != "after" {
				t.Errorf("%v, %s: %v, want the event after the outage", how, key, m)
			}
		}
	}
}
