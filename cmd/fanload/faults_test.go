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
	mode   string           // "": open, with 10 events to each key
	flags  []string         // besides those
	names  []string         // the counters above 0; all others must be 0
	exact  map[string]int64 // of them, where the number is known
	holds  []string         // thresholds that must hold
	says   string           // a part of what is said on standard error
	status int
}

// plantedFaults has 12 subscribers on 3 keys.
var plantedFaults = []planted{
	{fault: faulty.None, status: exitOK},
	{fault: faulty.Drops, names: []string{"sse_lost"}, exact: map[string]int64{"sse_lost": 12}, status: exitFailed},
	{fault: faulty.Drops, names: []string{"sse_lost"}, flags: []string{"--no-checks"}, status: exitOK},
	{fault: faulty.Drops, names: []string{"sse_lost"}, flags: []string{"-t", "sse_lost<=12"}, status: exitOK},
	{fault: faulty.Duplicates, names: []string{"sse_duplicate"}, exact: map[string]int64{"sse_duplicate": 12}, status: exitFailed},
	{fault: faulty.Reorders, names: []string{"sse_reordered"}, exact: map[string]int64{"sse_reordered": 12}, status: exitFailed},
	{fault: faulty.Misroutes, names: []string{"sse_misrouted"}, exact: map[string]int64{"sse_misrouted": 24}, status: exitFailed},
	{fault: faulty.Halves, names: []string{"sse_malformed"}, exact: map[string]int64{"sse_malformed": 12}, status: exitFailed},
	{
		fault: faulty.Halves, flags: []string{"--size", "64"}, names: []string{"sse_malformed"},
		exact: map[string]int64{"sse_malformed": 12}, status: exitFailed,
	},
	{fault: faulty.Stalls, names: []string{"sse_undelivered"}, exact: map[string]int64{"sse_undelivered": 12 * 7}, status: exitFailed},
	{fault: faulty.Cuts, flags: []string{"--reconnect"}, names: []string{"sse_disconnects"}, exact: map[string]int64{"sse_disconnects": 12}, status: exitOK},
	{fault: faulty.Cuts, names: []string{"sse_disconnects", "sse_undelivered"}, exact: map[string]int64{"sse_undelivered": 12 * 8}, status: exitFailed},
	{fault: faulty.Delays, flags: []string{"-t", "p50<600ms"}, status: exitFailed},
	{
		fault: faulty.Resets, names: []string{"sse_connect_failed"}, holds: []string{"lost==0"},
		exact: map[string]int64{"sse_connect_failed": 4, "sse_connect_failed{reason:reset}": 4}, status: exitFailed,
	},
	{
		fault: faulty.Refuses, names: []string{"sse_connect_failed"}, holds: []string{"lost==0"},
		exact: map[string]int64{"sse_connect_failed": 4, "sse_connect_failed{reason:status}": 4}, status: exitFailed,
	},
	{
		fault: faulty.NeverAnswers, names: []string{"sse_connect_failed"}, holds: []string{"lost==0"}, flags: []string{"--connect-timeout", "3s"},
		exact: map[string]int64{"sse_connect_failed": 4, "sse_connect_failed{reason:timeout}": 4}, status: exitFailed,
	},
	{fault: faulty.Rejects, names: []string{"events_refused"}, exact: map[string]int64{"events_refused": 10}, status: exitFailed},
	{
		fault: faulty.NeverAnswers, names: []string{"sse_connect_failed"}, flags: []string{"--connect-timeout", "3s", "-t", "sse_connect_failed{reason:timeout}<=4"},
		holds: []string{"head_max>=3s"}, status: exitOK,
	},
	{
		fault: faulty.NeverAnswers, names: []string{"sse_connect_failed"}, flags: []string{"--connect-timeout", "3s", "-t", "sse_connect_failed{reset}<=4"},
		status: exitFailed,
	},
	{
		fault: faulty.Redirects, names: []string{"sse_connect_failed"}, exact: map[string]int64{"sse_connect_failed{reason:redirect}": 12},
		status: exitFailed,
	},
	{
		fault: faulty.Compresses, names: []string{"sse_connect_failed"}, exact: map[string]int64{"sse_connect_failed{reason:encoding}": 12},
		status: exitFailed,
	},
	{
		fault: faulty.Deaf, mode: "storm", flags: []string{"--rate", "60", "--every", "400ms", "-d", "1500ms"},
		names: []string{"sse_undelivered"}, status: exitFailed,
	},
	{fault: faulty.None, mode: "stall", flags: append([]string{"--size", "4000"}, stalling...), holds: []string{"backpressure==3"}, status: exitOK},
	{fault: faulty.None, mode: "stall", flags: append([]string{"--size", "64"}, stalling...), holds: []string{"backpressure==0"}, says: "nothing was tested", status: exitFailed},
	{
		fault: faulty.HeadOfLine, mode: "stall", flags: append([]string{"--size", "4000"}, stalling...), names: []string{"sse_undelivered"},
		holds: []string{"backpressure==3"}, status: exitFailed,
	},
	{fault: faulty.None, mode: "churn", flags: churning, status: exitOK},
	{fault: faulty.Deaf, mode: "churn", flags: churning, names: []string{"sse_undelivered"}, status: exitFailed},
	{
		fault: faulty.None, mode: "churn", flags: []string{"--rate", "0.5", "--churn", "1", "-d", "500ms"},
		says: "nothing was tested", status: exitFailed,
	},
	{
		fault: faulty.Deaf, mode: "churn", flags: append([]string{"--ready", "sent"}, churning...),
		names: []string{"sse_undelivered"}, status: exitFailed,
	},
	{
		fault: faulty.Deaf, mode: "churn", flags: append([]string{"--processes", "2", "--no-checks", "-t", "lost==0"}, churning...),
		names: []string{"sse_undelivered"}, status: exitFailed,
	},
	{
		fault: faulty.HangsForAKey, mode: "open", flags: []string{"--rate", "60", "-d", "500ms", "--publish-timeout", "3s"},
		names: []string{"events_unsent", "events_unanswered"}, holds: []string{"deliveries==80"}, status: exitFailed,
	},
	{
		fault: faulty.Hangs, mode: "open", flags: []string{"--rate", "60", "-d", "500ms", "--publish-timeout", "1s"},
		names: []string{"events_unsent", "events_unanswered"}, holds: []string{"p50>500ms", "published<30"}, status: exitFailed,
	},
}

