// Command capacity computes what a fleet needs: nodes, cores, memory and network, and the same of its broker. It prints the arithmetic,
// and where each figure comes from:
//
//	go run ./bench/capacity --subscribers 1M --broadcasts 1 --events 100k --backplane nats
//
// The figures were measured on a small machine that was shared with other programs. The result is an order of magnitude: measure your own
// load with fanload before you buy.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(os.Stderr, "capacity: %v\n", err)
			os.Exit(2)
		}
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	q := question{
		keys: 0, bytes: 200, batch: 1, backplane: "nats", replicas: 3, retention: time.Hour,
		cores: 8, load: 0.5, streamsPerNode: 100_000, ping: 10 * time.Second,
	}
	flags := flag.NewFlagSet("capacity", flag.ContinueOnError)
	flags.SetOutput(stderr)
	count := func(name string, to *float64, usage string) {
		flags.Func(name, usage+fmt.Sprintf(" (default %s)", number(*to)), func(text string) (err error) {
			*to, err = parseCount(text)
			return err
		})
	}
	count("subscribers", &q.subscribers, "open streams, such as 100k or 1M")
	count("keys", &q.keys, "keys; 0: one for each subscriber")
	count("broadcasts", &q.broadcasts, "events a second to all subscribers")
	count("events", &q.events, "events a second, each to the subscriber of one key")
	count("bytes", &q.bytes, "size of an event on the wire")
	count("batch", &q.batch, "events in a publish request")
	count("replicas", &q.replicas, "NATS servers that store each event, 1 or 3")
	count("partitions", &q.partitions, "streams of NATS; 0: as many as are needed")
	count("cores", &q.cores, "cores of a node")
	count("load", &q.load, "share of a node's cores that may be used")
	count("streams-per-node", &q.streamsPerNode, "streams that a node may hold")
	flags.StringVar(&q.backplane, "backplane", q.backplane, "off, embedded, nats or redis")
	flags.BoolVar(&q.tls, "tls", false, "TLS ends in the nodes")
	flags.DurationVar(&q.retention, "retention", q.retention, "how long the log keeps events (retentionAge)")
	flags.DurationVar(&q.ping, "ping", q.ping, "pingInterval")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is not a flag: they begin with --", flags.Arg(0))
	}
	if q.keys == 0 {
		q.keys = q.subscribers
	}
	known, err := readFigures(figuresFile)
	if err != nil {
		return err
	}
	s, err := compute(q, known)
	if err != nil {
		return err
	}
	return s.write(stdout)
}

// parseCount reads 100k, 1.5M or 20.
func parseCount(text string) (float64, error) {
	factor := 1.0
	digits := text
	switch {
	case strings.HasSuffix(text, "k"):
		factor, digits = 1e3, strings.TrimSuffix(text, "k")
	case strings.HasSuffix(text, "M"):
		factor, digits = 1e6, strings.TrimSuffix(text, "M")
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || n < 0 || n > 1e12 {
		return 0, fmt.Errorf("%q is not a number: write 20, 100k or 1.5M", text)
	}
	return n * factor, nil
}
