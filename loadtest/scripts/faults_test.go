package scripts_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// caught is what the report must say of a fault: at least one of these thresholds fails. The second list must hold nevertheless:
// a fault isn't called by the name of another.
type caught struct{ names, not []string }

// order are the thresholds that name a fault of one event.
var order = []string{"sse_lost", "sse_duplicate", "sse_reordered", "sse_misrouted", "sse_malformed"}

// others are the thresholds of order that don't have one of these names.
func others(names ...string) []string {
	return slices.DeleteFunc(slices.Clone(order), func(name string) bool { return slices.Contains(names, name) })
}

var catches = map[string]caught{
	drops:       {[]string{"sse_lost"}, others("sse_lost")},
	duplicates:  {[]string{"sse_duplicate"}, others("sse_duplicate")},
	reorders:    {[]string{"sse_reordered"}, others("sse_reordered")},
	misroutes:   {[]string{"sse_misrouted"}, others("sse_misrouted")},
	halves:      {[]string{"sse_malformed"}, others("sse_malformed", "sse_lost")},
	cuts:        {[]string{"sse_disconnects"}, others("sse_lost", "sse_duplicate")},
	delays:      {[]string{"sse_event_latency{phase:live}"}, order},
	stalls:      {[]string{"sse_undelivered"}, order},
	deaf:        {[]string{"sse_undelivered{role:newcomer}"}, order},
	headOfLine:  {[]string{"sse_event_latency{consumer:fast}"}, others()},
	resets:      {[]string{"sse_connect_failed{reason:reset}"}, order},
	denies:      {[]string{"sse_connect_failed{reason:status}"}, order},
	neverAnswer: {[]string{"sse_connect_failed{reason:timeout}", "sse_connect_failed{reason:unanswered}"}, order},
	hangs:       {[]string{"events_unsent"}, order},
}

// claims are the faults that a script finds. What it doesn't name here isn't its affair: a storm is made of broken connections,
// and P99 is the latency of events only where the script is about that.
var claims = map[string][]string{
	"smoke.ts":           {drops, duplicates, reorders, misroutes, halves, delays, stalls, hangs},
	"connect-ramp.ts":    {drops, duplicates, reorders, misroutes, halves, cuts, stalls, resets, denies, neverAnswer},
	"connect-churn.ts":   {duplicates, misroutes, cuts, stalls, deaf, resets, denies, neverAnswer, hangs},
	"fanout.ts":          {drops, duplicates, reorders, misroutes, halves, cuts, delays, stalls, resets, denies, neverAnswer, hangs},
	"reconnect-storm.ts": {drops, duplicates, reorders, misroutes, halves, stalls, resets, denies, neverAnswer, hangs},
	"resume.ts":          {drops, duplicates, reorders, misroutes, halves, stalls, resets, denies, neverAnswer, hangs},
	"slow-consumer.ts":   {headOfLine, drops, duplicates, reorders, misroutes, halves, cuts, stalls, resets, denies, neverAnswer, hangs},
	"soak.ts":            {drops, duplicates, reorders, misroutes, halves, delays, stalls, resets, denies, neverAnswer, hangs},
	"publish.ts":         {drops, duplicates, reorders, misroutes, halves, cuts, stalls, resets, denies, neverAnswer, hangs},
}

// short is the part of the claims that each test run tries: each script, and each fault.
var short = [][2]string{
	{"smoke.ts", reorders}, {"connect-ramp.ts", resets}, {"connect-ramp.ts", denies}, {"connect-churn.ts", deaf}, {"connect-churn.ts", stalls},
	{"fanout.ts", drops}, {"fanout.ts", delays}, {"fanout.ts", cuts}, {"fanout.ts", neverAnswer}, {"fanout.ts", misroutes},
	{"reconnect-storm.ts", duplicates}, {"resume.ts", halves}, {"slow-consumer.ts", headOfLine}, {"soak.ts", stalls}, {"publish.ts", hangs},
}

