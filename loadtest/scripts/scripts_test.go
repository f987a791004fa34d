// Package scripts_test runs the k6 scripts of this folder, small and short, against a real server: that they pass where
// nothing is wrong, fail where events get lost, and say what is missing.
package scripts_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fanfare/internal/test/proctest"
)

// Made by TestMain.
var (
	k6      string // with the extension
	stock   string // without
	fanfare string
)

const thresholdsFailed = 99 // exit status of k6

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	// Most of a script's time is waiting, and what is measured here has no limits: scripts run side by side.
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("", "fanfare-k6-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	k6, stock = filepath.Join(dir, "k6"), filepath.Join(dir, "stock")
	for _, args := range [][]string{
		{"build", "-C", "..", "-o", k6, "."},
		{"build", "-C", "..", "-o", stock, "go.k6.io/k6"},
	} {
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go %s: %v\n%s", strings.Join(args, " "), err, out)
			return 1
		}
	}
	if fanfare, err = proctest.Build(dir, "../../cmd/fanfare"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// small is a test of each script that ends within seconds.
var small = map[string][]string{
	"smoke.ts":           nil,
	"connect-ramp.ts":    {"RATE=50"},
	"connect-churn.ts":   {"RATE=40"},
	"fanout.ts":          {"KEYS=3", "RATE=50"},
	"reconnect-storm.ts": {"EVERY=2s"},
	"resume.ts":          {"MISSED=600"},
	"slow-consumer.ts":   {"RATE=30", "SIZE=20000", "PERCENT=20", "READ_DELAY=300ms"},
	"soak.ts":            {"EVERY=700ms", "WARMUP=500ms", "GROWTH=500"},
	"publish.ts":         {"RATE=500"},
}

func TestScriptsPass(t *testing.T) {
	files, err := filepath.Glob("*.ts")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range files {
		env, ok := small[script]
		if !ok {
			t.Errorf("%s isn't tested: add it to small", script)
			continue
		}
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			s := startServer(t) // its own: soak measures it, and slow-consumer looks at its figures
			report := filepath.Join(t.TempDir(), "report")
			out, status := runScript(t, k6, script, append(append(s.env(), "VUS=2", "STREAMS=5", "DURATION=2s", "DRAIN=5s", "REPORT="+report,
				// What is measured here is the machine that runs the tests.
				"P99=60000"), env...)...)
			if status != 0 {
				t.Fatalf("exit status %d\n%s", status, out)
			}
			checkReport(t, report, strings.TrimSuffix(script, ".ts"), out)
		})
	}
	for script := range small {
		if !slices.Contains(files, script) {
			t.Errorf("there is no %s", script)
		}
	}
}

