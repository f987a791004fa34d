//go:build linux

package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"fanfare/bench/peers/catalog"
	"fanfare/bench/peers/launch"
	"fanfare/bench/peers/report"
)

// readyWithin bounds how long nodes may refuse publishes until they have found their broker and each other.
const readyWithin = 30 * time.Second

// target is a fleet that runs.
type target struct {
	fleet            *Fleet
	streams, publish []string // addresses of each node
	patience         time.Duration
	usage            func() (nodes, broker usage)
	ended            func() error
	stop             func() error
}

// start starts the broker, then the nodes, and waits until each of them takes a publish.
func start(ctx context.Context, env *catalog.Env, f *Fleet) (*target, error) {
	ports, err := launch.FreePorts(1 + 2*Nodes)
	if err != nil {
		return nil, err
	}
	at := address(ports[0])
	broker, err := launch.Start(ctx, env, catalog.Peer{Name: f.Name + "'s broker", Plan: func(ctx context.Context, env *catalog.Env, _ catalog.Ports, dir string) (catalog.Plan, error) {
		args, err := f.Broker.command(ctx, env, dir, ports[0])
		return catalog.Plan{Commands: []catalog.Command{{Args: args}}}, err
	}}, func(ctx context.Context, _ catalog.Peer, _ catalog.Plan) error { return listens(ctx, at) })
	if err != nil {
		return nil, err
	}
	t := &target{fleet: f, patience: 3 * time.Second}
	for i := range Nodes {
		stream, publish := ports[1+2*i], ports[2+2*i]
		if f.OnePort {
			publish = stream
		}
		t.streams, t.publish = append(t.streams, address(stream)), append(t.publish, address(publish))
	}
	nodes, err := launch.Start(ctx, env, catalog.Peer{Name: f.Name, Plan: func(ctx context.Context, env *catalog.Env, _ catalog.Ports, dir string) (plan catalog.Plan, err error) {
		for i := range Nodes {
			args, err := f.Node(ctx, env, dir, at, i+1, ports[1+2*i], ports[2+2*i])
			if err != nil {
				return plan, err
			}
			plan.Commands = append(plan.Commands, catalog.Command{Args: args})
		}
		return plan, nil
	}}, func(ctx context.Context, _ catalog.Peer, _ catalog.Plan) error {
		for _, addr := range slices.Concat(t.streams, t.publish) {
			if err := listens(ctx, addr); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, broker.Stop())
	}
	t.usage = func() (usage, usage) { return groupsUsage(nodes.PIDs), groupsUsage(broker.PIDs) }
	t.ended = func() error { return errors.Join(nodes.Ended(), broker.Ended()) }
	t.stop = func() error { return errors.Join(nodes.Stop(), broker.Stop()) }
	if err := t.ready(ctx); err != nil {
		return nil, errors.Join(err, t.ended(), t.stop())
	}
	return t, nil
}

// ready waits until each node takes a publish. Before that a node may refuse everything, because it has not found its broker.
func (t *target) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for node := 0; node < len(t.publish); {
		c, err := dial(ctx, t.publish[node])
		if err == nil {
			err = errors.Join(c.publish(t.fleet, "ready", probe), c.Close())
		}
		if err == nil {
			node++
			continue
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not get ready: %w", t.fleet.Name, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// listens waits until somebody accepts connections.
func listens(ctx context.Context, addr string) error {
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nobody listens on %s: %w", addr, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Measure starts a fleet, runs the scenarios one after another, and stops it. A scenario that fails has an error instead of figures,
// and the next one runs if the fleet still does. The error is that of starting and stopping.
func Measure(ctx context.Context, env *catalog.Env, f *Fleet, scenarios []report.FleetScenario) (runs []report.FleetRun, err error) {
	t, err := start(ctx, env, f)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.stop()) }()
	for _, s := range scenarios {
		run := report.FleetRun{Fleet: f.Name, Scenario: s.Name}
		figures, err := t.measure(ctx, s)
		if err := errors.Join(err, t.ended()); err != nil {
			run.Error = err.Error()
		} else {
			run.Figures = figures
		}
		if runs = append(runs, run); ctx.Err() != nil {
			return runs, ctx.Err()
		}
	}
	return runs, nil
}
