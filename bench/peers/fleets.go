package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"fanfare/bench/peers/catalog"
	"fanfare/bench/peers/fleet"
)

// compareFleets measures each fleet with one publish at a time and with 64, with few subscribers and with many.
func compareFleets(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	flags.SetOutput(out)
	var (
		names       = flags.String("peers", "", "names of fleets, separated by commas; empty: all")
		subscribers = flags.Int("subscribers", 200, "subscribers of each node, where there are many")
		events      = flags.Int("events", 3000, "events of each measurement")
		rounds      = flags.Int("rounds", 1, "how often each fleet is started and measured; the medians are shown")
		folder      = flags.String("out", "results", "folder of fleet.json and fleet.md")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || *subscribers < 2 || *events < 1 || *rounds < 1 {
		return fmt.Errorf("fleet: unexpected arguments %q, or a number that is too small (subscribers 2, events 1, rounds 1)", flags.Args())
	}
	chosen, err := chooseFleets(*names)
	if err != nil {
		return err
	}
	bin, err := os.MkdirTemp("", "peers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	env, err := catalog.NewEnv(ctx, bin)
	if err != nil {
		return err
	}
	sizes := []fleet.Size{{Subscribers: 1, Events: *events, InFlight: 1}, {Subscribers: 1, Events: *events, InFlight: 64}, {Subscribers: *subscribers, Events: *events, InFlight: 1}}
	var failed error
	measured := map[string][][]fleet.Result{} // of each fleet, of each round, of each size
	for range *rounds {
		for _, f := range chosen {
			results, err := fleet.Measure(ctx, env, f, sizes)
			if missing := new(catalog.Missing); errors.As(err, &missing) {
				fmt.Fprintf(out, "%s: %v\n", f.Name, missing)
				continue
			}
			if err != nil {
				failed = errors.Join(failed, err)
				continue
			}
			measured[f.Name] = append(measured[f.Name], results)
		}
	}
	text := fleetTable(chosen, measured, sizes)
	encoded, err := json.MarshalIndent(measured, "", " ")
	if err := errors.Join(err, os.MkdirAll(*folder, 0o755), os.WriteFile(filepath.Join(*folder, "fleet.json"), encoded, 0o644),
		os.WriteFile(filepath.Join(*folder, "fleet.md"), []byte(text), 0o644)); err != nil {
		return err
	}
	_, err = io.WriteString(out, text)
	return errors.Join(failed, err)
}

func chooseFleets(names string) (chosen []fleet.Fleet, err error) {
	all := fleet.All()
	if names == "" {
		return all, nil
	}
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(f fleet.Fleet) bool { return f.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no fleet %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// fleetTable makes the table. The cost of a delivery is that of the additional subscribers.
func fleetTable(fleets []fleet.Fleet, measured map[string][][]fleet.Result, sizes []fleet.Size) string {
	few, flight, many := 0, 1, 2
	var b strings.Builder
	fmt.Fprintf(&b, "Three nodes and a broker on %d cores, which the clients share. Events of 60 bytes, %d of them; %d or %d subscribers of one key on each node.\n\n",
		runtime.NumCPU(), sizes[few].Events, sizes[few].Subscribers, sizes[many].Subscribers)
	b.WriteString("| fleet | 200 means | ack p50, p99 | ack, 64 in flight | events/s, 64 in flight | publish to delivery p50, p99 | CPU per event: nodes, broker | CPU per delivery | lost, twice, wrong order |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, f := range fleets {
		rounds := measured[f.Name]
		if len(rounds) == 0 {
			continue
		}
		of := func(size int, value func(fleet.Result) time.Duration) time.Duration {
			var all []time.Duration
			for _, r := range rounds {
				all = append(all, value(r[size]))
			}
			slices.Sort(all)
			return all[len(all)/2].Round(time.Microsecond)
		}
		faults := [3]int{}
		for _, r := range rounds {
			for _, x := range r {
				faults[0], faults[1], faults[2] = faults[0]+x.Lost, faults[1]+x.Again, faults[2]+x.Wrong
			}
		}
		more := time.Duration(fleet.Nodes * (sizes[many].Subscribers - sizes[few].Subscribers))
		delivery := func(r fleet.Result) time.Duration { return r.NodesCPU }
		fmt.Fprintf(&b, "| %s | %s | %s, %s | %s, %s | %.0f | %s, %s | %s, %s | %s | %d, %d, %d |\n", f.Name, f.Stored,
			of(few, func(r fleet.Result) time.Duration { return r.AckP50 }), of(few, func(r fleet.Result) time.Duration { return r.AckP99 }),
			of(flight, func(r fleet.Result) time.Duration { return r.AckP50 }), of(flight, func(r fleet.Result) time.Duration { return r.AckP99 }),
			rounds[len(rounds)/2][flight].Rate,
			of(few, func(r fleet.Result) time.Duration { return r.DeliverP50 }), of(few, func(r fleet.Result) time.Duration { return r.DeliverP99 }),
			of(few, func(r fleet.Result) time.Duration { return r.NodesCPU }), of(few, func(r fleet.Result) time.Duration { return r.BrokerCPU }),
			((of(many, delivery) - of(few, delivery)) / more).Round(100*time.Nanosecond), faults[0], faults[1], faults[2])
	}
	b.WriteString("\n")
	for _, f := range fleets {
		fmt.Fprintf(&b, "- %s: %s\n", f.Name, f.Settings)
	}
	return b.String()
}
