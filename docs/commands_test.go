package docs_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/natstest"
	"fanfare/internal/test/proctest"
)

// documents are those whose commands are run. The plugin's are run by its own tests, recipes by TestRecipes.
var documents = []string{
	"../README.md", "../CONTRIBUTING.md", "architecture.md", "benchmarks.md", "configuration.md", "embed.md", "fanload.md", "nats.md", "operations.md",
	"performance.md", "protocol.md", "redis.md", "scaling.md", "schedule.md", "securing.md", "shell.md", "testing.md", "../bench/README.md", "../bench/peers/README.md", "../loadtest/README.md",
}

// how says what is done with a command that begins with start. Others are run as they stand, but for the ports of the server,
// and must succeed.
type how struct {
	start string
	with  []string // old, new: what differs besides, mostly how long it takes
	until string   // what it writes when it works, if it does not end by itself
	in    string   // the test that runs it, FILE:FUNCTION, or the file that does
	not   string   // why nothing runs it
}

const (
	asRoot  = "changes the machine, as root"
	minutes = "takes minutes; its parts are tested"
)

var commands = []how{
	// Servers and clients that do not end.
	{start: "go run ./cmd/fanfare", until: "curl"},
	{start: "go run ./cmd/fanfare pub"},
	{start: "curl -N ", until: "data: tick"},
	{start: "fanfare sub news sport", until: "tick"},
	{start: "fanfare sub news --json | jq", with: []string{"jq", "jq --unbuffered"}, until: `"data": "tick"`},
	{start: "fanfare sub news -n 1 --timeout 5s", with: []string{"5s", "5m"}},
	{start: "fanfare sub news --since", until: "gap"},
	{start: "fanfare sub news --rewind", until: "tick"},
	{start: "FANFARE_PUBLISH_TOKEN=$(openssl rand -hex 16) fanfare", with: []string{"--admin :", "--admin 127.0.0.1:"}, until: "oauth2-bearer"},
	{start: "fanfare --redis-url redis://127.0.0.1:6379", until: "curl"},
	{start: "go run ./cmd/fanfare --redis-url", until: "curl"},
	{start: "go tool nats-server", with: []string{"--jetstream", "--jetstream --addr 127.0.0.1 --port -1"}, until: "Server is ready"},
	{start: "go run ./cmd/fanfare --backplane nats", with: []string{":8090", "127.0.0.1:0", "127.0.0.1:8091", "127.0.0.1:0"}, until: "curl"},
	{start: "fanfare --nats-url nats://127.0.0.1:4222", until: "curl"},
	{start: "nats stream ", in: "../cluster/nats/restore_test.go:TestRestored"},
	{start: "nats pub ", in: "../cmd/fanfare/e2e_nats_test.go:TestNATSDocument"},

	// Less of the same.
	{start: "go test -race ./engine/...", with: []string{"-race", "-list ."}},
	{start: "go test -run '^$' -fuzz FuzzParser", with: []string{"30s", "1s"}},
	{start: "go test -run '^$' -bench", with: []string{"-bench", "-list"}}, // bench's own test runs all of them
	{start: "go test -run '^$' -bench . -benchtime", in: "../bench/bench_test.go:TestBenchmarks"},
	{start: "for i in 1 2 3 4 5 6; do go test", with: []string{"-bench", "-list", " 3 4 5 6", ""}},
	{start: "CGO_ENABLED=0 go build -trimpath", with: []string{"/usr/local/bin/", "./installed-"}},
	{start: "go build ./cmd/fanfare && go build ./cmd/fanload\n./fanfare &\n./fanload open", with: []string{"--subscribers 1000", "--subscribers 10", "p99<50ms", "p99<50s"}},
	{start: "go build ./cmd/fanfare && go build ./cmd/fanload\n./fanfare --pprof &", with: []string{"-n 5000 -d 30s", "-n 10 -d 3s", "-http 127.0.0.1:9999", "-top", "seconds=20", "seconds=1"}},
	{start: "fanload closed -n 5000 -k 500", with: []string{"-n 5000 -k 500", "-n 10 -k 2", "in-flight 64", "in-flight 2", "-d 10s", "-d 1s", "--server-pid PID", "--base http://127.0.0.1:8080 --publish-base http://127.0.0.1:8081"}},
	{start: "fanload open --preset none --subscribe", with: []string{"open", "open --subscribers 1 --duration 1s"}, until: "127.0.0.1:9000"},
	{start: "fanload open --base https://127.0.0.1:8443", until: "ca.pem"},
	{start: "fanload closed --http2", until: "ca.pem"},

	// Run by other tests.
	{start: "fanfare pub shop.42 hello --server https://live.example.com:8081", in: "../cmd/fanfare/e2e_publishers_test.go:TestPublishers"},
	{start: "go test -run TestProxy/nginx ./deploy", in: "../deploy/proxy_test.go:TestProxy"},
	{start: "scripts/test.sh", in: "../.ci/run"},
	{start: "go mod init", in: "embed_test.go:TestEmbed"},
	{start: "go mod edit", in: "embed_test.go:TestEmbed"},
	{start: "go mod tidy", in: "embed_test.go:TestEmbed"},
	{start: "go run .", in: "embed_test.go:TestEmbed"},
	{start: "(cd egg && npm test)", in: "../scripts/test.sh"},
	{start: "fanfare pub ", in: "shell_test.go:TestShellPub"},
	{start: "tail -f app.log | fanfare pub", in: "shell_test.go:TestShellPub"},
	{start: "docker build", in: "../deploy/docker_test.go:TestDockerBuild"},
	{start: "go build -o fanfare ./cmd/fanfare\ngo build -C loadtest", in: "../deploy/loadtest_test.go:TestLoadtestGuide"},
	{start: "go run . list", in: "../bench/peers/peers_test.go:TestPeers"},
	{start: "go run . check", in: "../bench/peers/peers_test.go:TestPeers"},
	{start: "go run . run", in: "../bench/peers/peers_test.go:TestCompare"},
	{start: "go run . fleet", in: "../bench/peers/fleets_test.go:TestCompareFleets"},
	{start: "go run . report", in: "../bench/peers/peers_test.go:TestCompare"},
	{start: "go run . serve", in: "../bench/peers/peers_test.go:TestPeers"},
	{start: "npm ci --no-audit", in: "../scripts/install.sh"},

	{start: "apt-get install", not: asRoot},
	{start: "bench/peers/server/nchan/build.sh", not: "fetches sources from the network"},
	{start: "install -m", not: asRoot},
	{start: "install -d", not: asRoot},
	{start: "systemctl ", not: asRoot},
	{start: "docker run", not: "needs a container engine"},
	{start: "go run golang.org/x/perf/cmd/benchstat", not: "needs measurements of some minutes"},
	{start: "bench/compare.sh", not: minutes},
	{start: "BENCH='Publish|Wake' bench/compare.sh", not: minutes},
	{start: "PKG=./engine COUNT=20 bench/compare.sh", not: minutes},
	{start: "ulimit -n 20000\n./fanfare &\nVUS=100", not: minutes},
	{start: "RUN=tuesday VUS=400", not: minutes},
}

