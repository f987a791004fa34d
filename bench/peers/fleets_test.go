package main

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"fanfare/bench/peers/catalog"
	"fanfare/bench/peers/fleet"
)

// TestFleets measures each fleet that is installed, briefly: every event must reach every subscriber once. Centrifugo is built from its
// source, which takes minutes: in the long form only.
func TestFleets(t *testing.T) {
	env := newEnv(t)
	for _, f := range fleet.All() {
		if strings.HasPrefix(f.Name, "centrifugo") && os.Getenv("FANFARE_LONG") == "" {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			results, err := fleet.Measure(t.Context(), env, f, []fleet.Size{{Subscribers: 2, Events: 30, InFlight: 1}, {Subscribers: 1, Events: 60, InFlight: 8}})
			if missing := new(catalog.Missing); errors.As(err, &missing) && !strings.HasPrefix(f.Name, "fanfare") {
				t.Log(missing)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range results {
				if r.Lost != 0 || r.Again != 0 || r.Wrong != 0 || r.AckP50 <= 0 || r.DeliverP50 <= 0 || r.Rate <= 0 {
					t.Errorf("%+v", r)
				}
			}
		})
	}
}

func TestFleetTable(t *testing.T) {
	chosen, err := chooseFleets("fanfare-nats")
	if err != nil {
		t.Fatal(err)
	}
	sizes := []fleet.Size{{Subscribers: 1, Events: 10, InFlight: 1}, {Subscribers: 1, Events: 10, InFlight: 64}, {Subscribers: 101, Events: 10, InFlight: 1}}
	round := []fleet.Result{{AckP50: 1000, NodesCPU: 100_000}, {Rate: 77}, {NodesCPU: 3_100_000, Lost: 2}}
	table := fleetTable(chosen, map[string][][]fleet.Result{"fanfare-nats": {round}}, sizes)
	// 3 ms more for three times 100 subscribers more.
	if !strings.Contains(table, "| fanfare-nats | stored in JetStream | 1µs, 0s | 0s, 0s | 77 | 0s, 0s | 100µs, 0s | 10µs | 2, 0, 0 |") {
		t.Error(table)
	}
	for args, want := range map[string]string{
		"-peers nothing": `there is no fleet "nothing"`, "-subscribers 1": "too small", "more": "unexpected arguments",
	} {
		if err := compareFleets(t.Context(), strings.Fields(args), new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}
