package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fanfare/bench/peers/catalog"
	"fanfare/bench/peers/matrix"
	"fanfare/bench/peers/report"
)

// compareFlags are the flags of "run".
type compareFlags struct {
	peers, scenarios, subscribers, out string
	more, tls                          bool
	options                            matrix.Options
	set                                *flag.FlagSet
}

func parseCompare(args []string, out io.Writer) (*compareFlags, error) {
	f := &compareFlags{}
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&f.peers, "peers", "", "names, separated by commas; if empty, all that are installed. Ratios need floor")
	flags.StringVar(&f.scenarios, "scenarios", "", "some of idle,one,large,keys,flight,paced,burst; with -tls of idle,event90,event500,connect,resume,h2-idle,h2,tabs-idle,tabs; if empty, all")
	flags.StringVar(&f.subscribers, "subscribers", "", "numbers of subscribers, separated by commas; if empty, 1000,5000,18000, and with -tls each scenario's own")
	flags.StringVar(&f.out, "out", "results", "folder for peers.json, peers.md and the plots")
	flags.BoolVar(&f.tls, "tls", false, "compare the servers with TLS instead of those without; ratios need floor-tls")
	flags.BoolVar(&f.more, "continue", false, "add to the results in peers.json of -out, for the same servers, instead of starting over")
	flags.IntVar(&f.options.Rounds, "rounds", 3, "number of rounds; each runs every server in every scenario")
	flags.DurationVar(&f.options.Duration, "duration", 3*time.Second, "time of publishing in a run")
	flags.DurationVar(&f.options.Settle, "settle", time.Second, "pause between the last connect and the first event")
	flags.DurationVar(&f.options.Hold, "hold", 3*time.Second, "how long the idle scenario holds its connections")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("run: unexpected arguments %q: it has only flags, see run -h", flags.Args())
	}
	f.set = flags
	var err1, err2 error
	kinds, subscribers := matrix.Kinds, f.subscribers
	if f.options.TLS = f.tls; f.tls {
		kinds = matrix.TLSKinds
	} else {
		subscribers = cmp.Or(subscribers, "1000,5000,18000")
	}
	if subscribers != "" {
		f.options.Subscribers, err1 = matrix.ParseNumbers(subscribers)
	}
	f.options.Kinds, err2 = matrix.ParseKinds(f.scenarios, kinds)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return f, f.options.Check()
}

// commandOf is the command that measures the same again. The folder of the results does not matter to it.
func commandOf(name string, set *flag.FlagSet) string {
	words := []string{"go run . " + name}
	set.Visit(func(each *flag.Flag) {
		switch {
		case each.Name == "out":
		case each.Name == "continue" || each.Name == "tls":
			words = append(words, "-"+each.Name)
		default:
			words = append(words, "-"+each.Name, each.Value.String())
		}
	})
	return strings.Join(words, " ")
}

func compare(ctx context.Context, args []string, out io.Writer) error {
	f, err := parseCompare(args, out)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	env, all, remove, err := prepare(ctx, f.peers)
	if err != nil {
		return err
	}
	defer remove()
	doc := &report.Document{
		Started: time.Now().UTC().Format(time.RFC3339), TLS: f.tls, Commands: []string{commandOf("run", f.set)},
	}
	var peers []catalog.Peer
	for _, p := range all {
		switch {
		case p.TLS == f.tls:
		case f.peers == "":
			continue
		case p.TLS:
			return fmt.Errorf("-peers: %s has TLS: give -tls, or leave it out", p.Name)
		default:
			return fmt.Errorf("-peers: %s does not have TLS: leave out -tls, or this server", p.Name)
		}
		if p.missing != nil {
			doc.Absent = append(doc.Absent, report.Absent{Name: p.Name, Why: p.missing.Error()})
			fmt.Fprintf(out, "%s is left out: %v\n", p.Name, p.missing)
			continue
		}
		peers = append(peers, p.Peer)
		doc.Peers = append(doc.Peers, report.Peer{Name: p.Name, Version: p.version, Settings: p.Settings})
	}
	if len(peers) == 0 {
		return errors.New("none of these servers is installed: go run . list says how to install them")
	}
	if f.more {
		earlier, err := report.Read(filepath.Join(f.out, "peers.json"))
		if err == nil {
			err = doc.Continue(earlier)
		}
		if err != nil {
			return fmt.Errorf("-continue: %w", err)
		}
	}
	save := func() error { return doc.Write(f.out) }
	if err := matrix.Compare(ctx, env, peers, &f.options, doc, out, save); err != nil {
		return err
	}
	fmt.Fprintf(out, "written: %s/peers.json, peers.md and plots\n", f.out)
	return nil
}

// rewrite makes the tables and plots again from a JSON file.
func rewrite(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("report", flag.ContinueOnError)
	file := flags.String("json", "results/peers.json", "file that \"run\" has written")
	dir := flags.String("out", "results", "folder for the table and the plots")
	docs := flags.String("docs", "", "write the page benchmarks.md and the folder benchmarks into this folder of documentation instead of -out")
	secure := flags.String("tls", "", "with -docs: file that \"run -tls\" has written; if empty, benchmarks/tls.json of -docs, if it exists")
	fleetFile := flags.String("fleet", "", "with -docs: file that \"fleet\" has written; if empty, benchmarks/fleet.json of -docs, if it exists")
	if err := flags.Parse(args); err != nil {
		return err
	}
	doc, err := report.Read(*file)
	if err != nil {
		return err
	}
	if *docs != "" {
		second, err := readDocs(report.Read, *secure, *docs, "tls.json")
		if err != nil {
			return err
		}
		fleets, err := readDocs(report.ReadFleets, *fleetFile, *docs, "fleet.json")
		if err != nil {
			return err
		}
		if err := doc.WriteDocs(*docs, second, fleets); err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "written: %s/benchmarks.md\n", *docs)
		return err
	}
	if err := doc.Write(*dir); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "written: %s/peers.md and plots\n", *dir)
	return err
}

// readDocs reads one of the other comparisons for the documentation: the file, or if it is empty, that in the folder benchmarks of the
// documentation. It returns nil if there is none.
func readDocs[T any](read func(string) (*T, error), file, docs, name string) (*T, error) {
	if file != "" {
		return read(file)
	}
	doc, err := read(filepath.Join(docs, "benchmarks", name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return doc, err
}
