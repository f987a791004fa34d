package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// binaries are built once: k6 by the documented command, and the server.
type binaries struct{ k6, fanfare string }

func build(t *testing.T) binaries {
	t.Helper()
	dir := t.TempDir()
	b := binaries{k6: filepath.Join(dir, "k6"), fanfare: filepath.Join(dir, "fanfare")}
	for _, c := range []struct{ in, out, pkg string }{{".", b.k6, "."}, {"..", b.fanfare, "./cmd/fanfare"}} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-C", c.in, "-o", c.out, c.pkg)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
	}
	return b
}

var listens = regexp.MustCompile(`"?url"?[=:]"?(http://[0-9.:]+)`)

// serve starts a server on free ports and returns the addresses of streams and publish API.
func (b binaries) serve(t *testing.T) (streams, admin string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), b.fanfare, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	cmd.Env = environment("FANFARE_", "K6_")
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = cmd.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(log)
	var seen []string
	for (streams == "" || admin == "") && lines.Scan() {
		line := lines.Text()
		seen = append(seen, line)
		match := listens.FindStringSubmatch(line)
		switch {
		case match == nil:
		case strings.Contains(line, "publish API"):
			admin = match[1]
		case streams == "":
			streams = match[1]
		}
	}
	if streams == "" || admin == "" {
		t.Fatalf("fanfare doesn't say where it listens:\n%s", strings.Join(seen, "\n"))
	}
	go func() {
		for lines.Scan() { // what it logs must go somewhere
		}
	}()
	return streams, admin
}

// environment is this process's without the variables that begin with one of the prefixes.
func environment(prefixes ...string) []string {
	var rest []string
	for _, v := range os.Environ() {
		keep := true
		for _, p := range prefixes {
			keep = keep && !strings.HasPrefix(v, p)
		}
		if keep {
			rest = append(rest, v)
		}
	}
	return rest
}

// k6 runs k6 and returns its exit status and what it wrote.
func (b binaries) run(t *testing.T, env []string, args ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.k6, args...)
	cmd.Env = append(environment("FANFARE_", "K6_"), "K6_NO_USAGE_REPORT=true", "K6_NO_COLOR=true")
	cmd.Env = append(cmd.Env, env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("k6 %v takes longer than two minutes:\n%s", args, tail(out.String()))
	}
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

func tail(text string) string {
	if len(text) > 8000 {
		return "…" + text[len(text)-8000:]
	}
	return text
}

// TestScripts runs the scripts that ask whether things work, briefly, against a real server.
func TestScripts(t *testing.T) {
	b := build(t)
	streams, admin := b.serve(t)
	server := []string{"BASE_URL=" + streams, "PUBLISH_URL=" + admin}
	for _, c := range []struct {
		script string
		env    []string
	}{
		{"smoke.ts", nil},
		{"resume.ts", []string{"VUS=2", "STREAMS=5", "DURATION=3s"}},
		{"slow-consumer.ts", []string{"VUS=2", "STREAMS=20", "RATE=20", "DURATION=4s", "P99=5000"}},
	} {
		t.Run(c.script, func(t *testing.T) {
			status, out := b.run(t, append(server, c.env...), "run", "--quiet", filepath.Join("scripts", c.script))
			if status != 0 {
				t.Errorf("exit status %d:\n%s", status, tail(out))
			}
		})
	}
	t.Run("loss", func(t *testing.T) { b.testLoss(t, streams, admin) })
}

// testLoss has a script lose and repeat events on purpose: the thresholds that the other scripts rely on must fail, and the
// summary must have the counts.
func (b binaries) testLoss(t *testing.T, streams, admin string) {
	dir := t.TempDir()
	script, report := filepath.Join(dir, "loss.js"), filepath.Join(dir, "summary.json")
	text := `
import { EventSource } from 'k6/x/sse';
import http from 'k6/http';
export const options = { thresholds: { sse_lost: ['count==0'] } };
export default function () {
  const es = new EventSource(__ENV.BASE_URL + '/stream?connectKey=loss');
  let n = 0;
  es.onopen = () => [1, 2, 5, 5].forEach((seq) => http.post(__ENV.PUBLISH_URL + '/publish?key=loss',
    JSON.stringify({ data: { seq, ts: Date.now() * 1000 } }), { headers: { 'Content-Type': 'application/json' } }));
  es.onmessage = () => { if (++n === 4) es.close(); };
}
export function handleSummary(data) { return { [__ENV.SUMMARY]: JSON.stringify(data.metrics) }; }`
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	status, out := b.run(t, []string{"BASE_URL=" + streams, "PUBLISH_URL=" + admin, "SUMMARY=" + report}, "run", "--quiet", script)
	const thresholdsFailed = 99
	if status != thresholdsFailed {
		t.Fatalf("exit status %d, want %d:\n%s", status, thresholdsFailed, tail(out))
	}
	summary, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var metrics map[string]struct{ Values map[string]float64 }
	if err := json.Unmarshal(summary, &metrics); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{"sse_event": 4, "sse_lost": 2, "sse_duplicate": 1} {
		if got := metrics[name].Values["count"]; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{"sse_connecting", "sse_connect_success", "sse_active", "sse_event_latency", "sse_first_event", "sse_data_received"} {
		if _, ok := metrics[name]; !ok {
			t.Errorf("the summary has no %s", name)
		}
	}
}
