package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// run runs fanfare to its end.
func run(t testing.TB, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), eventually.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = proctest.Environment(env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		t.Fatalf("fanfare %s: %v (%v)\n%s", strings.Join(args, " "), err, ctx.Err(), errs.String())
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// tryLines returns the command lines that the log recommends, as they stand in it.
func tryLines(t testing.TB, s server, format string) (subscribe, publish string) {
	t.Helper()
	if format == "json" {
		r := s.Log.Find("try")
		return fmt.Sprint(r["subscribe"]), fmt.Sprint(r["publish"])
	}
	line := regexp.MustCompile(`subscribe="(.*)" publish="(.*)"\n`).FindStringSubmatch(s.Log.String())
	if line == nil {
		t.Fatalf("no line to try in %s", s.Log)
	}
	return line[1], line[2]
}

func TestPrintedCommandsWork(t *testing.T) {
	const token = "Zm9vYmFy+/~._-=="
	for _, format := range []string{"json", "text"} {
		for _, withToken := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, token %v", format, withToken), func(t *testing.T) {
				o := proctest.Server{T: t, Args: []string{"--log-format", format}}
				if withToken {
					o.Token, o.Env = token, []string{"FANFARE_PUBLISH_TOKEN=" + token}
				}
				s := startWith(o)
				subscribe, publish := tryLines(t, s, format)
				l := listen(t, "sh", "-c", "exec "+subscribe)
				s.AwaitCount("news", 1)
				out := shell(t, s.Env, publish+" --fail -sS")
				if !strings.Contains(out, `"subscribers":1`) {
					t.Errorf("%s: %s", publish, out)
				}
				for l.next() != "data: hello" {
				}
			})
		}
	}
}

