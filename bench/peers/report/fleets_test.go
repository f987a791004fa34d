package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fleets has a fleet in all rounds, one with faults, and one that failed in a scenario.
func fleets() *Fleets {
	f := &Fleets{
		Started: "2026-01-02T03:04:05Z", Command: "go run . fleet", Load: 0.25, Nodes: 3, Rounds: 3, EventSize: 64,
		Machine: Machine{Kernel: "Linux 6.1.0", CPU: "A CPU", CPUs: 2, Memory: 16_000_000_000, Go: "go1.26.0"},
		Fleets: []Fleet{
			{Peer{"good", "v1; broker v2", "settings"}, "stored"}, {Peer{"faulty", "v3", "a | b"}, "sent"}, {Peer{"fails", "v4", "settings"}, "stored"},
		},
		Absent: []Absent{{"absent", "it is missing; to install it: apt-get install it"}},
		Scenarios: []FleetScenario{
			{Name: "single", Keys: 1, Subscribers: 1, Publishers: 1, LockStep: true, WarmUp: 100, Events: 1000},
			{Name: "steady", Keys: 64, Subscribers: 1, Publishers: 64, Rate: 500, Events: 3000},
			{Name: "saturated", Keys: 64, Subscribers: 1, Publishers: 64, WarmUp: 4000, Events: 20_000},
			{Name: "fanout", Keys: 1, Subscribers: 200, Publishers: 1, LockStep: true, WarmUp: 50, Events: 300},
			{Name: "keys", Keys: 20_000, Publishers: 64, Events: 20_000},
		},
	}
	for round := 1; round <= 3; round++ {
		for i, x := range f.Fleets {
			for _, s := range f.Scenarios {
				run := FleetRun{Fleet: x.Name, Scenario: s.Name, Round: round}
				if x.Name == "fails" && s.Name == "saturated" {
					run.Error = "a stream ended:\nno | reason"
					f.Runs = append(f.Runs, run)
					continue
				}
				n := time.Duration(round + 10*i) // grows from round to round
				run.Figures = &FleetFigures{
					Events: s.Events, Deliveries: s.Events * s.Subscribers * 3, Publishing: n * time.Second,
					AckP50: n * time.Millisecond, AckP99: 2 * n * time.Millisecond, DeliverP50: 3 * n * time.Millisecond, DeliverP99: 4 * n * time.Millisecond,
					NodesCPU: n * time.Second, BrokerCPU: n * time.Second / 10, ClientCPU: n * time.Second, OtherCores: float64(round) / 100,
					NodesBytes: int64(n) * 1e7, BrokerBytes: int64(n) * 1e6, NodesGrowth: int64(n) * 1e6, BrokerGrowth: -int64(n) * 1e6,
				}
				if x.Name == "faulty" && round == 2 {
					run.Figures.Faults = FleetFaults{1, 2, 3, 4, 5}
				}
				f.Runs = append(f.Runs, run)
			}
		}
	}
	return f
}

func TestFleetsGolden(t *testing.T) { golden(t, "fleet.md", fleets().Markdown()) }

// TestFleetsInDocs writes the page with and without the figures of fleets.
func TestFleetsInDocs(t *testing.T) {
	dir := t.TempDir()
	if err := fleets().Write(dir); err != nil {
		t.Fatal(err)
	}
	read, err := ReadFleets(filepath.Join(dir, "fleet.json"))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "fleet.md")); err != nil || string(text) != read.Markdown() {
		t.Errorf("fleet.md is not what fleet.json gives: %v", err)
	}
	for _, f := range []*Fleets{nil, read} {
		if err := document().WriteDocs(dir, nil, f); err != nil {
			t.Fatal(err)
		}
		page, err := os.ReadFile(filepath.Join(dir, "benchmarks.md"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), "\n## Fleets\n") || strings.Contains(string(page), "| good |") != (f != nil) {
			t.Errorf("%s", page)
		}
	}
	if _, err := ReadFleets(filepath.Join(dir, "benchmarks", "fleet.json")); err != nil {
		t.Error(err)
	}
}