// faultEnv is what a script needs besides small for a fault to show.
func faultEnv(script, fault string) []string {
	env := []string{"VUS=2", "STREAMS=5", "DURATION=2s", "DRAIN=3s", "CONNECT_TIME=3s", "P99=60000"}
	env = append(env, small[script]...)
	if script == "connect-ramp.ts" {
		env = append(env, "DURATION=5s") // it publishes one event a second
	}
	switch fault {
	case delays:
		env = append(env, "P99=500")
	case headOfLine:
		env = append(env, "P99=500", "RATE=60", "READ_DELAY=1s", "DRAIN=6s")
	}
	return env
}

// nameFor is a threshold's name in a script: some have those of some streams only.
func nameFor(script, name string) string {
	if script == "slow-consumer.ts" && (slices.Contains(order, name) || name == "sse_undelivered" || name == "sse_disconnects") {
		return name + "{consumer:fast}"
	}
	return name
}

// alternatives are other names that a script has for a fault.
func alternatives(script, fault string) []string {
	switch {
	case script == "resume.ts" && (fault == stalls || fault == hangs):
		return []string{"stream_complete", "checks"} // it counts itself, and has no schedule
	case script == "smoke.ts" && (fault == stalls || fault == hangs):
		return []string{"checks"}
	default:
		return nil
	}
}

// TestFaultsAreNamed: each script names the fault of a server, and only that, and fails.
func TestFaultsAreNamed(t *testing.T) {
	pairs := short
	if os.Getenv("FANFARE_LONG") != "" {
		pairs = nil
		for script, list := range claims {
			for _, fault := range list {
				pairs = append(pairs, [2]string{script, fault})
			}
		}
	}
	for _, pair := range pairs {
		script, fault := pair[0], pair[1]
		t.Run(script+" "+fault, func(t *testing.T) {
			t.Parallel()
			// On a busy machine a short run may end before the fault can show.
			var out string
			var status int
			for _, duration := range []string{"", "DURATION=10s", "DURATION=40s"} {
				env := append(plant(t, fault).env(), faultEnv(script, fault)...)
				if duration != "" {
					env = append(env, duration)
				}
				if out, status = runScript(t, k6, script, env...); status != 0 {
					break
				}
			}
			if status != thresholdsFailed {
				t.Errorf("exit status %d, want %d", status, thresholdsFailed)
			}
			want := catches[fault]
			named := alternatives(script, fault)
			for _, name := range want.names {
				named = append(named, nameFor(script, name))
			}
			fails := func(name string) bool { return strings.Contains(out, "  FAIL "+name+": ") }
			if !slices.ContainsFunc(named, fails) {
				t.Errorf("none of %q failed", named)
			}
			for _, name := range want.not {
				if fails(nameFor(script, name)) {
					t.Errorf("%s failed, which is another fault", nameFor(script, name))
				}
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

// TestWithoutFault: it is the fault that fails a run, not the server's being behind a proxy.
func TestWithoutFault(t *testing.T) {
	for _, script := range []string{"connect-churn.ts", "fanout.ts", "reconnect-storm.ts", "resume.ts"} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			if out, status := runScript(t, k6, script, append(plant(t, "").env(), faultEnv(script, "")...)...); status != 0 {
				t.Errorf("exit status %d\n%s", status, out)
			}
		})
	}
}

// TestClaimsAreWhole: every script claims some faults and is tried with one, and every fault is tried and claimed.
func TestClaimsAreWhole(t *testing.T) {
	scripts, err := filepath.Glob("*.ts")
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		if !slices.ContainsFunc(short, func(p [2]string) bool { return p[0] == script }) {
			t.Errorf("%s is tried with no fault", script)
		}
	}
	for _, fault := range faults {
		if _, ok := catches[fault]; !ok {
			t.Errorf("nothing says what names %q", fault)
		}
		if !slices.ContainsFunc(short, func(p [2]string) bool { return p[1] == fault }) {
			t.Errorf("%q is never tried", fault)
		}
	}
	for _, p := range short {
		if !slices.Contains(claims[p[0]], p[1]) {
			t.Errorf("%s is tried with %q, which it doesn't claim to find", p[0], p[1])
		}
	}
}