// commandsOf are the commands of the blocks of a document that are a shell's. A block with a job in the background is one
// command, since its lines are of one shell.
func commandsOf(text string) (found []string) {
	prompt, background := regexp.MustCompile(`(?m)^(?:\w+)?[$#] `), regexp.MustCompile(`(?m) & | &(?: *#.*)?$`)
	for _, m := range regexp.MustCompile("(?ms)^```(console|sh)\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		var lines []string
		if m[1] == "console" {
			lines = prompt.Split(m[2], -1)[1:]
		} else {
			lines = strings.SplitAfter(m[2], "\n")
		}
		if background.MatchString(strings.Join(lines, "")) {
			lines = []string{strings.Join(lines, "")}
		}
		for _, line := range lines {
			if line = strings.TrimSpace(line); line != "" {
				found = append(found, line)
			}
		}
	}
	return found
}

// treatment is the longest entry of commands that fits.
func treatment(command string) (best *how) {
	for i := range commands {
		if h := &commands[i]; strings.HasPrefix(command, h.start) && (best == nil || len(h.start) > len(best.start)) {
			best = h
		}
	}
	return best
}

// TestCommands runs the commands of the documents as a reader would paste them, but for the ports, which may be taken here.
func TestCommands(t *testing.T) {
	dir := t.TempDir()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries { // a repository in which a build leaves nothing behind
		if e.Name() == "fanfare" || e.Name() == "fanload" || e.Name() == ".git" {
			continue
		}
		if err := os.Symlink(filepath.Join(root, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	fanfare := startFanfare(t, dir)
	example := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindStringSubmatch(read(t, "configuration.md"))
	if example == nil {
		t.Fatal("configuration.md has no example of a file")
	}
	if err := os.WriteFile(filepath.Join(dir, "fanfare.yaml"), []byte(example[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := proctest.Build(dir, "../cmd/fanload"); err != nil {
		t.Fatal(err)
	}
	redis := (&proctest.Redis{T: t}).Start()
	broker := (&natstest.Server{T: t}).Start()
	go publishTicks(t, fanfare.Admin)

	used := map[string]bool{}
	for _, document := range documents {
		for _, command := range commandsOf(withoutRecipes(read(t, document))) {
			h := treatment(command)
			if h == nil {
				h = &how{}
			}
			used[h.start] = true
			if h.in != "" {
				checkTest(t, h.in)
			}
			if h.in != "" || h.not != "" {
				continue
			}
			name, _, _ := strings.Cut(command, "\n")
			t.Run(filepath.Base(document)+" "+name, func(t *testing.T) {
				own := strings.Contains(command, "./fanfare ") // a server of the block's own
				s, a := fanfare.Stream, fanfare.Admin
				env := []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "FANFARE_LISTEN=127.0.0.1:0", "FANFARE_ADMIN=127.0.0.1:0",
					"FANFARE_STREAM=" + s + "/stream", "FANFARE_SERVER=" + a, "TOKEN=t"}
				if own {
					s, a = "http://"+proctest.FreeAddr(t), "http://"+proctest.FreeAddr(t)
					env = append(env, "FANFARE_LISTEN="+proctest.Addr(s), "FANFARE_ADMIN="+proctest.Addr(a))
				}
				text := strings.NewReplacer(h.with...).Replace(command)
				text = strings.NewReplacer("http://localhost:8080", s, "http://127.0.0.1:8080", s, "http://127.0.0.1:8081", a,
					":8081", ":0", "redis://127.0.0.1:6379", redis.URL(), "nats://127.0.0.1:4222", broker.URL(), "redis-cli ", "redis-cli -p "+proctest.Port(redis.Addr)+" ",
					"./fanload open ", "./fanload open --base "+s+" --publish-base "+a+" ", "./fanload closed ", "./fanload closed --base "+s+" --publish-base "+a+" ").Replace(text)
				if own { // the reader has typed the next line when the server is up
					text = regexp.MustCompile(`(?m)^(\./fanfare .*)$`).ReplaceAllString(text, "$1\nuntil curl -sf "+s+"/healthz; do sleep 0.1; done")
				}
				paste(t, dir, text, h.until, env)
			})
		}
	}
	for _, h := range commands {
		if !used[h.start] {
			t.Errorf("no document has a command that begins with %q: take it out", h.start)
		}
	}
}

// paste runs a command in a shell, until it has written the text or ends.
func paste(t *testing.T, dir, command, until string, env []string) {
	cmd := exec.Command("bash", "-ec", command)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = time.Second // a job in the background keeps the shell's output open
	p := proctest.Start(t, cmd)
	written := func() bool { return until != "" && strings.Contains(p.Log.String(), until) }
	if !eventually.Within(patience, func() bool { return written() || p.Ended() }) {
		t.Fatalf("%s\nis not done, %q was to be written", command, until)
	}
	if p.Ended() && (until == "" && p.Wait() != 0 || until != "" && !written()) {
		t.Fatalf("%s\n%v; %q was to be written", command, p.Cmd.ProcessState, until)
	}
}

// checkTest checks that the test is there: FILE:FUNCTION, or a file alone.
func checkTest(t *testing.T, place string) {
	t.Helper()
	file, function, _ := strings.Cut(place, ":")
	if text := read(t, file); function != "" && !strings.Contains(text, "func "+function+"(t *testing.T)") {
		t.Errorf("%s is not there any more", place)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// publishTicks gives subscribers something to show, until the test ends.
func publishTicks(t *testing.T, admin string) {
	for n := 0; t.Context().Err() == nil; n++ {
		resp, err := http.Post(fmt.Sprintf("%s/publish?key=%s", admin, url.QueryEscape([]string{"news", "log"}[n%2])), "application/json", strings.NewReader(`"tick"`))
		if err == nil {
			_ = resp.Body.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
}
