package main_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// redisAt is a redis-server on a free port of loopback.
type redisAt struct {
	t    testing.TB
	port string
	dir  string
	args []string
	cmd  *exec.Cmd
}

// startRedis runs redis-server until the end of the test.
func startRedis(t testing.TB, args ...string) *redisAt {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	_ = free.Close()
	r := &redisAt{t: t, port: port, dir: t.TempDir(), args: args}
	r.up()
	return r
}

func (r *redisAt) up() {
	r.t.Helper()
	args := append([]string{"--bind", "127.0.0.1", "--port", r.port, "--dir", r.dir, "--save", ""}, r.args...)
	r.cmd = exec.Command(need(r.t, "redis-server"), args...)
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	cmd := r.cmd
	r.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	eventually(r.t, "redis-server answers", func() (bool, string) {
		out, _ := exec.Command(need(r.t, "redis-cli"), "-p", r.port, "PING").CombinedOutput()
		text := strings.TrimSpace(string(out))
		return text == "PONG" || strings.HasPrefix(text, "NOAUTH"), text
	})
}

func (r *redisAt) kill() {
	r.t.Helper()
	if err := r.cmd.Process.Kill(); err != nil {
		r.t.Fatal(err)
	}
	_ = r.cmd.Wait()
}

// cli runs redis-cli, as a person would.
func (r *redisAt) cli(args ...string) string {
	r.t.Helper()
	out, err := exec.Command(need(r.t, "redis-cli"), append([]string{"-p", r.port}, args...)...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("redis-cli %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r *redisAt) url() string { return "redis://127.0.0.1:" + r.port }

// awaitConnected waits until both sources of the bridge say so, or one if there is one.
func awaitConnected(s *server, sources ...string) {
	s.t.Helper()
	for _, source := range sources {
		want := fmt.Sprintf("fanfare_redis_connected{source=%q} 1\n", source)
		eventually(s.t, want, func() (bool, string) {
			resp, err := http.Get(s.admin + "/metrics")
			if err != nil {
				s.t.Fatal(err)
			}
			defer resp.Body.Close()
			text, _ := io.ReadAll(resp.Body)
			return strings.Contains(string(text), want), ""
		})
	}
}

// The example of the README, as it stands there but for the port.
func TestReadmeRedisExample(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`go run ./cmd/fanfare (--redis-url redis://127\.0\.0\.1:6379 .*)\n`).FindStringSubmatch(string(readme))
	cli := regexp.MustCompile(`\nredis-cli (PUBLISH news hello)\n`).FindStringSubmatch(string(readme))
	if flags == nil || cli == nil {
		t.Fatal("README.md has no example of Redis")
	}
	r := startRedis(t)
	var args []string
	for _, word := range strings.Fields(flags[1]) {
		args = append(args, strings.Trim(strings.Replace(word, ":6379", ":"+r.port, 1), "'"))
	}
	s := start(t, args...)
	l := listen(t, "curl", "-sSN", s.url("news"))
	ticker := listen(t, "curl", "-sSN", s.url("ticker.acme"))
	s.awaitCount("news", 1)
	s.awaitCount("ticker.acme", 1)
	if n := r.cli(strings.Fields(cli[1])...); n != "1" {
		t.Errorf("PUBLISH reached %s", n)
	}
	r.cli("PUBLISH", "ticker.acme", `{"event":"price","data":{"eur":12}}`)
	for l.next() != "data: hello" {
	}
	for ticker.next() != "event: price" {
	}
	for ticker.next() != `data: {"eur":12}` {
	}
	if code := s.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A stream's key resumes by Last-Event-ID over a restart of Fanfare, although the history was quiet before it for
// longer than historyTTL, and over one of redis.
func TestRedisStreamResumesOverRestarts(t *testing.T) {
	r := startRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	env := []string{"FANFARE_REDIS_URL=" + r.url(), "FANFARE_REDIS_STREAMS=app:orders", "FANFARE_REDIS_KEYS=app:* -> *", "FANFARE_HISTORY_TTL=100ms"}
	s := (&server{t: t, env: env}).up()
	l := listen(t, "curl", "-sSN", s.url("orders"))
	s.awaitCount("orders", 1)
	first := r.cli("XADD", "app:orders", "*", "data", "one")
	for l.next() != "id: "+first {
	}
	s.stop(syscall.SIGTERM)
	r.cli("XADD", "app:orders", "*", "data", "two")
	s.restart()
	r.kill()
	r.up()
	awaitConnected(s, "streams")
	r.cli("XADD", "app:orders", "*", "data", "three", "event", "e")
	l = listen(t, "curl", "-sSN", "-H", "Last-Event-ID: "+first, s.url("orders"))
	var got []string
	for len(got) < 3 {
		if line := l.next(); strings.HasPrefix(line, "data: ") || line == "event: e" {
			got = append(got, line)
		}
	}
	if want := "data: two event: e data: three"; strings.Join(got, " ") != want {
		t.Errorf("%q, want %s", got, want)
	}
}

// Without redis the server starts, says what to do, and works; nothing tells the password.
func TestRedisIsAway(t *testing.T) {
	const password = "hunter2-secret"
	r := startRedis(t, "--requirepass", password)
	r.kill()
	s := (&server{t: t, args: []string{"--redis-channels", "news"}, env: []string{"FANFARE_REDIS_URL=redis://:" + password + "@127.0.0.1:" + r.port}}).up()
	l := listen(t, "curl", "-sSN", s.url("news"))
	s.awaitCount("news", 1)
	watcher := s.watch([]string{"news"}, "--raw")
	s.publish("news", `"by the API"`)
	for l.next() != "data: by the API" {
	}
	if resp, err := http.Get(s.admin + "/readyz"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("/readyz: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	record := s.log.find("cannot connect to redis: trying again, at least every 5s")
	if record == nil || record["reason"] != "refused" || record["hint"] != "nothing listens at that address: start redis, or correct redisURL" {
		t.Errorf("%v", record)
	}
	r.up()
	awaitConnected(s, "pubsub")
	for l.next() != "event: gap" {
	}
	r.cli("-a", password, "--no-auth-warning", "PUBLISH", "news", "back")
	for l.next() != "data: back" {
	}
	if first, second := watcher.next(), watcher.next(); first != "by the API" || second != "back" {
		t.Errorf("fanfare sub: %q, %q", first, second)
	}
	if want := `-- gap: an unknown number of events of "news" missed: the source of the key's events was unavailable`; !strings.Contains(watcher.log.String(), want) {
		t.Errorf("fanfare sub: %s", watcher.log)
	}
	if strings.Contains(s.log.String(), "secret") {
		t.Errorf("the log tells the password: %s", s.log)
	}
	code, printed, _ := run(t, []string{"FANFARE_REDIS_URL=redis://:" + password + "@h"}, "config", "print", "--redis-channels", "a")
	if code != 0 || strings.Contains(printed, "secret") || !strings.Contains(printed, "# redisURL: [redacted]") {
		t.Errorf("config print: %d\n%s", code, printed)
	}
}
