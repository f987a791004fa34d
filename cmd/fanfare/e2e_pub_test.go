package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// client is the environment of fanfare pub and sub for this server.
func (s server) client() []string {
	return append([]string{"FANFARE_SERVER=" + s.Admin, "FANFARE_STREAM=" + s.Stream + "/stream", "BIN=" + binary}, s.Env...)
}

// watch starts fanfare sub, and waits until it is subscribed to keys.
func (s server) watch(keys []string, args ...string) *listener {
	s.T.Helper()
	var before []int
	for _, key := range keys {
		before = append(before, s.Count(key))
	}
	l := listen(s.T, "env", append(append(append(s.client(), binary, "sub"), keys...), args...)...)
	for i, key := range keys {
		s.AwaitCount(key, before[i]+1)
	}
	return l
}

// pub runs fanfare pub to its end.
func (s server) pub(stdin string, args ...string) (code int, stdout, stderr string) {
	s.T.Helper()
	cmd := exec.Command(binary, append([]string{"pub"}, args...)...)
	cmd.Env = proctest.Environment(s.client()...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		s.T.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// line is what fanfare sub --json prints.
type line struct {
	Event, ID, Data string
	Gap             *struct {
		Key, Reason, Next string
		Missed            *int
	}
}

func parseLine(t testing.TB, text string) (l line) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return l
}

// wait returns the exit code of a client that has printed all.
func (l *listener) wait() int {
	l.t.Helper()
	var exit *exec.ExitError
	if err := l.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		l.t.Fatal(err)
	}
	return l.cmd.ProcessState.ExitCode()
}

// TestPipeOfManyLines: what a pipe publishes arrives whole and in order, in a stream whose history holds it.
func TestPipeOfManyLines(t *testing.T) {
	const n = 30_000
	s := start(t, "--history", "32768")
	l := s.watch([]string{"news"}, "-n", fmt.Sprint(n), "--json")
	shell(t, s.client(), fmt.Sprintf(`seq 1 %d | "$BIN" pub -l news`, n))
	lines := l.end()
	if len(lines) != n {
		t.Fatalf("%d lines; notes: %s", len(lines), l.log)
	}
	for i, text := range lines {
		if e := parseLine(t, text); e.Data != strconv.Itoa(i+1) || e.Gap != nil || !strings.HasSuffix(e.ID, fmt.Sprint("-", i+1)) {
			t.Fatalf("line %d: %s", i+1, text)
		}
	}
	if code := l.wait(); code != 0 {
		t.Errorf("exit code %d: %s", code, l.log)
	}
}

// TestPipeLapsAShortHistory: what a subscriber misses is told, and with it the sum is right.
func TestPipeLapsAShortHistory(t *testing.T) {
	const n = 10_000
	s := start(t, "--history", "8")
	l := s.watch([]string{"news"}, "--json")
	if code, _, stderr := s.pub(strings.Repeat("x\n", n)+"end\n", "news", "-l"); code != 0 {
		t.Fatalf("pub: %s", stderr)
	}
	got, missed, last := 0, 0, 0
	for last <= n {
		e := parseLine(t, l.next())
		_, number, _ := strings.Cut(e.ID, "-")
		seq, err := strconv.Atoi(number)
		if err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
		if e.Gap == nil {
			got++
		} else {
			missed += *e.Gap.Missed
		}
		if got+missed != seq {
			t.Fatalf("%d got and %d missed at event %d", got, missed, seq)
		}
		last = seq
	}
	t.Logf("%d got, %d missed", got, missed)
}

// TestTailIsDeliveredAtOnce: a pipe that pauses is not waited for.
func TestTailIsDeliveredAtOnce(t *testing.T) {
	s := start(t)
	l := s.watch([]string{"log"}, "--raw")
	cmd := exec.Command(binary, "pub", "log", "--lines")
	cmd.Env = proctest.Environment(s.client()...)
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		fmt.Fprintf(in, "line %d\n", i)
		if got := l.next(); got != fmt.Sprint("line ", i) {
			t.Fatalf("%q", got)
		}
	}
	// Ctrl-C in the middle of it is an end like any other.
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	_ = in.Close()
}

