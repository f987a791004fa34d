package matrix

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fanfare/bench/peers/catalog"
	"fanfare/bench/peers/launch"
	"fanfare/bench/peers/report"
)

func TestScenarios(t *testing.T) {
	o := Options{Subscribers: []int{1000, 18000}, Kinds: Kinds, Rounds: 1}
	all := o.Scenarios()
	if len(all) != 2*len(Kinds) {
		t.Fatalf("%d scenarios", len(all))
	}
	for _, s := range all {
		switch s.Kind {
		case report.Keys:
			if s.Subscribers/s.Keys != perKey {
				t.Errorf("%+v: not %d subscribers on a key", s, perKey)
			}
		case report.Paced:
			if got := s.Rate * float64(s.Subscribers); got < perSecond*0.999 || got > perSecond*1.001 {
				t.Errorf("%+v: %g deliveries a second", s, got)
			}
		case report.Burst:
			if got := s.Burst * s.Subscribers; got > perBurst || got < perBurst*9/10 {
				t.Errorf("%+v: %d deliveries", s, got)
			}
		case report.Large:
			if s.Size != large || s.Keys != 1 {
				t.Errorf("%+v", s)
			}
		}
	}
}

func TestArguments(t *testing.T) {
	peer := &launch.Running{PIDs: []int{12, 34}, Plan: catalog.Plan{Base: "http://127.0.0.1:1", PublishBase: "http://127.0.0.1:2"}}
	peer.Peer.Routes = catalog.Routes{Subscribe: "S", Publish: "P", PublishBody: "B", PublishHeaders: []string{"H: 1"}, HoldsHead: true, InFlight: 7}
	o := &Options{Duration: 2 * time.Second, Settle: time.Second, Hold: 4 * time.Second}
	for kind, want := range map[report.Kind]string{
		report.Idle:   "ramp ready sent --duration 4s",
		report.One:    "closed --warmup-passes 50 --duration 2s --size 64",
		report.Large:  "closed --size 4096",
		report.Keys:   "closed --keys 100",
		report.Flight: "closed --keys 100 --publishes-in-flight 64 --warmup-passes 50",
		report.Paced:  "open --rate 20 --duration 5.05s",
		report.Burst:  "burst --burst 100",
	} {
		args := arguments(scenario(kind, 1000), o, peer, "F")
		line := strings.Join(args, " ")
		if mode, _, _ := strings.Cut(want, " "); args[0] != mode {
			t.Errorf("%s: mode %s; want %s", kind, args[0], mode)
		}
		for _, w := range strings.Split(want, " --")[1:] {
			if !strings.Contains(line, "--"+w) {
				t.Errorf("%s: %s\nlacks --%s", kind, line, w)
			}
		}
		for _, w := range []string{"--server-pid 12 --server-pid 34", "--publish-header H: 1", "--in-flight 7", "--ready sent", "--json F"} {
			if !strings.Contains(line, w) {
				t.Errorf("%s: %s\nlacks %s", kind, line, w)
			}
		}
	}
}

// TestTLSScenarios have their own numbers of subscribers, and flags of fanload.
func TestTLSScenarios(t *testing.T) {
	o := &Options{TLS: true, Kinds: TLSKinds, Rounds: 1, Duration: time.Second, Settle: time.Second, Hold: 4 * time.Second}
	if err := o.Check(); err != nil {
		t.Fatal(err)
	}
	peer := &launch.Running{Plan: catalog.Plan{Base: "https://127.0.0.1:1", PublishBase: "http://127.0.0.1:2", CA: "C"}}
	lines := map[string]string{}
	for _, s := range o.Scenarios() {
		lines[fmt.Sprint(s.Kind, " ", s.Subscribers)] = strings.Join(arguments(s, o, peer, "F"), " ") + " "
	}
	for name, want := range map[string]string{
		"idle 10000":     "ramp |--duration 4s ",
		"event90 1000":   "closed |--size 90 ",
		"event90 5000":   "closed |--size 90 ",
		"event500 1000":  "closed |--size 500 ",
		"event500 5000":  "closed |--size 500 ",
		"connect 5000":   "ramp |--duration 100ms ",
		"resume 5000":    "ramp |--duration 100ms |--resume-sessions --in-flight 16 ",
		"h2-idle 5000":   "ramp |--http2 --streams-per-connection 100 |--duration 4s ",
		"h2 5000":        "closed |--http2 --streams-per-connection 100 |--size 90 ",
		"tabs-idle 9000": "ramp |--http2 --streams-per-connection 30 |--duration 4s ",
		"tabs 9000":      "closed |--http2 --streams-per-connection 30 |--size 90 ",
	} {
		for _, w := range strings.Split(want+"|--ca C ", "|") {
			if !strings.Contains(lines[name], w) {
				t.Errorf("%s: %q lacks %q", name, lines[name], w)
			}
		}
	}
	if len(lines) != 11 {
		t.Errorf("%d scenarios; want 11", len(lines))
	}
	for _, c := range []struct {
		kind report.Kind
		text string
		bad  bool
	}{
		{report.Resume, `{"TLS 1.3, A": 10, "TLS 1.3, A, resumed": 89}`, true},
		{report.Resume, `{"TLS 1.3, A": 10, "TLS 1.3, A, resumed": 90}`, false},
		{report.Connect, `{"TLS 1.3, A": 99}`, false},
	} {
		var r result
		if err := json.Unmarshal([]byte(`{"connect":{"ciphers":`+c.text+`}}`), &r); err != nil {
			t.Fatal(err)
		}
		if _, problems := figures(scenario(c.kind, 99), &r); (len(problems) > 0) != c.bad {
			t.Errorf("%s %s: %v", c.kind, c.text, problems)
		}
	}
}