// checkReport checks the text and JSON that a script has written.
func checkReport(t *testing.T, report, script, stdout string) {
	t.Helper()
	text, err := os.ReadFile(report + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(stdout, string(text)) || !strings.Contains(string(text), "PASS: all") {
		t.Errorf("the text report is not what stdout has, or has no verdict:\n%s", text)
	}
	raw, err := os.ReadFile(report + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var summary struct {
		Script, Question string
		Passed           bool
		Thresholds       []struct {
			Metric, Limit string
			OK            bool
			Value         *float64
		}
		Metrics map[string]map[string]any
	}
	if err := json.Unmarshal(raw, &summary); err != nil {
		t.Fatal(err)
	}
	if summary.Script != script || summary.Question == "" || !summary.Passed || len(summary.Thresholds) < 5 {
		t.Errorf("the JSON report is of %q, passed %v, with %d thresholds", summary.Script, summary.Passed, len(summary.Thresholds))
	}
	for _, limit := range summary.Thresholds {
		if limit.Value == nil {
			t.Errorf("%s: %s has no value in the report", limit.Metric, limit.Limit)
		}
	}
	if events, _ := summary.Metrics["sse_event"]["count"].(float64); events == 0 {
		t.Error("no event was received")
	}
}

// TestLossFailsTheRun: what a script is for is to fail.
func TestLossFailsTheRun(t *testing.T) {
	for _, c := range []struct {
		name, drop string
		failed     []string
	}{
		{"in the middle", `"seq":3,`, []string{"FAIL sse_lost", "FAIL stream_complete"}},
		// Nothing comes after the last event, nor before the first, that would show the hole: what was published does.
		{"at the end", `"seq":20,`, []string{"FAIL sse_undelivered", "FAIL stream_complete"}},
		{"the first", `"seq":1,`, []string{"FAIL sse_undelivered", "FAIL stream_complete"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			lossy := httptest.NewServer(dropping(s, c.drop))
			defer lossy.Close()
			out, status := runScript(t, k6, "fanout.ts", append(s.env(), "VUS=1", "STREAMS=3", "RATE=20", "DURATION=1s", "DRAIN=3s", "BASE_URL="+lossy.URL)...)
			if status != thresholdsFailed {
				t.Errorf("exit status %d, want %d", status, thresholdsFailed)
			}
			for _, want := range append(c.failed, "0 of 3", "\nFAIL: ") {
				if !strings.Contains(out, want) {
					t.Errorf("the summary has no %q:\n%s", want, out)
				}
			}
		})
	}
}

// TestStreamThatNeverEndsIsIncomplete: a stream that hangs must not let the run pass, nor last for ever.
func TestStreamThatNeverEndsIsIncomplete(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	lossy := httptest.NewServer(dropping(s, "event: run-end"))
	defer lossy.Close()
	out, status := runScript(t, k6, "fanout.ts", append(s.env(), "VUS=1", "STREAMS=2", "RATE=20", "DURATION=1s", "DRAIN=1s", "CONNECT_TIME=2s", "BASE_URL="+lossy.URL)...)
	if status != thresholdsFailed || !strings.Contains(out, "2 streams of this VU did not reach the end") {
		t.Errorf("exit status %d:\n%s", status, out)
	}
}

// TestSlowConsumersThatNobodyNotices: what the kernels' buffers took tests nothing, and the run says so.
func TestSlowConsumersThatNobodyNotices(t *testing.T) {
	t.Parallel()
	out, status := runScript(t, k6, "slow-consumer.ts", append(startServer(t).env(), "VUS=1", "STREAMS=10", "RATE=10", "SIZE=64",
		"DURATION=1s", "DRAIN=3s", "P99=60000")...)
	if status != thresholdsFailed || !strings.Contains(out, "FAIL backpressure: count>0") || !strings.Contains(out, "this run tested nothing") {
		t.Errorf("exit status %d:\n%s", status, out)
	}
	if n := strings.Count(out, "  FAIL "); n != 1 {
		t.Errorf("%d thresholds failed, want that one:\n%s", n, out)
	}
}

func TestUnreachableStreamsFailTheRun(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	out, status := runScript(t, k6, "fanout.ts", append(s.env(), "VUS=1", "STREAMS=2", "DURATION=1s", "CONNECT_TIME=1s", "STREAM_PATH=/elsewhere")...)
	if status != thresholdsFailed || !strings.Contains(out, "only 0 of 2 streams were open") || !strings.Contains(out, "404") {
		t.Errorf("exit status %d:\n%s", status, out)
	}
}

// TestClearMessages: what a person gets wrong is named, with what to do.
func TestClearMessages(t *testing.T) {
	s := startServer(t, "--publish-token", "secret")
	nobody := proctest.FreeAddr(t)
	for _, c := range []struct {
		name, k6, script string
		env              []string
		want             string
	}{
		{"stock k6", stock, "smoke.ts", nil, "go build -C loadtest -o k6 ."},
		{"no token", k6, "smoke.ts", s.env(), "give TOKEN"},
		{"no server", k6, "fanout.ts", []string{"PUBLISH_URL=http://" + nobody}, "Start Fanfare first"},
		{"no stream listener", k6, "fanout.ts", append(s.env(), "TOKEN=secret", "BASE_URL=http://"+nobody), "Give the address of the stream listener here"},
		{"bad number", k6, "fanout.ts", []string{"VUS=many"}, "VUS=many: give a whole number from 1"},
		{"bad duration", k6, "fanout.ts", []string{"DURATION=30"}, "DURATION=30: give a duration with a unit"},
		{"bad address", k6, "fanout.ts", []string{"BASE_URL=localhost:8080"}, "BASE_URL=localhost:8080: give a URL"},
		{"no slow stream", k6, "slow-consumer.ts", []string{"STREAMS=5"}, "STREAMS=5"},
		{"too many storms", k6, "reconnect-storm.ts", []string{"EVERY=1s"}, "give 2s or more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, status := runScript(t, c.k6, c.script, c.env...)
			if status == 0 || !strings.Contains(out, c.want) {
				t.Errorf("exit status %d, want another and %q in\n%s", status, c.want, out)
			}
		})
	}
	t.Run("every script in stock k6", func(t *testing.T) {
		for script := range small {
			if out, status := runScript(t, stock, script); status == 0 || !strings.Contains(out, "this k6 has no k6/x/sse") {
				t.Errorf("%s: exit status %d:\n%s", script, status, out)
			}
		}
	})
	t.Run("with the token", func(t *testing.T) {
		out, status := runScript(t, k6, "smoke.ts", append(s.env(), "TOKEN=secret", "P99=60000")...)
		if status != 0 {
			t.Errorf("exit status %d:\n%s", status, out)
		}
	})
}

// runScript runs a script and gives what it printed, both streams, and its exit status.
func runScript(t *testing.T, k6, script string, env ...string) (out string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, k6, "run", "--quiet", "--no-color", "--address", "", "--no-usage-report", script)
	cmd.Env = append(bare(), env...)
	raw, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%s: %v\n%s", script, err, raw)
	}
	return string(raw), cmd.ProcessState.ExitCode()
}

// bare is the environment without what would change a script.
func bare() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir()}
}

type server struct{ stream, admin string }

func (s server) env() []string {
	return []string{"BASE_URL=http://" + s.stream, "PUBLISH_URL=http://" + s.admin}
}

// startServer runs fanfare until the test is over.
func startServer(t *testing.T, args ...string) server {
	t.Helper()
	s := (&proctest.Server{T: t, Binary: fanfare, Args: args}).Start()
	return server{stream: proctest.Addr(s.Stream), admin: proctest.Addr(s.Admin)}
}

// dropping is a proxy that leaves the events out that contain text.
func dropping(s server, text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+s.stream+r.URL.RequestURI(), nil)
		if err != nil {
			panic(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
		w.WriteHeader(res.StatusCode)
		out := http.NewResponseController(w)
		_ = out.Flush()
		lines := bufio.NewReader(res.Body)
		var event []byte
		for {
			line, err := lines.ReadBytes('\n')
			if event = append(event, line...); err != nil {
				return
			}
			if len(line) > 1 {
				continue
			}
			if !bytes.Contains(event, []byte(text)) {
				if _, err := io.Copy(w, bytes.NewReader(event)); err != nil {
					return
				}
				_ = out.Flush()
			}
			event = event[:0]
		}
	})
}
