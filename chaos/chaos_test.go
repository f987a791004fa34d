// Package chaos_test runs fleets of servers and brokers as processes, breaks them, and lets subscribers account for every event.
//
// The short form of each fault takes some seconds: go test ./chaos. scripts/chaos.sh runs the long form.
package chaos_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"fanfare/internal/test/proctest"
)

var (
	binary string // of fanfare
	// long runs all faults, and those that need root. FANFARE_CHAOS is set by scripts/chaos.sh, for the largest loads, too.
	long = os.Getenv("FANFARE_CHAOS") != "" || os.Getenv("FANFARE_LONG") != ""
)

func TestMain(m *testing.M) {
	if os.Getenv(workerVariable) != "" {
		work()
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	// Most of the time the tests wait for elections and timeouts, so more of them run at once than there are processors.
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		if err := flag.Set("test.parallel", "5"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	code := proctest.Main(m, &binary, "../cmd/fanfare")
	results.print()
	return code
}

// table collects a row for each fault, for docs/reliability.md.
type table struct {
	mu   sync.Mutex
	rows []string
}

var results table

func (r *table) add(cells ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	row := "|"
	for _, c := range cells {
		row += fmt.Sprintf(" %v |", c)
	}
	r.rows = append(r.rows, row)
}

func (r *table) print() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.rows) == 0 {
		return
	}
	head := []string{"fault", "nodes, brokers", "subscribers", "confirmed, unknown, refused", "delivered", "gap events", "events that gaps account for", "longest publish", "verdict"}
	fmt.Printf("\n| %s |\n|%s\n%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)), strings.Join(r.rows, "\n"))
}
