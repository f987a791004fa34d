package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"fanfare/bench/peers/catalog"
	"fanfare/bench/peers/fleet"
	"fanfare/bench/peers/matrix"
	"fanfare/bench/peers/report"
)

// fleetFlags are the flags of "fleet".
type fleetFlags struct {
	peers, out          string
	subscribers, rounds int
	scale               float64
	set                 *flag.FlagSet
}

func parseFleet(args []string, out io.Writer) (*fleetFlags, error) {
	f := &fleetFlags{set: flag.NewFlagSet("fleet", flag.ContinueOnError)}
	f.set.SetOutput(out)
	f.set.StringVar(&f.peers, "peers", "", "names of fleets, separated by commas; if empty, all that are installed")
	f.set.IntVar(&f.subscribers, "subscribers", 200, "subscribers of each node, where there are many")
	f.set.Float64Var(&f.scale, "scale", 1, "factor for the numbers of events and keys; 0.05 is a quick try")
	f.set.IntVar(&f.rounds, "rounds", 3, "number of rounds; each starts and measures every fleet once. The medians are shown")
	f.set.StringVar(&f.out, "out", "results", "folder for fleet.json and fleet.md")
	if err := f.set.Parse(args); err != nil {
		return nil, err
	}
	if f.set.NArg() > 0 {
		return nil, fmt.Errorf("fleet: unexpected arguments %q: it has only flags, see fleet -h", f.set.Args())
	}
	if f.subscribers < 1 || f.rounds < 1 || f.scale <= 0 || f.scale > 100 {
		return nil, fmt.Errorf("fleet: -subscribers %d, -rounds %d, -scale %v: give at least 1, at least 1, and a number above 0, at most 100",
			f.subscribers, f.rounds, f.scale)
	}
	return f, nil
}

// compareFleets measures fleets, all of them in each round.
func compareFleets(ctx context.Context, args []string, out io.Writer) error {
	f, err := parseFleet(args, out)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	chosen, err := chooseFleets(f.peers)
	if err != nil {
		return err
	}
	env, remove, err := newEnvironment(ctx)
	if err != nil {
		return err
	}
	defer remove()
	doc := &report.Fleets{
		Started: time.Now().UTC().Format(time.RFC3339), Command: commandOf("fleet", f.set), Machine: fleet.Machine(), Load: matrix.Load(),
		Nodes: fleet.Nodes, Rounds: f.rounds, EventSize: fleet.EventSize, Scenarios: fleet.Scenarios(f.subscribers, f.scale),
	}
	if chosen, err = installedFleets(ctx, env, chosen, doc, out); err != nil {
		return err
	}
	var failed error
	for round := 1; round <= f.rounds; round++ {
		for i := range chosen { // each round begins with another fleet: a change on the machine affects all of them
			x := &chosen[(i+round-1)%len(chosen)]
			begin := time.Now()
			runs, err := fleet.Measure(ctx, env, x, doc.Scenarios)
			if err != nil && len(runs) == 0 {
				doc.Runs = append(doc.Runs, report.FleetRun{Fleet: x.Name, Scenario: "start", Round: round, Error: err.Error()})
			}
			for _, r := range runs {
				r.Round = round
				if doc.Runs = append(doc.Runs, r); r.Error != "" {
					err = errors.Join(err, fmt.Errorf("%s, %s: %s", r.Fleet, r.Scenario, r.Error))
				}
			}
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("round %d: %w", round, err))
			}
			fmt.Fprintf(out, "round %d of %d: %s, %.0f s%s\n", round, f.rounds, x.Name, time.Since(begin).Seconds(), outcome(err))
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if err := doc.Write(f.out); err != nil { // the rounds so far
			return err
		}
	}
	fmt.Fprintf(out, "written: %s/fleet.json and fleet.md\n\n%s", f.out, doc.Markdown())
	return failed
}

func outcome(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

// installedFleets returns those fleets that can be started, and notes them, and those that cannot, in the document.
func installedFleets(ctx context.Context, env *catalog.Env, chosen []fleet.Fleet, doc *report.Fleets, out io.Writer) (installed []fleet.Fleet, err error) {
	for _, x := range chosen {
		version, err := x.Versions(ctx, env)
		if missing := new(catalog.Missing); errors.As(err, &missing) {
			doc.Absent = append(doc.Absent, report.Absent{Name: x.Name, Why: missing.Error()})
			fmt.Fprintf(out, "%s is left out: %v\n", x.Name, missing)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", x.Name, err)
		}
		installed = append(installed, x)
		doc.Fleets = append(doc.Fleets, report.Fleet{Peer: report.Peer{Name: x.Name, Version: version, Settings: x.Settings}, Answer: x.Answer})
	}
	if len(installed) == 0 {
		return nil, errors.New("none of these fleets can be started")
	}
	return installed, nil
}

func chooseFleets(names string) (chosen []fleet.Fleet, err error) {
	all := fleet.All()
	if names == "" {
		return all, nil
	}
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(f fleet.Fleet) bool { return f.Name == strings.TrimSpace(name) })
		if i < 0 {
			var known []string
			for _, f := range all {
				known = append(known, f.Name)
			}
			return nil, fmt.Errorf("-peers: %q is unknown: give names of %s", name, strings.Join(known, ", "))
		}
		if slices.ContainsFunc(chosen, func(f fleet.Fleet) bool { return f.Name == all[i].Name }) {
			return nil, fmt.Errorf("-peers: %q is there twice", all[i].Name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}
