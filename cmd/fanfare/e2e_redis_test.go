package main_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// redisAt is a redis-server that a test talks to by redis-cli, as a person would.
type redisAt struct{ *proctest.Redis }

// startRedis runs redis-server until the end of the test.
func startRedis(t testing.TB, args ...string) redisAt {
	t.Helper()
	return redisAt{(&proctest.Redis{T: t, Args: args}).Start()}
}

// cli runs redis-cli, and returns what it prints.
func (r redisAt) cli(args ...string) string {
	r.T.Helper()
	out, err := exec.Command(proctest.Tool(r.T, "redis-cli"), append([]string{"-p", proctest.Port(r.Addr)}, args...)...).CombinedOutput()
	if err != nil {
		r.T.Fatalf("redis-cli %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// awaitConnected waits until both sources of the bridge say so, or one if there is one.
func awaitConnected(s server, sources ...string) {
	s.T.Helper()
	for _, source := range sources {
		want := fmt.Sprintf("fanfare_redis_connected{source=%q} 1\n", source)
		eventually.Holds(s.T, want, func() (bool, string) {
			_, metrics := s.Get("/metrics")
			return strings.Contains(metrics, want), metrics
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
		args = append(args, strings.Trim(strings.Replace(word, ":6379", ":"+proctest.Port(r.Addr), 1), "'"))
	}
	s := start(t, args...)
	l := listen(t, "curl", "-sSN", s.URL("news"))
	ticker := listen(t, "curl", "-sSN", s.URL("ticker.acme"))
	s.AwaitCount("news", 1)
	s.AwaitCount("ticker.acme", 1)
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
	if code := s.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A stream's key resumes by Last-Event-ID over a restart of Fanfare, although the history was quiet before it for
// longer than historyTTL, and over one of redis.
func TestRedisStreamResumesOverRestarts(t *testing.T) {
	r := startRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	env := []string{"FANFARE_REDIS_URL=" + r.URL(), "FANFARE_REDIS_STREAMS=app:orders", "FANFARE_REDIS_KEYS=app:* -> *", "FANFARE_HISTORY_TTL=100ms"}
	s := startWith(proctest.Server{T: t, Env: env})
	l := listen(t, "curl", "-sSN", s.URL("orders"))
	s.AwaitCount("orders", 1)
	first := r.cli("XADD", "app:orders", "*", "data", "one")
	for l.next() != "id: "+first {
	}
	s.Stop(syscall.SIGTERM)
	r.cli("XADD", "app:orders", "*", "data", "two")
	s.Restart()
	r.Kill()
	r.Start()
	awaitConnected(s, "streams")
	r.cli("XADD", "app:orders", "*", "data", "three", "event", "e")
	l = listen(t, "curl", "-sSN", "-H", "Last-Event-ID: "+first, s.URL("orders"))
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
	r.Kill()
	s := startWith(proctest.Server{T: t, Args: []string{"--redis-channels", "news"}, Env: []string{"FANFARE_REDIS_URL=redis://:" + password + "@" + r.Addr}})
	l := listen(t, "curl", "-sSN", s.URL("news"))
	s.AwaitCount("news", 1)
	watcher := s.watch([]string{"news"}, "--raw")
	s.Publish("news", `"by the API"`)
	for l.next() != "data: by the API" {
	}
	if status, body := s.Get("/readyz"); status != http.StatusOK {
		t.Errorf("/readyz: %d %s", status, body)
	}
	record := s.Log.Find("cannot connect to redis: trying again, at least every 5s")
	if record == nil || record["reason"] != "refused" || record["hint"] != "nothing listens at that address: start redis, or correct redisURL" {
		t.Errorf("%v", record)
	}
	r.Start()
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
	if strings.Contains(s.Log.String(), "secret") {
		t.Errorf("the log tells the password: %s", s.Log)
	}
	code, printed, _ := run(t, []string{"FANFARE_REDIS_URL=redis://:" + password + "@h"}, "config", "print", "--redis-channels", "a")
	if code != 0 || strings.Contains(printed, "secret") || !strings.Contains(printed, "# redisURL: [redacted]") {
		t.Errorf("config print: %d\n%s", code, printed)
	}
}
