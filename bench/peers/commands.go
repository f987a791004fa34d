package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"fanfare/bench/peers/catalog"
	"fanfare/bench/peers/check"
	"fanfare/bench/peers/launch"
)

// found is a peer with its version. If it is not installed, missing says how to install it.
type found struct {
	catalog.Peer
	version string
	missing error
}

// findPeers looks for the peers with the given names. A peer that is not installed is not an error: all of them are optional.
func findPeers(ctx context.Context, env *catalog.Env, names string) ([]found, error) {
	peers, err := catalog.Find(names)
	if err != nil {
		return nil, err
	}
	all := make([]found, len(peers))
	for i, p := range peers {
		all[i] = found{Peer: p}
		all[i].version, err = p.Version(ctx, env)
		if missing := new(catalog.Missing); errors.As(err, &missing) {
			all[i].version, all[i].missing = "", missing
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return all, nil
}

// prepare finds the peers with the given names, and an Env with a temporary folder for what is built. The returned function
// removes the folder.
func prepare(ctx context.Context, names string) (*catalog.Env, []found, func(), error) {
	env, remove, err := newEnvironment(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	all, err := findPeers(ctx, env, names)
	if err != nil {
		remove()
		return nil, nil, nil, err
	}
	return env, all, remove, nil
}

// newEnvironment makes the folder of the programs that are built. remove deletes it.
func newEnvironment(ctx context.Context) (env *catalog.Env, remove func(), err error) {
	bin, err := os.MkdirTemp("", "peers-")
	if err != nil {
		return nil, nil, err
	}
	remove = func() { _ = os.RemoveAll(bin) }
	if env, err = catalog.NewEnv(ctx, bin); err != nil {
		remove()
		return nil, nil, err
	}
	return env, remove, nil
}

// peerFlags reads the arguments of a command that has only the flag -peers.
func peerFlags(name string, args []string) (string, error) {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	peers := flags.String("peers", "", "names, separated by commas; if empty, all that are installed")
	if err := flags.Parse(args); err != nil {
		return "", err
	}
	if flags.NArg() > 0 {
		return "", fmt.Errorf("%s: unexpected arguments %q: it has only the flag -peers", name, flags.Args())
	}
	return *peers, nil
}

func list(ctx context.Context, args []string, out io.Writer) error {
	names, err := peerFlags("list", args)
	if err != nil {
		return err
	}
	_, all, remove, err := prepare(ctx, names)
	if err != nil {
		return err
	}
	defer remove()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, p := range all {
		state := p.version
		if p.missing != nil {
			state = "not installed: " + p.missing.Error()
		}
		fmt.Fprintf(w, "%s\t%s\n\t  %s\n", p.Name, state, p.Settings)
	}
	return w.Flush()
}

func checkAll(ctx context.Context, args []string, out io.Writer) error {
	names, err := peerFlags("check", args)
	if err != nil {
		return err
	}
	env, all, remove, err := prepare(ctx, names)
	if err != nil {
		return err
	}
	defer remove()
	var failed error
	for _, p := range all {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if p.missing != nil {
			fmt.Fprintf(out, "%-12s not installed: %v\n", p.Name, p.missing)
			continue
		}
		verdict := fmt.Sprintf("ok: each of %d subscribers on each of %d keys got each of %d events once, in order",
			check.Standard.Subscribers, check.Standard.Keys, check.Standard.Events)
		if err := checkOne(ctx, env, p.Peer); err != nil {
			verdict = "FAILED: " + err.Error()
			failed = errors.Join(failed, fmt.Errorf("%s failed", p.Name))
		}
		fmt.Fprintf(out, "%-12s %s\n", p.Name, verdict)
	}
	return failed
}

func checkOne(ctx context.Context, env *catalog.Env, peer catalog.Peer) error {
	running, err := launch.Start(ctx, env, peer, check.Probe)
	if err != nil {
		return err
	}
	err = check.Run(ctx, peer, running.Plan, check.Standard)
	return errors.Join(err, running.Ended(), running.Stop())
}

func serve(ctx context.Context, args []string, out io.Writer) error {
	names, err := peerFlags("serve", args)
	if err != nil {
		return err
	}
	env, all, remove, err := prepare(ctx, names)
	if err != nil {
		return err
	}
	defer remove()
	switch {
	case names == "" || len(all) != 1:
		return errors.New("serve: name one server with -peers")
	case all[0].missing != nil:
		return all[0].missing
	}
	running, err := launch.Start(ctx, env, all[0].Peer, check.Probe)
	if err != nil {
		return err
	}
	r := running.Peer.Routes
	fmt.Fprintf(out, "base %s\npublish base %s\npids %v\nsubscribe %s\npublish %s\n  headers %q\n  body %s\n",
		running.Plan.Base, running.Plan.PublishBase, running.PIDs, r.Subscribe, r.Publish, r.PublishHeaders, r.PublishBody)
	<-ctx.Done()
	return running.Stop()
}
