package matrix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"fanfare/bench/peers/catalog"
	"fanfare/bench/peers/check"
	"fanfare/bench/peers/launch"
	"fanfare/bench/peers/report"
)

// pause between two runs, in which sockets close and memory is released.
const pause = 500 * time.Millisecond

// Compare runs all peers in all scenarios. It runs them in rounds, so that a change of the machine affects all of them. Each run
// starts its server anew. doc has the peers, and the runs of an earlier comparison if it continues one. Compare adds scenarios,
// machine and runs to it, and calls save after each round. If ctx ends, Compare ends early with the results so far.
func Compare(ctx context.Context, env *catalog.Env, peers []catalog.Peer, o *Options, doc *report.Document, progress io.Writer,
	save func() error) error {
	fanload, err := env.Build(ctx, "fanload", env.Main(), "./cmd/fanload")
	if err != nil {
		return err
	}
	scenarios := o.Scenarios()
	if len(doc.Runs) == 0 {
		doc.Load = Load()
	}
	for _, s := range scenarios {
		if !slices.Contains(doc.Scenarios, s) {
			doc.Scenarios = append(doc.Scenarios, s)
		}
	}
	done, total := 0, 0
	for _, s := range scenarios {
		total += o.Rounds * len(able(peers, s))
	}
	for range o.Rounds {
		for i, s := range scenarios {
			round := doc.LastRound(s) + 1
			doc.Rounds = max(doc.Rounds, round)
			able := able(peers, s)
			for j := range able {
				// Begin with another peer each time.
				peer := able[(j+i+round)%len(able)]
				run := one(ctx, env, fanload, peer, s, o, doc)
				if ctx.Err() != nil {
					return errors.Join(ctx.Err(), save())
				}
				run.Round = round
				doc.Runs = append(doc.Runs, run)
				done++
				fmt.Fprintf(progress, "%4d/%d %s\n", done, total, line(run))
				time.Sleep(pause)
			}
		}
		if err := save(); err != nil {
			return err
		}
	}
	return nil
}

// able returns the peers that can do a scenario: HTTP/2 is not for all.
func able(peers []catalog.Peer, s report.Scenario) []catalog.Peer {
	return slices.DeleteFunc(slices.Clone(peers), func(p catalog.Peer) bool { return s.Streams > 0 && !p.HTTP2 })
}

// one makes one run of a peer: start, measure, stop.
func one(ctx context.Context, env *catalog.Env, fanload string, peer catalog.Peer, s report.Scenario, o *Options,
	doc *report.Document) report.Run {
	run := report.Run{Peer: peer.Name, Scenario: s}
	fail := func(err error) {
		if err != nil {
			run.Problems = append(run.Problems, err.Error())
		}
	}
	running, err := launch.Start(ctx, env, peer, check.Probe)
	if err != nil {
		fail(err)
		return run
	}
	defer func() { fail(running.Stop()) }()
	r, err := measure(ctx, fanload, env.Bin, s, o, running)
	fail(err)
	if r != nil {
		doc.Machine = r.Machine
		f, problems := figures(s, r)
		run.Figures, run.Problems = f, append(run.Problems, problems...)
	}
	fail(running.Ended())
	return run
}

func line(r report.Run) string {
	text := fmt.Sprintf("%-6s %6d  %-11s", r.Scenario.Kind, r.Scenario.Subscribers, r.Peer)
	if f := r.Figures; f != nil {
		text += fmt.Sprintf("  %6.2f us/delivery  %8.0f deliveries/s  p50 %.0f us  p99 %.0f us  publish p99 %.0f us  %.1f kB/subscriber  %.0f us/connect",
			f.CPUPerDelivery, f.DeliveriesPerSecond, f.LatencyP50, f.LatencyP99, f.PublishP99, f.IdleBytes/1000, f.CPUPerConnect)
	}
	if len(r.Problems) > 0 {
		text += "  † " + strings.Join(r.Problems, "; ")
	}
	return text
}

// Load is the one-minute load average, or 0 if it cannot be read.
func Load() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), " ")
	v, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return v
}
