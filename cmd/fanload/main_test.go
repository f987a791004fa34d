package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/alecthomas/kong"
)

// TestMain lets the test binary be its own worker, as the program is.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args[1:], workerCommand) {
		main()
	}
	os.Exit(m.Run())
}

func fanload(args ...string) (status int, out, errs string) {
	var o, e strings.Builder
	status = execute(args, strings.NewReader(""), &o, &e)
	return status, o.String(), e.String()
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"", exitOK, "closed"},
		{"--help", exitOK, "stall"},
		{"stall --help", exitOK, "--percent"},
		{"version", exitOK, "fanload "},
		{"presets", exitOK, `"fanfare-batch"`},
		{"presets mercure", exitOK, ".well-known/mercure"},
		{"presets nothing", exitUsage, "give one of"},
		{"sprint", exitUsage, "sprint"},
		{"open --percent 3", exitUsage, "--percent"},
		{"open -n zero", exitUsage, "zero"},
		{"open --rate 0", exitUsage, "--rate 0"},
		{"open --preset nothing", exitUsage, "give one of"},
		{"open --batch 5", exitUsage, "fanfare-batch"},
		{"open --base http://192.0.2.1", exitUsage, "--allow-remote"},
		{"open --insecure", exitUsage, "no URL is"},
		{"open --base https://127.0.0.1:1 --ca /nowhere", exitUsage, "--ca: open /nowhere"},
		{"open --base https://127.0.0.1:1 -n 2 --insecure -d 1h", exitFailed, "connection refused"},
		{"open -t p99<5", exitUsage, "with its unit"},
		{"open -t rss_max<5MB", exitUsage, "--server-pid"},
		{"open --preset pushpin", exitUsage, "--subscribe is missing"},
		{"open --base http://127.0.0.1:1 --publish-base http://127.0.0.1:1 -n 2 -d 100ms", exitFailed, "connection refused"},
		{"open -t round_p99<5ms", exitUsage, "needs closed or burst"},
		{"open -t tls_p99<5ms", exitUsage, "needs an https:// address"},
		{"open -t reconnect_p99.9<5ms", exitUsage, "needs --reconnect"},
		{"open -t backpressure>=1", exitUsage, "needs the mode stall"},
		{"ramp -t p99<5ms", exitUsage, "needs --rate"},
		{"ramp -t worst_p99<5ms", exitUsage, "needs --rate"},
		{"ramp -t publish_max<5ms", exitUsage, "needs --rate"},
		{"open -k 3 --key same", exitUsage, `all 3 keys have the name "same"`},
		{"open -t p9.9<5ms", exitUsage, "there is no metric p9.9"},
		{"open -t lo.st==0", exitUsage, "there is no metric lo.st"},
		{"storm --every 3s -d 2s", exitUsage, "before the first storm"},
		{"storm --fraction 0", exitUsage, "--fraction 0"},
		{"churn --churn 0", exitUsage, "--churn 0"},
		{"stall --percent 0", exitUsage, "--percent 0"},
		{"open --json /nowhere/r.json -d 1h", exitUsage, "--json: open /nowhere/r.json"},
		{"open --html / -d 1h", exitUsage, "--html: open /: is a directory"},
		{"open --server-pid 1073741824", exitFailed, "no such process"},
	} {
		status, out, errs := fanload(strings.Fields(c.args)...)
		if status != c.status || !strings.Contains(out+errs, c.want) {
			t.Errorf("fanload %s: status %d, want %d; lacks %q\n%s%s", c.args, status, c.status, c.want, out, errs)
		}
	}
}

// TestHelpAndVersion are found by what people type.
func TestHelpAndVersion(t *testing.T) {
	for args, want := range map[string]string{
		"--version": "fanload (devel)", "-v": "fanload (devel)", "-V": "fanload (devel)", "version": "fanload (devel)",
		"help": "stall", "-help": "stall", "-h": "stall", "--help": "stall", "help open": "--rate", "help stall": "--stall-buffer", "open -h": "--rate",
		"help presets": "Print the presets",
	} {
		if status, out, errs := fanload(strings.Fields(args)...); status != exitOK || !strings.Contains(out, want) || errs != "" {
			t.Errorf("fanload %s: status %d, %s%s", args, status, out, errs)
		}
	}
	for args, want := range map[string]string{
		"opne":                  `unknown command "opne": use one of closed, open,`,
		"help nothing":          `unknown command "nothing": use one of`,
		"open extra":            "extra (fanload help open lists its flags)",
		"open --percent 3":      "--percent is a flag of stall, not of open",
		"open --nothing":        "unknown flag --nothing",
		"open --no-checks=3":    `without a value, or with =true or =false, not with "3"`,
		"open --insecure=maybe": `--insecure: "maybe" is not a boolean: write`,
		"open --subscribers":    "--subscribers: needs a value, such as 10: give 1 to 1000000",
		"open --keys --size 3":  `--keys: needs a value, such as 10, but "--size" follows: give`,
		"open --base":           "--base: needs a value",
		"open -d 5":             `--duration: "5" has no unit: write 5s, or 5ms for milliseconds: give 1ms to 168h`,
		"open -d soon":          `"soon" is not a duration: write`,
		"open -n 010":           `--subscribers: "010" is not a whole number`,
		"open -n 1e3":           `"1e3" is not a whole number`,
		"open --rate NaN":       `--rate: "NaN" is not a number: give 0 to 1000000`,
		"open --rate Inf":       `"Inf" is not a number`,
		"open --server-pid me":  `"me" is not a whole number: give the pid of a running process`,
		"open --key {{.X":       `--key "{{.X": the template cannot be parsed: unclosed action`,
		"open --progress maybe": `"auto","on","off"`,
		"presets nothing":       `unknown preset "nothing": give one of`,
	} {
		status, _, errs := fanload(strings.Fields(args)...)
		if status != exitUsage || !strings.Contains(errs, want) || strings.Contains(errs, "strconv") || strings.Contains(errs, "64 bit") {
			t.Errorf("fanload %s: status %d, want %q: %s", args, status, want, errs)
		}
	}
}