// TestWatchSurvivesARestart: the gap is told, and the reconnects.
func TestWatchSurvivesARestart(t *testing.T) {
	s := start(t, "--retry", "50ms")
	l := s.watch([]string{"news"}, "--json", "-n", "2")
	s.Publish("news", `"before"`)
	if e := parseLine(t, l.next()); e.Data != "before" {
		t.Fatalf("%+v", e)
	}
	s.Kill()
	eventually.Holds(t, "the loss is told", func() (bool, string) {
		text := l.log.String()
		return strings.Contains(text, "-- cannot reach http") || strings.Contains(text, "-- the connection was lost"), text
	})
	s.Restart()
	s.AwaitCount("news", 1)
	s.Publish("news", `"after"`)
	gap, event := parseLine(t, l.next()), parseLine(t, l.next())
	if gap.Gap == nil || gap.Gap.Reason != "epoch" || gap.Gap.Missed != nil || event.Data != "after" {
		t.Errorf("%+v, %+v", gap, event)
	}
	if rest := l.end(); rest != nil || l.wait() != 0 {
		t.Errorf("%q, exit code %d", rest, l.cmd.ProcessState.ExitCode())
	}
	for _, want := range []string{"-- connected to ", "next try in ", "-- reconnected to ", `-- gap: an unknown number of events of "news" missed: the server was restarted`, "-- 2 events, 1 gap "} {
		if !strings.Contains(l.log.String(), want) {
			t.Errorf("notes lack %q:\n%s", want, l.log)
		}
	}
}