func TestFiguresTellEachProblem(t *testing.T) {
	const complete = `{"connect":{"asked":10,"connected":10},"deliveries":{"total":100,"measured":90}}`
	one := scenario(report.One, 1000)
	for text, want := range map[string]string{
		complete: "",
		`{"connect":{"asked":10,"connected":8},"deliveries":{"total":1,"measured":1}}`:                  "2 subscribers could not connect",
		`{"publish":{"failed":3,"round_timeouts":4,"unsent":5},"deliveries":{"total":1,"measured":1}}`:  "3 publish requests failed|4 rounds|5 events were never sent",
		`{"sequence":{"malformed":2},"deliveries":{"total":1,"measured":1}}`:                            "2 deliveries cut off",
		`{"sequence":{"lost":1,"duplicated":2,"out_of_order":3},"deliveries":{"total":1,"measured":1}}`: "1 deliveries lost|2 deliveries duplicated|3 deliveries out",
		`{"sequence":{"misrouted":1,"gap_events":2},"deliveries":{"total":1,"measured":1}}`:             "another key|2 gaps",
		`{"streams":{"ended":5,"behind_after_drain":6},"deliveries":{"total":1,"measured":1}}`:          "5 streams|6 subscribers still behind",
		`{"deliveries":{"total":0}}`: "nothing was delivered",
	} {
		var r result
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Fatal(err)
		}
		_, problems := figures(one, &r)
		all := strings.Join(problems, "; ")
		if want == "" && all != "" {
			t.Errorf("%s: %s", text, all)
		}
		for _, w := range strings.Split(want, "|") {
			if !strings.Contains(all, w) {
				t.Errorf("%s: %q lacks %q", text, all, w)
			}
		}
	}
	short := result{}
	short.Deliveries.Total = 9
	if f, problems := figures(one, &short); f != nil || len(problems) > 0 {
		t.Errorf("a run too short for its first event: %+v, %v", f, problems)
	}
	var r result
	if _, problems := figures(scenario(report.Idle, 10), &r); len(problems) > 0 {
		t.Errorf("idle: %v", problems)
	}
}

// TestDrift: what a run's second half costs by the first is told, pauses and the warm-up left out, and nothing if the kernel's
// clock is too coarse for it.
func TestDrift(t *testing.T) {
	for text, want := range map[string]float64{
		`[]`: 0,
		`[{"delivered":0,"cpu_us":0},{"delivered":100,"cpu_us":900000},{"delivered":200,"cpu_us":1900000,"latency":{}},{"delivered":300,"cpu_us":2900000,"latency":{}}]`:               1,
		`[{"delivered":100,"cpu_us":900000},{"delivered":200,"cpu_us":1900000,"latency":{}},{"delivered":300,"cpu_us":2400000,"latency":{}}]`:                                          0.5,
		`[{"delivered":100,"cpu_us":0},{"delivered":200,"cpu_us":500000,"latency":{}},{"delivered":200,"cpu_us":500000,"latency":{}},{"delivered":300,"cpu_us":2000000,"latency":{}}]`: 3,
		`[{"delivered":100,"cpu_us":0},{"delivered":200,"cpu_us":100000,"latency":{}},{"delivered":300,"cpu_us":900000,"latency":{}}]`:                                                 0,
	} {
		var r result
		if err := json.Unmarshal([]byte(`{"timeline":`+text+`}`), &r); err != nil {
			t.Fatal(err)
		}
		if got := r.drift(); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// TestPasses: every scenario is warm before it is measured: each key has had an event, and some code has been compiled.
func TestPasses(t *testing.T) {
	for _, n := range []int{10, 1000, 5000, 18000, 100_000} {
		for _, k := range Kinds {
			if s := scenario(k, n); passes(s) < 3 || passes(s)*n < warm && passes(s) < 100 {
				t.Errorf("%+v: %d passes", s, passes(s))
			}
		}
	}
}

func TestParse(t *testing.T) {
	kinds, err := ParseKinds("one, burst", Kinds)
	if err != nil || !slices.Equal(kinds, []report.Kind{report.One, report.Burst}) {
		t.Errorf("%v %v", kinds, err)
	}
	numbers, err := ParseNumbers("1000, 5000,1000")
	if err != nil || !slices.Equal(numbers, []int{1000, 5000}) {
		t.Errorf("%v %v", numbers, err)
	}
}