// stalling lets a quarter of the subscribers stop reading: the kernel takes 40 kB of each.
var stalling = []string{"--percent", "25", "--rate", "200", "-d", "1s"}

// churning lets most of the subscribers leave.
var churning = []string{"--rate", "60", "--churn", "40", "-d", "1500ms"}

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
				"--json", "-",
			}
			if mode == "" {
				mode, args = "open", append(args, "--rate", "60", "--events", "30")
			}
			for _, h := range c.holds {
				args = append(args, "-t", h)
			}
			status, out, errs := fanload(append(append([]string{mode}, args...), c.flags...)...)
			var r struct {
				Counters   report.Counters
				Thresholds []report.Verdict
			}
			if err := json.Unmarshal([]byte(out), &r); err != nil {
				t.Fatalf("%v: %s\n%s", err, out, errs)
			}
			if status != c.status || !strings.Contains(errs, c.says) {
				t.Errorf("status %d, want %d and %q: %s", status, c.status, c.says, errs)
			}
			for _, name := range slices.Sorted(maps.Keys(r.Counters)) {
				n := r.Counters[name]
				if base, _, _ := strings.Cut(name, "{"); slices.Contains(c.names, base) != (n > 0) {
					t.Errorf("%s is %d", name, n)
				}
			}
			for _, v := range r.Thresholds {
				if slices.Contains(c.holds, v.Threshold) && !v.Held {
					t.Errorf("%s does not hold: %s", v.Threshold, v.Shown)
				}
			}
			for name, want := range c.exact {
				if r.Counters[name] != want {
					t.Errorf("%s is %d, want %d", name, r.Counters[name], want)
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
