package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanfare/bench/peers/catalog"
	"fanfare/bench/peers/check"
	"fanfare/bench/peers/launch"
	"fanfare/bench/peers/report"
)

// size is smaller than what the command checks: the tests are to be quick.
var size = check.Size{Subscribers: 20, Events: 50, Keys: 2}

// always are the peers that need nothing but Go, a C compiler and OpenSSL's headers: they must run everywhere.
var always = []string{"floor", "floor-go", "fanfare", "mercure", "centrifuge", "gosse", "r3labs", "floor-tls", "fanfare-tls", "mercure-tls",
	"nethttp-tls"}

func newEnv(t *testing.T) *catalog.Env {
	t.Helper()
	bin, err := os.MkdirTemp("", "peers-") // not t.TempDir: paths of Pushpin's sockets have a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(bin); err != nil {
			t.Error(err)
		}
	})
	env, err := catalog.NewEnv(t.Context(), bin)
	if err != nil {
		t.Fatal(err)
	}
	return env
}

// TestPeers starts every peer that is installed. The others are optional: the log says how to install them.
func TestPeers(t *testing.T) {
	env := newEnv(t)
	all, err := findPeers(t.Context(), env, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		t.Run(p.Name, func(t *testing.T) {
			if p.missing != nil {
				if slices.Contains(always, p.Name) {
					t.Fatal(p.missing)
				}
				t.Logf("not tested: %v", p.missing)
				return
			}
			running, err := launch.Start(t.Context(), env, p.Peer, check.Probe)
			if err != nil {
				t.Fatal(err)
			}
			if err := check.Run(t.Context(), p.Peer, running.Plan, size); err != nil {
				t.Error(err)
			}
			if err := errors.Join(running.Ended(), running.Stop()); err != nil {
				t.Error(err)
			}
			for _, base := range []string{running.Plan.Base, running.Plan.PublishBase} {
				u, err := url.Parse(base)
				if err != nil {
					t.Fatal(err)
				}
				if c, err := net.Dial("tcp", u.Host); err == nil {
					t.Errorf("%s still answers", u.Host)
					_ = c.Close()
				}
			}
		})
	}
	if left, err := filepath.Glob(filepath.Join(env.Bin, "run-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestStopReachesChildren stops a peer whose process ends at SIGTERM without ending what it has started.
func TestStopReachesChildren(t *testing.T) {
	env := newEnv(t)
	pids := filepath.Join(env.Bin, "pids")
	p := catalog.Peer{Name: "family", Plan: func(context.Context, *catalog.Env, catalog.Ports, string) (catalog.Plan, error) {
		return catalog.Plan{Commands: []catalog.Command{{Args: []string{"sh", "-c", "sleep 60 & echo $! >" + pids + "; wait"}}}}, nil
	}}
	written := func(ctx context.Context, _ catalog.Peer, _ catalog.Plan) error {
		for ctx.Err() == nil {
			if b, err := os.ReadFile(pids); err == nil && bytes.HasSuffix(b, []byte("\n")) {
				return nil
			}
			time.Sleep(5 * time.Millisecond)
		}
		return ctx.Err()
	}
	running, err := launch.Start(t.Context(), env, p, written)
	if err != nil {
		t.Fatal(err)
	}
	if err := running.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range running.PIDs {
		if syscall.Kill(-pid, 0) != syscall.ESRCH {
			t.Errorf("group %d is still there", pid)
		}
	}
}

// TestStartTellsWhy starts what ends at once.
func TestStartTellsWhy(t *testing.T) {
	env := newEnv(t)
	p := catalog.Peer{Name: "broken", Plan: func(context.Context, *catalog.Env, catalog.Ports, string) (catalog.Plan, error) {
		return catalog.Plan{Commands: []catalog.Command{{Args: []string{"sh", "-c", "echo no such setting >&2; exit 3"}}},
			Base: "http://127.0.0.1:9", PublishBase: "http://127.0.0.1:9"}, nil
	}}
	began := time.Now()
	_, err := launch.Start(t.Context(), env, p, check.Probe)
	if err == nil || !strings.Contains(err.Error(), "no such setting") {
		t.Fatalf("error %v; want what the process said", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %s to notice that the process had ended", took)
	}
}

// TestCompare is a whole comparison, as small as it can be, through fanload.
func TestCompare(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	args := []string{"run", "-peers", "floor-go,fanfare", "-subscribers", "20", "-rounds", "1", "-scenarios", "idle,one,keys,flight",
		"-duration", "300ms", "-settle", "100ms", "-hold", "100ms", "-out", dir}
	if err := command(t.Context(), args, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	doc, err := report.Read(filepath.Join(dir, "peers.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(doc.Runs) != 8 {
		t.Fatalf("%d runs; want 8", len(doc.Runs))
	}
	for _, r := range doc.Runs {
		if r.Figures == nil || len(r.Problems) > 0 {
			t.Errorf("%s %s: %v", r.Peer, r.Scenario.Kind, r.Problems)
		}
	}
	if err := command(t.Context(), []string{"report", "-json", filepath.Join(dir, "peers.json"), "-docs", dir}, &out); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"peers.md", "cpu-one.svg", "idle.svg", "benchmarks.md", "benchmarks/cpu-one.svg", "benchmarks/peers.json"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Contains(b, []byte("fanfare")) {
			t.Errorf("%s: %v, or it has no fanfare", name, err)
		}
	}
}

// TestCompareTLS is the same with TLS and HTTP/2, and the page of both. Everything must be encrypted alike, and resumed where that is
// measured.
func TestCompareTLS(t *testing.T) {
	dir := t.TempDir()
	small := []string{"-subscribers", "60", "-rounds", "1", "-duration", "300ms", "-settle", "100ms", "-hold", "100ms"}
	var out bytes.Buffer
	for _, args := range [][]string{
		{"run", "-peers", "floor", "-scenarios", "one", "-out", dir},
		{"run", "-tls", "-peers", "floor-tls,fanfare-tls", "-scenarios", "idle,event90,connect,resume,h2-idle,tabs", "-out", filepath.Join(dir, "tls")},
		{"report", "-json", filepath.Join(dir, "peers.json"), "-tls", filepath.Join(dir, "tls", "peers.json"), "-docs", dir},
		{"report", "-json", filepath.Join(dir, "peers.json"), "-docs", dir}, // finds the other's figures in the documentation
	} {
		if args[0] == "run" {
			args = append(args, small...)
		}
		if err := command(t.Context(), args, &out); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
	}
	doc, err := report.Read(filepath.Join(dir, "benchmarks", "tls.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(doc.Runs) != 10 {
		t.Fatalf("%d runs; want 10", len(doc.Runs))
	}
	for _, r := range doc.Runs {
		if r.Figures == nil || len(r.Problems) > 0 {
			t.Errorf("%s %s: %v", r.Peer, r.Scenario.Kind, r.Problems)
			continue
		}
		const suite = "TLS 1.3, TLS_AES_128_GCM_SHA256"
		full, resumed := r.Figures.Encryption[suite], r.Figures.Encryption[suite+", resumed"]
		want := int64(60)
		if n := r.Scenario.Streams; n > 0 {
			want = int64((60 + n - 1) / n)
		}
		if full+resumed != want || (resumed > 0) != (r.Scenario.Kind == report.Resume) {
			t.Errorf("%s %s: %v; want %d connections", r.Peer, r.Scenario.Kind, r.Figures.Encryption, want)
		}
	}
	page, err := os.ReadFile(filepath.Join(dir, "benchmarks.md"))
	for _, want := range []string{"## TLS and HTTP/2", "| floor-tls |", "per delivery, one key, 90 B", "per connect, resumed", "30 streams on a connection",
		"TLS 1.3, TLS_AES_128_GCM_SHA256: floor-tls, fanfare-tls"} {
		if err != nil || !bytes.Contains(page, []byte(want)) {
			t.Errorf("%v, or the page lacks %q", err, want)
		}
	}
	if err := command(t.Context(), append([]string{"run", "-peers", "floor", "-continue", "-out", filepath.Join(dir, "tls")}, small...), &out); err == nil ||
		!strings.Contains(err.Error(), "one comparison is with TLS") {
		t.Errorf("error %v", err)
	}
}

// TestContinue adds a round to a comparison, and refuses one of other servers.
func TestContinue(t *testing.T) {
	dir := t.TempDir()
	run := func(peers, scenarios string, more ...string) error {
		args := append([]string{"run", "-peers", peers, "-subscribers", "5", "-rounds", "1", "-scenarios", scenarios,
			"-duration", "100ms", "-settle", "100ms", "-hold", "100ms", "-out", dir}, more...)
		return command(t.Context(), args, &bytes.Buffer{})
	}
	if err := run("floor-go", "one", "-continue"); err == nil || !strings.Contains(err.Error(), "-continue") {
		t.Errorf("without an earlier comparison: %v", err)
	}
	for i, err := range []error{run("floor-go", "one"), run("floor-go", "idle,one", "-continue")} {
		if err != nil {
			t.Fatalf("run %d: %v", i+1, err)
		}
	}
	if err := run("floor-go,fanfare", "one", "-continue"); err == nil || !strings.Contains(err.Error(), "does not have fanfare") {
		t.Errorf("with another server: %v", err)
	}
	doc, err := report.Read(filepath.Join(dir, "peers.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range doc.Runs {
		got = append(got, fmt.Sprint(r.Scenario.Kind, r.Round))
	}
	if want := []string{"one1", "idle1", "one2"}; !slices.Equal(got, want) || doc.Rounds != 2 || len(doc.Scenarios) != 2 || len(doc.Commands) != 2 || strings.Contains(doc.Commands[1], dir) {
		t.Errorf("runs %v of %d rounds, %d scenarios, commands %q; want runs %v", got, doc.Rounds, len(doc.Scenarios), doc.Commands, want)
	}
}

func TestCommandRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"":                          "unknown command",
		"dance":                     "unknown command",
		"check -peers nobody":       "unknown",
		"run -subscribers 0":        "-subscribers 0",
		"run -subscribers many":     "is not a whole number",
		"run -scenarios tea":        "unknown",
		"run -rounds 99":            "-rounds 99",
		"run -duration 2h":          "-duration",
		"run -peers floor-tls":      "give -tls",
		"run -tls -peers floor":     "does not have TLS",
		"run 5":                     "unexpected arguments",
		"serve":                     "name one server",
		"report -json /nonexistent": "nonexistent",
	} {
		err := command(t.Context(), strings.Fields(args), &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("peers %s: error %v; want one with %q", args, err, want)
		}
	}
}