// TestRanges: each flag's range is the one that is checked, and both a value beyond it and one that is none name it.
func TestRanges(t *testing.T) {
	var g grammar
	model, err := kong.New(&g, valueMappers()...)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, mode := range model.Model.Children {
		for _, flag := range mode.Flags {
			text := flag.Tag.Get("range")
			if text == "" && (flag.Target.CanInt() || flag.Target.CanFloat()) {
				t.Errorf("fanload %s --%s has no range", mode.Name, flag.Name)
			}
			if text == "" || flag.Name == "server-pid" || seen[flag.Name+text] {
				continue
			}
			seen[flag.Name+text] = true // the same in each mode
			low, high, _ := strings.Cut(text, " to ")
			values := []string{"x", below(t, low)}
			if high != "" {
				values = append(values, strings.NewReplacer("168h", "168h0m1s").Replace(high))
				if !strings.HasSuffix(high, "h") {
					values[2] = high + "1" // ten times as much, at least
				}
			}
			for _, v := range values {
				args := []string{mode.Name, "--preset", "fanfare-batch", "--" + flag.Name + "=" + v}
				status, _, errs := fanload(args...)
				if status != exitUsage || !strings.Contains(errs, "--"+flag.Name) || !strings.Contains(errs, "give "+text) {
					t.Errorf("fanload %s: status %d, want \"give %s\": %s", strings.Join(args, " "), status, text, errs)
				}
			}
		}
	}
	if len(seen) < 25 {
		t.Errorf("%d flags have a range", len(seen))
	}
}

// below the low end of a range.
func below(t *testing.T, low string) string {
	switch low {
	case "0", "0 or more":
		return "-1"
	case "1":
		return "0"
	case "0s":
		return "-1s"
	case "1ms":
		return "999us"
	case "10ms":
		return "9ms"
	}
	t.Fatalf("what is below %q?", low)
	return ""
}

// echoServer sends what is posted to all streams.
func echoServer(t *testing.T) string {
	t.Helper()
	var mu sync.Mutex
	subs := map[chan string]bool{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			defer mu.Unlock()
			for c := range subs {
				c <- string(body)
			}
			return
		}
		c := make(chan string, 1000)
		mu.Lock()
		subs[c] = true
		mu.Unlock()
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				mu.Lock()
				delete(subs, c)
				mu.Unlock()
				return
			case d := <-c:
				_, _ = fmt.Fprintf(w, "data: %s\n\n", d)
			}
		}
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

func TestRunFromFlags(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	base := echoServer(t)
	args := []string{
		"open", "--preset", "none", "--subscribe", base + "/{{.Key}}", "--publish", base + "/", "--publish-header", "X-Token: secret",
		"-n", "10", "--rate", "200", "--events", "20", "--settle", "50ms", "--processes", "2", "--progress", "on", "--sample", "20ms",
		"--json", file("r.json"), "--html", file("r.html"), "-t", "lost==0", "-t", "deliveries==200", "-t", "p99<10s",
	}
	status, out, errs := fanload(args...)
	if status != exitOK || !strings.Contains(out, "held, 200") || !strings.Contains(errs, "deliveries") {
		t.Fatalf("status %d\n%s\n%s", status, out, errs)
	}
	b, err := os.ReadFile(file("r.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Command string
		Latency struct{ Count int }
	}
	if err := json.Unmarshal(b, &r); err != nil || r.Latency.Count != 200 {
		t.Errorf("%v, %+v", err, r)
	}
	if strings.Contains(r.Command, "secret") || !strings.Contains(r.Command, "'X-Token: …'") {
		t.Errorf("command %s", r.Command)
	}
	page, err := os.ReadFile(file("r.html"))
	if err != nil || !strings.Contains(string(page), "<polyline") {
		t.Errorf("page: %v", err)
	}
	status, out, _ = fanload(append(args, "-t", "lost>0", "--json", "-")...)
	if status != exitFailed || !json.Valid([]byte(out)) {
		t.Errorf("status %d of a threshold that fails; JSON on standard output: %.200s", status, out)
	}
}
