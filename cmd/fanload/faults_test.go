//go:build linux

package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"fanfare/cmd/fanload/faulty"
	"fanfare/cmd/fanload/report"
)

// planted is a fault, and what a run against it must say.
type planted struct {
	fault  faulty.Fault
	mode   string
	flags  []string
	names  []string         // the counters above 0; all others must be 0
	exact  map[string]int64 // of them, where the number is known
	status int
}

// plantedFaults has 12 subscribers on 3 keys, 10 events to each key.
var plantedFaults = []planted{
	{fault: faulty.None, status: exitOK},
	{fault: faulty.Drops, names: []string{"sse_lost"}, exact: map[string]int64{"sse_lost": 12}},
	{fault: faulty.Duplicates, names: []string{"sse_duplicate"}, exact: map[string]int64{"sse_duplicate": 12}},
	{fault: faulty.Reorders, names: []string{"sse_reordered"}, exact: map[string]int64{"sse_reordered": 12}},
	{fault: faulty.Misroutes, names: []string{"sse_misrouted"}, exact: map[string]int64{"sse_misrouted": 24}},
	{fault: faulty.Cuts, flags: []string{"--reconnect"}, names: []string{"sse_disconnects"}, exact: map[string]int64{"sse_disconnects": 12}},
	{fault: faulty.Delays, flags: []string{"-t", "p50<600ms"}, status: exitFailed},
}

// TestFaultsAreNamed: each fault of a server is told by its name, no other one is, and the exit status follows.
func TestFaultsAreNamed(t *testing.T) {
	for _, c := range plantedFaults {
		t.Run(c.mode+" "+string(c.fault), func(t *testing.T) {
			t.Parallel()
			server := faulty.Start(c.fault)
			defer server.Close()
			mode, args := c.mode, []string{
				"--preset", "none", "--base", server.URL, "--publish-base", server.URL, "--subscribe", "{{.Base}}/s?k={{urlquery .Key}}",
				"--publish", "{{.PublishBase}}/p?k={{urlquery .Key}}", "-n", "12", "-k", "3", "--settle", "50ms", "--drain", "5s",
				"--connect-timeout", "1s", "--publish-timeout", "1s", "--json", "-",
			}
			if mode == "" {
				mode, args = "open", append(args, "--rate", "60", "--events", "30")
			}
			status, out, errs := fanload(append(append([]string{mode}, args...), c.flags...)...)
			var r struct{ Counters report.Counters }
			if err := json.Unmarshal([]byte(out), &r); err != nil {
				t.Fatalf("%v: %s\n%s", err, out, errs)
			}
			if status != c.status {
				t.Errorf("status %d, want %d: %s", status, c.status, errs)
			}
			for _, name := range slices.Sorted(maps.Keys(r.Counters)) {
				n := r.Counters[name]
				if base, _, _ := strings.Cut(name, "{"); slices.Contains(c.names, base) != (n > 0) {
					t.Errorf("%s is %d", name, n)
				}
				if want, ok := c.exact[name]; ok && n != want {
					t.Errorf("%s is %d, want %d", name, n, want)
				}
			}
			for _, name := range c.names {
				if _, ok := r.Counters[name]; !ok {
					t.Errorf("there is no counter %s", name)
				}
			}
		})
	}
}