func TestFirstLogLines(t *testing.T) {
	s := start(t, "--max-connections", "123", "--max-clients", "45")
	lines := strings.Split(strings.TrimSpace(s.Log.String()), "\n")
	if len(lines) != 4 {
		t.Errorf("%d lines: %s", len(lines), s.Log)
	}
	for msg, want := range map[string]string{
		"streams":     "url:" + s.Stream + "/stream?connectKey=KEY",
		"limits":      "maxClients:45 maxConnections:123",
		"publish API": "metrics:" + s.Admin + "/metrics",
		"try":         "subscribe:curl -N '" + s.Stream + "/stream?connectKey=news'",
	} {
		if r := fmt.Sprint(s.Log.Find(msg)); !strings.Contains(r, want) {
			t.Errorf("%s: %s lacks %s", msg, r, want)
		}
	}
	if files, ok := s.Log.Find("limits")["openFiles"].(float64); !ok || files < 256 {
		t.Errorf("openFiles: %v", s.Log.Find("limits"))
	}
	if code, _, stderr := run(t, nil, "--admin", "off", "--listen", strings.TrimPrefix(s.Stream, "http://")); code != 1 ||
		stderr != "fanfare: listen "+strings.TrimPrefix(s.Stream, "http://")+": the address is in use: stop the program that uses it, or choose another address with --listen\n" {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestWhatStopsTheServerAtItsStart(t *testing.T) {
	used, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()
	file := filepath.Join(t.TempDir(), "fanfare.yaml")
	if err := os.WriteFile(file, []byte("listen: 127.0.0.1:0\nmaxClient: 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := used.Addr().String()
	for _, test := range []struct {
		args, env string
		code      int
		stderr    string // its last line
	}{
		{"--listen " + addr + " --admin off", "", 1, "fanfare: listen " + addr + ": the address is in use: stop the program that uses it, or choose another address with --listen"},
		{"--listen 127.0.0.1:0 --admin " + addr, "", 1, "fanfare: admin " + addr + ": the address is in use: stop the program that uses it, or choose another address with --admin"},
		{"--listen 127.0.0.1:0 --admin 0.0.0.0:0", "", 2, `fanfare: flag --admin: admin: "0.0.0.0:0" can be reached from other machines, and anyone could publish: set publishToken (environment FANFARE_PUBLISH_TOKEN), or listen on loopback (127.0.0.1:0)`},
		{"--max-client 5", "", 2, "fanfare: unknown flag --max-client; did you mean --max-clients?"},
		{"", "FANFARE_MAX_CLIENT=5", 2, "fanfare: environment FANFARE_MAX_CLIENT: unknown variable; did you mean FANFARE_MAX_CLIENTS?"},
		{"--config " + file, "", 2, "fanfare: " + file + ":2:1: maxClient: unknown setting; did you mean maxClients?"},
	} {
		var env []string
		if test.env != "" {
			env = []string{test.env}
		}
		code, stdout, stderr := run(t, env, strings.Fields(test.args)...)
		lines := strings.Split(strings.TrimSpace(stderr), "\n")
		if code != test.code || stdout != "" || lines[len(lines)-1] != test.stderr {
			t.Errorf("%s %s: exit code %d, want %d\n%s\nwant %s", test.env, test.args, code, test.code, stderr, test.stderr)
		}
	}
}

func TestAdminOnAllAddressesNeedsTheToken(t *testing.T) {
	s := startWith(proctest.Server{T: t, Args: []string{"--admin", "0.0.0.0:0"}, Env: []string{"FANFARE_PUBLISH_TOKEN=secret-of-16-bytes"}})
	if status, p := s.Call(http.MethodPost, "/publish?key=k", "text/plain", "x"); status != http.StatusUnauthorized || p.Field != "Authorization" {
		t.Errorf("%d %+v", status, p)
	}
	s.Token = "secret-of-16-bytes"
	s.Publish("k", `"x"`)
	if strings.Contains(s.Log.String(), "secret") {
		t.Errorf("the log tells the token: %s", s.Log)
	}
}

func TestVersionAndConfigCommands(t *testing.T) {
	if code, out, _ := run(t, nil, "version"); code != 0 || !strings.HasPrefix(out, "fanfare ") || !strings.Contains(out, runtime.Version()) {
		t.Errorf("version: exit code %d, %s", code, out)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "fanfare.yaml")
	if err := os.WriteFile(file, []byte("history: 8\nslow: latest\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, stderr := run(t, nil, "config", "check", "--config", file); code != 0 || out != "ok: defaults, file "+file+" (2 settings in effect)\n" {
		t.Errorf("config check: exit code %d, %s%s", code, out, stderr)
	}
	code, printed, stderr := run(t, []string{"FANFARE_HISTORY=16"}, "config", "print", "--config", file, "--max-clients", "7")
	if code != 0 {
		t.Fatalf("config print: exit code %d, %s", code, stderr)
	}
	for _, want := range []string{"history: 16 ", "slow: latest ", "maxClients: 7 ", `path: "/stream" `} {
		if !strings.Contains(printed, "\n"+want) {
			t.Errorf("config print lacks %q:\n%s", want, printed)
		}
	}
	// What it prints is a configuration file, and the server starts with it.
	again := filepath.Join(dir, "again.yaml")
	if err := os.WriteFile(again, []byte(printed), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := run(t, nil, "config", "check", "--config", again); code != 0 {
		t.Errorf("what config print prints is refused: %s", stderr)
	}
	start(t, "--config", again)
	if code, _, stderr := run(t, nil, "config", "check", "--history", "1"); code != 1 || !strings.Contains(stderr, "history") {
		t.Errorf("config check of a mistake: exit code %d, %s", code, stderr)
	}
}

func TestReloadKeepsStreams(t *testing.T) {
	file := filepath.Join(t.TempDir(), "fanfare.yaml")
	write := func(text string) {
		t.Helper()
		// As editors do: a new file in the place of the old.
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write("maxEventBytes: 1kB\n")
	s := start(t, "--config", file)
	l := listen(t, "curl", "-sSN", s.URL("news"))
	s.AwaitCount("news", 1)
	body := `"` + strings.Repeat("x", 2000) + `"`
	accepts := func() (bool, string) {
		status, p := s.Call(http.MethodPost, "/publish?key=other", "application/json", body)
		return status == http.StatusOK, fmt.Sprintf("%d %+v", status, p)
	}
	awaitReload := func(msg string, n int, why, want string) {
		t.Helper()
		eventually.Holds(t, msg, func() (bool, string) {
			all := s.Log.Records(msg)
			return len(all) >= n && all[n-1]["why"] == why && strings.Contains(fmt.Sprint(all[n-1]), want), fmt.Sprint(all)
		})
	}
	if ok, answer := accepts(); ok || !strings.Contains(answer, "413") || !strings.Contains(answer, "maxEventBytes") {
		t.Errorf("before: %s", answer)
	}

	write("maxEventBytes: 4kB\n")
	awaitReload("configuration reloaded", 1, "file", "changed:maxEventBytes")
	if ok, answer := accepts(); !ok {
		t.Errorf("after the file was changed: %s", answer)
	}
	s.Signal(syscall.SIGHUP)
	awaitReload("configuration reloaded", 2, "SIGHUP", "changed:")

	// A mistake changes nothing, and is named with its place.
	write("maxEventBytes: 1kB\nhistroy: 5\n")
	awaitReload("configuration not reloaded: the previous one stays in effect", 1, "file", file+":2:1: histroy: unknown setting; did you mean history?")
	if ok, answer := accepts(); !ok {
		t.Errorf("after a mistake: %s", answer)
	}

	write("maxEventBytes: 4kB\nlisten: 127.0.0.1:1\nmaxConnections: 77\nretry: 5s\n")
	s.Signal(syscall.SIGHUP) // comes before the watch has waited for quiet
	awaitReload("configuration reloaded", 3, "SIGHUP", "retry")
	restart := fmt.Sprint(s.Log.Records("settings that need a restart keep their old value"))
	if !strings.Contains(restart, "maxConnections") {
		t.Errorf("what needs a restart: %s", restart)
	}

	// The stream has been there all the time.
	s.Publish("news", `"still here"`)
	for line := l.next(); line != "data: still here"; line = l.next() {
	}
	if n := s.Count("news"); n != 1 {
		t.Errorf("%d subscribers", n)
	}
}

func TestInterruptDrains(t *testing.T) {
	s := start(t, "--retry-min", "1s", "--retry-max", "1s")
	l := listen(t, "curl", "-sSN", s.URL("news"))
	s.AwaitCount("news", 1)
	if code := s.Stop(syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d", code)
	}
	lines := l.end()
	if len(lines) < 2 || lines[len(lines)-2] != "retry: 1000" || lines[len(lines)-1] != "" {
		t.Errorf("the stream ends with %q", lines)
	}
	if err := l.cmd.Wait(); err != nil {
		t.Errorf("curl: %v", err)
	}
	if s.Log.Find("stopped") == nil {
		t.Error("the end is not logged")
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	s := start(t, "--drain-delay", "10m")
	l := listen(t, "curl", "-sSN", s.URL("news"))
	s.AwaitCount("news", 1)
	s.Signal(syscall.SIGTERM)
	eventually.Holds(t, "it drains", func() (bool, string) {
		return s.Log.Find("draining: a second signal stops at once") != nil, s.Log.String()
	})
	eventually.Equal(t, "/readyz", http.StatusServiceUnavailable, func() int {
		status, _ := s.Get("/readyz")
		return status
	})
	s.Publish("news", `"during the delay"`) // streams go on until it is over
	for l.next() != "data: during the delay" {
	}
	second := time.Now()
	if code := s.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if d := time.Since(second); d > 10*time.Second {
		t.Errorf("it took %s", d)
	}
	if s.Log.Find("stopped at once by a second signal") == nil {
		t.Error("that is not logged")
	}
	l.end()
}

// TestStdinStops: a server whose parent is gone drains and stops; without the setting the end of stdin means nothing.
func TestStdinStops(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	s := startWith(proctest.Server{T: t, Args: []string{"--stdin-stops", "--retry-min", "20ms", "--retry-max", "30ms"}, Stdin: read})
	_ = read.Close()
	l := listen(t, "sh", "-c", "exec curl -sN '"+s.URL("k")+"'")
	s.AwaitCount("k", 1)
	if _, err := write.WriteString("what comes in is ignored\n"); err != nil {
		t.Fatal(err)
	}
	s.Publish("k", `"before"`)
	for l.next() != "data: before" {
	}
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	if code := s.Wait(); code != 0 || s.Log.Find("stopped") == nil {
		t.Errorf("exit code %d: %s", code, s.Log)
	}
	for line := ""; !strings.HasPrefix(line, "retry: 2"); line = l.next() {
	}

	without := start(t) // its stdin is at its end from the start
	without.Publish("k", `"x"`)
	if code := without.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d: %s", code, without.Log)
	}
}
