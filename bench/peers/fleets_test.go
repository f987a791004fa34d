package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanfare/bench/peers/catalog"
	"fanfare/bench/peers/fleet"
	"fanfare/bench/peers/report"
)

// TestFleets starts each fleet that is installed, and runs the scenarios briefly: every event must reach every subscriber once, and in
// order if its broker has one. Centrifugo is built from its source, which takes minutes: in the long form only.
func TestFleets(t *testing.T) {
	env := newEnv(t)
	for _, f := range fleet.All() {
		if strings.HasPrefix(f.Name, "centrifugo") && os.Getenv("FANFARE_LONG") == "" {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			_, err := f.Versions(t.Context(), env)
			if missing := new(catalog.Missing); errors.As(err, &missing) && !strings.HasSuffix(f.Name, "-nats") {
				t.Log(missing)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			scenarios := fleet.Scenarios(3, 0.02)
			runs, err := fleet.Measure(t.Context(), env, &f, scenarios)
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range runs {
				if r.Error != "" {
					t.Errorf("%s: %s", r.Scenario, r.Error)
					continue
				}
				faults := r.Figures.Faults
				if f.Name == "centrifugo-nats" {
					faults.Overtaken = 0 // it answers before NATS has the event
				}
				s, x := scenarios[i], r.Figures
				if faults.Any() || x.Events != s.Events || x.Deliveries != s.Events*s.Subscribers*fleet.Nodes {
					t.Errorf("%s: %+v; want %d events for each of %d subscribers on %d nodes", s.Name, x, s.Events, s.Subscribers, fleet.Nodes)
				}
				if x.AckP50 <= 0 || x.Publishing <= 0 || x.NodesCPU <= 0 || x.BrokerCPU <= 0 || x.NodesBytes <= 0 || x.BrokerBytes <= 0 || x.Deliveries > 0 && x.DeliverP50 <= 0 {
					t.Errorf("%s: a figure is missing: %+v", s.Name, x)
				}
			}
		})
	}
}

// TestCompareFleets compares one fleet in two rounds, and makes the page of the documentation with its figures.
func TestCompareFleets(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	if err := command(t.Context(), []string{"fleet", "-peers", "fanfare-nats", "-rounds", "2", "-scale", "0.01", "-subscribers", "2", "-out", dir}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	doc, err := report.ReadFleets(filepath.Join(dir, "fleet.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(doc.Runs) != 2*len(doc.Scenarios) || doc.Runs[0].Round != 1 || doc.Runs[len(doc.Runs)-1].Round != 2 {
		t.Errorf("%+v", doc.Runs)
	}
	if !strings.HasSuffix(out.String(), doc.Markdown()) {
		t.Errorf("the table is not at the end of the output:\n%s", out.String())
	}
	const docs = "../../docs"
	if err := command(t.Context(), []string{"report", "-json", docs + "/benchmarks/peers.json", "-fleet", filepath.Join(dir, "fleet.json"), "-docs", dir}, &out); err != nil {
		t.Fatal(err)
	}
	if page, err := os.ReadFile(filepath.Join(dir, "benchmarks.md")); err != nil || !strings.Contains(string(page), doc.Markdown()) {
		t.Errorf("%v, or the page has no fleets", err)
	}
}

func TestFleetArguments(t *testing.T) {
	for args, want := range map[string]string{
		"-peers nothing": `"nothing" is unknown: give names of fanfare-nats`, "-subscribers 0": "at least 1", "-rounds 0": "at least 1", "-scale 0": "above 0",
		"more": "unexpected arguments", "-peers fanfare-nats,fanfare-nats": "twice",
	} {
		if err := compareFleets(t.Context(), strings.Fields(args), new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want an error with %q", args, err, want)
		}
	}
}
