package main_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// replaceFile writes a file as editors do: a new one in the place of the old.
func replaceFile(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// scrape returns the samples of /metrics whose name begins with prefix.
func (s server) scrape(prefix string) (lines []string) {
	s.T.Helper()
	_, metrics := s.Get("/metrics")
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func TestSchedulesOfAServer(t *testing.T) {
	var asked, value atomic.Int64
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked.Add(1)
		fmt.Fprintf(w, `{"data":{"value":%d},"event":"%s"}`, value.Load(), req.Header.Get("X-Name"))
	}))
	defer source.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "fanfare.yaml")
	text := fmt.Sprintf(`schedules:
  - {name: value, every: 100ms, key: value, url: %s, headers: {X-Name: v}, onlyChanged: true, sendLast: true, immediate: true}
  - {name: tick, every: 100ms, key: tick, command: [sh, -c, "echo tick"], idle: skip}
  - {name: broken, every: 100ms, key: tick, command: [sh, -c, "echo half; echo why >&2; exit 7"]}
  - {name: everybody, every: 200ms, all: true, data: {to: all}}
`, source.URL)
	replaceFile(t, file, text)
	s := start(t, "--config", file, "--history-ttl", "100ms")

	// The value was published once, before anybody was there, and is older than the history.
	eventually.Holds(t, "the source is asked", func() (bool, string) { return asked.Load() > 5, fmt.Sprint(asked.Load()) })
	next := func(l *listener) line {
		for {
			if e := parseLine(t, l.next()); e.Data != `{"to":"all"}` {
				return e
			}
		}
	}
	one := listen(t, "env", append(s.client(), binary, "sub", "value", "--json")...)
	if e := parseLine(t, one.next()); e.Data != `{"to":"all"}` && (e.Data != `{"value":0}` || e.Event != "v") {
		t.Errorf("%+v", e)
	}
	value.Store(1)
	if e := next(one); e.Data == `{"value":0}` { // it came first, unless everybody's was newer
		e = next(one)
		if e.Data != `{"value":1}` {
			t.Errorf("%+v", e)
		}
	}
	tick := s.watch([]string{"tick"}, "--json")
	for range 2 {
		if e := next(tick); e.Data != "tick" {
			t.Errorf("%+v", e)
		}
	}
	for _, want := range []string{
		`fanfare_schedule_failures_total{reason="command",schedule="broken"} `, `fanfare_schedule_runs_total{result="published",schedule="tick"} `,
		`fanfare_schedule_runs_total{result="unchanged",schedule="value"} `, `fanfare_schedule_skipped_total{reason="idle",schedule="tick"} `, "fanfare_schedules 4",
	} {
		if got := strings.Join(s.scrape("fanfare_schedule"), "\n"); !strings.Contains(got, want) {
			t.Errorf("metrics lack %s:\n%s", want, got)
		}
	}
	failed := s.Log.Records("a scheduled run failed: nothing is published")
	if len(failed) != 1 || !strings.Contains(fmt.Sprint(failed[0]), "exit status 7: why") {
		t.Errorf("%v", failed)
	}

	// A mistake changes nothing; then one is changed, and the others are gone.
	replaceFile(t, file, strings.Replace(text, "every: 200ms", "every: 2ms", 1))
	eventually.Holds(t, "the mistake is told", func() (bool, string) {
		all := fmt.Sprint(s.Log.Records("configuration not reloaded: the previous one stays in effect"))
		return strings.Contains(all, file+":5:30: schedules[3].every: 2ms is less than 100ms"), all
	})
	if e := next(tick); e.Data != "tick" {
		t.Errorf("%+v", e)
	}
	replaceFile(t, file, "schedules:\n  - {name: tick, cron: '* * * * * *', key: tick, data: tock}\n")
	s.Signal(syscall.SIGHUP)
	eventually.Holds(t, "one schedule", func() (bool, string) {
		got := s.scrape("fanfare_schedule")
		return strings.Contains(strings.Join(got, "\n"), "fanfare_schedules 1"), strings.Join(got, "\n")
	})
	if got := s.scrape(`fanfare_schedule_runs_total{result="failed",schedule="broken"}`); got != nil {
		t.Errorf("of a schedule that is gone: %q", got)
	}
	for e := next(tick); e.Data != "tock"; e = next(tick) {
	}
	if code := s.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestDrainStopsSchedulesFirst: nothing is published to streams that are being ended, and no command is left behind.
func TestDrainStopsSchedulesFirst(t *testing.T) {
	dir := t.TempDir()
	file, pids := filepath.Join(dir, "fanfare.yaml"), filepath.Join(dir, "pids")
	replaceFile(t, file, "schedules:\n  - {name: long, every: 1h, immediate: true, key: k, timeout: 1h, command: [sh, -c, 'echo $$ > "+pids+"; exec sleep 600']}\n")
	s := start(t, "--config", file)
	pid := proctest.AwaitPID(t, pids)
	if code := s.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	proctest.AwaitEnd(t, pid)
	if failed := s.Log.Records("a scheduled run failed: nothing is published"); failed != nil {
		t.Errorf("%v", failed)
	}
}
