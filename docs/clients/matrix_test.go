// Package clients_test runs other people's clients against the real server, and makes docs/clients.md from what it sees.
//
// Each scenario is written once and run for each client: results.json has what is expected to be seen, the page is made from it,
// and a test fails where either differs from what happens. After a change, look at what happens and accept it by
//
//	FANFARE_LONG=1 go test -count=1 -timeout 4h . -update
//
// with -run for a part (TestPage for the page alone, TestClients/undici, TestClients/.*/drain, TestProxies/nginx). Without
// FANFARE_LONG=1 one client of each kind runs through the shortest scenarios.
package clients_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"fanfare/internal/test/proctest"
)

var (
	update = flag.Bool("update", false, "accept what is seen: write results.json and the page")
	long   = os.Getenv("FANFARE_LONG") == "1"
)

// fanfare and driver are the server and the Go clients, built once by TestMain.
var fanfare, driver string

const resultsFile = "results.json"

// results is what results.json has.
var results struct {
	sync.Mutex
	// Tools are the versions of the programs that were there when it was written, as each of them tells it.
	Tools map[string]string `json:"tools"`
	// Facts are what was seen beside the expected, by client and scenario.
	Facts map[string]map[string][]string `json:"facts"`
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "fanfare-clients-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	fanfare, err = proctest.Build(dir, "../../cmd/fanfare")
	if err == nil {
		driver, err = proctest.Build(dir, "driver")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := readResults(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if *update {
		if err := writeResults(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

func readResults() error {
	text, err := os.ReadFile(resultsFile)
	if err == nil {
		err = json.Unmarshal(text, &results)
	}
	if err != nil && !*update {
		return err
	}
	if results.Facts == nil {
		results.Tools, results.Facts = make(map[string]string), make(map[string]map[string][]string)
	}
	return nil
}

func writeResults() error {
	text, err := json.MarshalIndent(&results, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(resultsFile, append(text, '\n'), 0o644); err != nil {
		return err
	}
	return writePage()
}

// TestClients runs each client through each scenario.
func TestClients(t *testing.T) {
	for _, c := range clients {
		for _, s := range scenarios {
			if !long && !(c.short && s.short) || s.skip != nil && s.skip(c) {
				continue
			}
			t.Run(caseName(c)+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				w := &world{t: t, client: c, origin: c.origin}
				s.run(w)
				compare(t, c, s.name, w.facts)
			})
		}
	}
}

// compare compares what was seen with what is expected, or makes it the expected.
func compare(t *testing.T, c client, column string, seen []string) {
	t.Helper()
	slices.Sort(seen)
	t.Logf("%s, %s: %q", c.name, column, seen)
	results.Lock()
	defer results.Unlock()
	want, measured := results.Facts[c.name][column]
	if *update {
		if results.Facts[c.name] == nil {
			results.Facts[c.name] = make(map[string][]string)
		}
		results.Facts[c.name][column] = append([]string{}, seen...)
		if c.tool != "" {
			results.Tools[c.tool] = toolVersion(t, c.tool)
		}
		return
	}
	if !measured {
		t.Fatalf("%s has no expectation; seen: %q. Accept it by -update", resultsFile, seen)
	}
	if !slices.Equal(seen, want) {
		t.Errorf("seen: %q; %s expects %q", seen, resultsFile, want)
	}
}

// toolVersion is the first number with a point in it that a program tells about itself.
func toolVersion(t *testing.T, name string) string {
	t.Helper()
	out, _ := exec.Command(proctest.Tool(t, name), "--version").CombinedOutput()
	for _, word := range strings.Fields(string(out)) {
		if word = strings.Trim(word, ",()"); strings.Contains(word, ".") && word[0] >= '0' && word[0] <= '9' {
			return word
		}
	}
	t.Fatalf("%s --version: %s", name, out)
	return ""
}
