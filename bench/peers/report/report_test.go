package report

import (
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

// document has a peer for each case: the floor, one in all rounds, one with a problem, one that never ran, an outlier.
func document() *Document {
	d := &Document{
		Started: "2026-01-02T03:04:05Z", Commands: []string{"go run . run"}, Load: 0.25, Rounds: 3,
		Machine: Machine{Kernel: "6.1.0", CPU: "A CPU", CPUs: 2, Memory: 16_000_000_000, Go: "go1.26.0"},
		Peers: []Peer{
			{"floor", "gcc 12.2.0", "one thread"}, {"fanfare", "fanfare 1.0", "defaults"}, {"flawed", "v2", "a | b"},
			{"never", "v3", "settings"}, {"slow <&>", "v4", "settings"},
		},
		Absent: []Absent{{"absent", "it is missing; to install it: apt-get install it"}},
	}
	for _, n := range []int{1000, 18000} {
		d.Scenarios = append(d.Scenarios, Scenario{Kind: Idle, Subscribers: n, Keys: 1, Size: 64}, Scenario{Kind: One, Subscribers: n, Keys: 1, Size: 64})
	}
	cpu := map[string]float64{"floor": 6, "fanfare": 6.6, "flawed": 12.345, "slow <&>": 600}
	for round := 1; round <= 3; round++ {
		for _, s := range d.Scenarios {
			for _, p := range d.Peers {
				r := Run{Peer: p.Name, Scenario: s, Round: round}
				if base, ok := cpu[p.Name]; ok {
					v := base * (1 + float64(round-2)/20)
					r.Figures = &Figures{CPUPerDelivery: v, DeliveriesPerSecond: 1e6 / v, IdleBytes: 500 * v, BaseBytes: 1e6 * v, ConnectsPerSecond: 1e5 / v, OtherCores: v / 100}
				} else {
					r.Problems = []string{"never does not get ready:\nno | reason"}
				}
				if p.Name == "fanfare" && round == 3 && s.Kind == One && s.Subscribers == 18000 {
					r.Figures = nil // the run was too short
				}
				if p.Name == "flawed" && round == 2 && s.Kind == One {
					r.Problems = []string{"7 deliveries lost", "1 streams ended by the server"}
				}
				d.Runs = append(d.Runs, r)
			}
		}
	}
	return d
}

func TestGolden(t *testing.T) {
	d := document()
	files := d.Plots()
	if len(files) != 5 {
		t.Errorf("%d plots; want one for each view of the two kinds: 5", len(files))
	}
	golden(t, "peers.md", d.Markdown(""))
	golden(t, "cpu-one.svg", files["cpu-one.svg"])
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs from what is made now; if that is meant: go test ./report -update\n%s", path, got)
	}
}

func TestPlotsAreXML(t *testing.T) {
	for name, svg := range document().Plots() {
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func TestWriteAndRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	d := document()
	if err := d.Write(dir); err != nil {
		t.Fatal(err)
	}
	again, err := Read(filepath.Join(dir, "peers.json"))
	if err != nil {
		t.Fatal(err)
	}
	if again.Markdown("") != d.Markdown("") {
		t.Error("the table of the JSON file is another")
	}
}

func TestRatioIsWithinTheRound(t *testing.T) {
	d := document()
	// The machine is slower in round 3: both figures double, the ratio stays.
	for i := range d.Runs {
		if r := &d.Runs[i]; r.Round == 3 && r.Figures != nil {
			r.Figures.CPUPerDelivery *= 2
		}
	}
	s := d.stat("fanfare", &view{kind: One, value: func(f *Figures) float64 { return f.CPUPerDelivery }}, 1000)
	if s.ratio < 1.0999 || s.ratio > 1.1001 || s.n != 3 || s.flawed {
		t.Errorf("%+v; want a ratio of 1.1 in 3 rounds", s)
	}
}

// TestCells: a slow server is slow in the table and not absent, a percentile of a few events is none, and what was not warm is
// told.
func TestCells(t *testing.T) {
	d := &Document{Rounds: 2, Peers: []Peer{{Name: "floor"}, {Name: "slow"}}, Scenarios: []Scenario{{Kind: Burst, Subscribers: 10}, {Kind: Paced, Subscribers: 10}}}
	for round := 1; round <= 2; round++ {
		d.Runs = append(d.Runs,
			Run{Peer: "floor", Scenario: d.Scenarios[0], Round: round, Figures: &Figures{RoundP50: 1e6, Events: 5, Drift: 1}},
			Run{Peer: "slow", Scenario: d.Scenarios[0], Round: round, Figures: &Figures{RoundP50: 10e6, Events: 1, AtLeast: round == 2, Drift: 0.5}},
			Run{Peer: "floor", Scenario: d.Scenarios[1], Round: round, Figures: &Figures{LatencyP50: 1e3, LatencyP99: 2e3, Events: 100}},
			Run{Peer: "slow", Scenario: d.Scenarios[1], Round: round, Figures: &Figures{LatencyP50: 1e3, LatencyP99: 2e3, Events: 40}},
		)
	}
	text := d.Markdown("")
	for _, want := range []string{
		"| slow | >= 10.0 s (10.0 s–10.0 s) 10.00x |", "| slow | 1.00 ms (1.00 ms–1.00 ms) |", "| floor | 2.00 ms (2.00 ms–2.00 ms) |",
		"| slow | – (40 events) |", "- slow, burst, 10 subscribers: 0.50\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Contains(text, "- floor, burst") {
		t.Errorf("the floor did not change:\n%s", text)
	}
}

func TestShow(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{micros(6.234), "6.23 us"}, {micros(999), "999 us"}, {micros(15_300), "15.3 ms"}, {micros(2_500_000), "2.50 s"},
		{bytes(3200), "3.20 kB"}, {bytes(12), "12.0 B"}, {bytes(2e9), "2.00 GB"},
		{perSecond(2_123_456), "2,120,000/s"}, {perSecond(450), "450/s"}, {thousands(18000), "18,000"}, {thousands(100), "100"},
	} {
		if c.got != c.want {
			t.Errorf("%q; want %q", c.got, c.want)
		}
	}
}