func TestPubErrors(t *testing.T) {
	s := startWith(proctest.Server{T: t, Env: []string{"FANFARE_PUBLISH_TOKEN=right"}, Token: "right", Args: []string{"--max-event-bytes", "1kB"}})
	const wrong = "fanfare: this needs the publish token: send \"Authorization: Bearer TOKEN\" (set it by --token or FANFARE_PUBLISH_TOKEN)\n"
	if code, _, stderr := s.pub("", "k", "x", "--token", "wrong"); code != 1 || stderr != wrong {
		t.Errorf("wrong token: %d, %q", code, stderr)
	}
	if code, _, stderr := s.pub("a\nb\n", "k", "-l", "--token", "wrong"); code != 1 || !strings.Contains(stderr, "lines 1 to ") || !strings.Contains(stderr, "publish token") {
		t.Errorf("wrong token for lines: %d, %q", code, stderr)
	}
	l := s.watch([]string{"k"}, "--raw")
	if code, stdout, stderr := s.pub("", "k", "x", "-v"); code != 0 || stderr != "" || !strings.HasSuffix(stdout, "-1 1\n") {
		t.Errorf("%d, %q, %q", code, stdout, stderr)
	}
	in := "\"one\"\n{\"data\":{\"n\":2}}\n{\"data\":\n{\"data\":\"" + strings.Repeat("x", 2000) + "\"}\n{\"data\":1,\"retry\":\"soon\"}\n{\"key\":\"other\",\"data\":3}\n\"four\"\n"
	code, stdout, stderr := s.pub(in, "k", "--ndjson", "--json")
	// Not in the order of the lines: some are refused here, and others by the server.
	for _, want := range []string{
		"fanfare: line 3: is not valid JSON: unexpected end of JSON input (byte 8)\n",
		"fanfare: line 4: the event has 2013 bytes, more than 1000 (maxEventBytes): send less, or raise the limit\n",
		"fanfare: line 5: retry: must be a whole number of milliseconds: digits 0-9 only; got \"soon\"\n",
		"fanfare: 3 of 7 lines were refused\n",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q lacks %q", stderr, want)
		}
	}
	if code != 1 || strings.Count(stdout, "\n") != 4 || strings.Count(stderr, "\n") != 4 {
		t.Errorf("%d, %q, %q", code, stdout, stderr)
	}
	for _, want := range []string{"x", "one", `{"n":2}`, "four"} {
		if got := l.next(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if code, _, stderr := s.pub("", "--nonsense"); code != 2 || stderr != "fanfare: unknown flag --nonsense\n" {
		t.Errorf("%d, %q", code, stderr)
	}
	if code, _, stderr := s.pub(""); code != 2 || stderr != "fanfare: no key is given: write fanfare pub KEY [DATA], or --all\n" {
		t.Errorf("%d, %q", code, stderr)
	}
	if code, _, stderr := s.pub("", "k", "x", "-l", "--ndjson"); code != 2 || !strings.Contains(stderr, "--lines and --ndjson can't be used together") {
		t.Errorf("%d, %q", code, stderr)
	}
}

func TestServerAway(t *testing.T) {
	s := start(t)
	if code := s.Stop(syscall.SIGTERM); code != 0 {
		t.Fatal(code)
	}
	if code, _, stderr := s.pub("", "k", "x"); code != 1 || stderr != "fanfare: cannot publish to "+s.Admin+": connection refused: no server is listening there\n" {
		t.Errorf("pub: %d, %q", code, stderr)
	}
	if code, _, stderr := run(t, s.client(), "sub", "k"); code != 1 || !strings.HasPrefix(stderr, "fanfare: cannot reach "+s.Stream) {
		t.Errorf("sub: %d, %q", code, stderr)
	}
	// With --wait both sit it out.
	l := listen(t, "env", append(s.client(), binary, "sub", "k", "-n", "1", "--raw", "--wait", "1m")...)
	late := listen(t, "env", append(s.client(), "sh", "-c", `echo late | "$BIN" pub --all --wait 1m -v 2>&1`)...)
	if got := late.next(); !strings.HasSuffix(got, "no server is listening there; trying again for 1m0s") {
		t.Errorf("pub: %q", got)
	}
	s.Restart()
	s.AwaitCount("k", 1)
	if rest, code := late.end(), late.wait(); code != 0 || len(rest) != 1 {
		t.Errorf("pub: exit code %d, %q", code, rest)
	}
	s.Publish("k", `"now"`) // the other may have been there before the subscriber
	if got := l.next(); got != "late" && got != "now" {
		t.Errorf("sub: %q", got)
	}
}

func TestInterruptedWatch(t *testing.T) {
	s := start(t)
	l := s.watch([]string{"a", "b"})
	if code, _, stderr := s.pub("", "b", "hello", "--event", "greet"); code != 0 {
		t.Fatal(stderr)
	}
	if got := l.next(); !strings.HasSuffix(got, " [greet] hello") || strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
	if err := l.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if rest := l.end(); rest != nil {
		t.Errorf("%q", rest)
	}
	if code := l.wait(); code != 0 || !strings.HasSuffix(l.log.String(), "-- 1 event, no gap, 1 connection\n") {
		t.Errorf("exit code %d: %s", code, l.log)
	}
}

// TestWatchRewind: a stream begins with past events. The server refuses what it does not know.
func TestWatchRewind(t *testing.T) {
	s := start(t)
	for i := range 5 {
		s.Publish("k", fmt.Sprintf(`"%d"`, i))
	}
	for rewind, want := range map[string]string{"2": "3\n4\n", "earliest": "0\n1\n2\n3\n4\n", "1h": "0\n1\n2\n3\n4\n"} {
		code, stdout, stderr := run(t, s.client(), "sub", "k", "--rewind", rewind, "-n", fmt.Sprint(strings.Count(want, "\n")), "--raw", "-q")
		if code != 0 || stdout != want || stderr != "" {
			t.Errorf("%s: %d, %q, %q", rewind, code, stdout, stderr)
		}
	}
	for wrong, args := range map[string][]string{`rewind "junk" is neither`: {"--rewind", "junk"}, "--rewind": {"--rewind", "2", "--since", "a"}} {
		if code, _, stderr := run(t, s.client(), append([]string{"sub", "k", "-n", "1"}, args...)...); code == 0 || !strings.Contains(stderr, wrong) {
			t.Errorf("%q: %d, %q", args, code, stderr)
		}
	}
}

// TestWatchSince: an id given by hand resumes as a client's own does, and with sendLast there is no extra event then.
func TestWatchSince(t *testing.T) {
	s := start(t, "--send-last")
	first := s.Publish("k", `"1"`)
	last := s.Publish("k", `"2"`)
	for _, args := range [][]string{{"--since", first.ID}, {}} {
		code, stdout, stderr := run(t, s.client(), append([]string{"sub", "k", "-n", "1", "--raw", "--quiet"}, args...)...)
		if code != 0 || stdout != "2\n" || stderr != "" {
			t.Errorf("%q: %d, %q, %q", args, code, stdout, stderr)
		}
	}
	code, stdout, stderr := run(t, s.client(), "sub", "k", "--since", last.ID, "-n", "1", "--timeout", "300ms", "-q")
	if code != 1 || stdout != "" || stderr != "fanfare: only 0 of 1 events arrived within 300ms\n" {
		t.Errorf("%d, %q, %q", code, stdout, stderr)
	}
}
