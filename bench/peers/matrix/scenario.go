// Package matrix runs the comparison: the scenarios, their order, and each run of a peer with fanload.
package matrix

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"fanfare/bench/peers/report"
)

const (
	small = 64   // bytes of an event's data
	large = 4096 // bytes of a large event's data

	perKey    = 10      // subscribers on each of many keys
	perSecond = 20_000  // deliveries per second of the paced scenario: few enough for the slowest server
	perBurst  = 100_000 // deliveries of a burst
	mostBurst = 100     // at most this many events in a burst
	atOnce    = 64      // publishes in flight, each to another key
)

// Kinds are in their order within a round.
var Kinds = []report.Kind{report.Idle, report.One, report.Large, report.Keys, report.Flight, report.Paced, report.Burst}

// TLSKinds are those of a comparison with TLS, in their order within a round.
var TLSKinds = []report.Kind{report.Idle, report.Event90, report.Event500, report.Connect, report.Resume, report.H2Idle, report.H2, report.TabsIdle, report.Tabs}

const (
	perConnection = 100 // streams of HTTP/2
	perBrowser    = 30  // the same, of the scenarios with tabs
)

// tlsSubscribers are the numbers of subscribers in a comparison with TLS, if no others are given.
func tlsSubscribers(kind report.Kind) []int {
	switch kind {
	case report.Idle:
		return []int{10_000}
	case report.Event90, report.Event500:
		return []int{1000, 5000}
	case report.TabsIdle, report.Tabs:
		return []int{300 * perBrowser}
	default:
		return []int{5000}
	}
}

// Options are the options of a comparison.
type Options struct {
	TLS         bool
	Subscribers []int // if empty and TLS, as many as tlsSubscribers
	Kinds       []report.Kind
	Rounds      int
	Duration    time.Duration // of publishing, after the warm-up
	Settle      time.Duration // after the last connect
	Hold        time.Duration // of the connections in the scenario idle
}

// Bounds of the options, because a comparison must end.
const (
	mostSubscribers = 100_000
	mostRounds      = 20
	longest         = time.Minute
)

// Check refuses options out of bounds. The error names the flag.
func (o *Options) Check() error {
	if len(o.Subscribers) == 0 && !o.TLS || len(o.Kinds) == 0 {
		return fmt.Errorf("-subscribers and -scenarios need a value")
	}
	for _, n := range o.Subscribers {
		if n < 1 || n > mostSubscribers {
			return fmt.Errorf("-subscribers %d is out of range: give 1 to %d", n, mostSubscribers)
		}
	}
	if o.Rounds < 1 || o.Rounds > mostRounds {
		return fmt.Errorf("-rounds %d is out of range: give 1 to %d", o.Rounds, mostRounds)
	}
	for name, d := range map[string]time.Duration{"-duration": o.Duration, "-settle": o.Settle, "-hold": o.Hold} {
		if d < 100*time.Millisecond || d > longest {
			return fmt.Errorf("%s %s is out of range: give 100ms to %s", name, d, longest)
		}
	}
	return nil
}

// Scenarios returns the scenarios of the options, in their order.
func (o *Options) Scenarios() []report.Scenario {
	var all []report.Scenario
	if len(o.Subscribers) == 0 {
		for _, k := range o.Kinds {
			for _, n := range tlsSubscribers(k) {
				all = append(all, scenario(k, n))
			}
		}
	}
	for _, n := range o.Subscribers {
		for _, k := range o.Kinds {
			all = append(all, scenario(k, n))
		}
	}
	return all
}

func scenario(kind report.Kind, subscribers int) report.Scenario {
	s := report.Scenario{Kind: kind, Subscribers: subscribers, Keys: 1, Size: small}
	switch kind {
	case report.Large:
		s.Size = large
	case report.Keys:
		s.Keys = max(1, subscribers/perKey)
	case report.Flight:
		s.Keys = max(1, subscribers/perKey)
		s.InFlight = min(atOnce, s.Keys)
	case report.Paced:
		s.Rate = perSecond / float64(subscribers)
	case report.Burst:
		s.Burst = max(1, min(mostBurst, perBurst/subscribers))
	case report.Event90:
		s.Size = 90
	case report.Event500:
		s.Size = 500
	case report.H2Idle, report.H2:
		s.Size, s.Streams = 90, perConnection
	case report.TabsIdle, report.Tabs:
		s.Size, s.Streams = 90, perBrowser
	}
	return s
}

// silent reports whether a scenario has no events.
func silent(kind report.Kind) bool {
	return slices.Contains([]report.Kind{report.Idle, report.Connect, report.Resume, report.H2Idle, report.TabsIdle}, kind)
}

// ParseKinds reads a comma-separated list of some of the known kinds. "" means all of them.
func ParseKinds(text string, known []report.Kind) ([]report.Kind, error) {
	if text == "" {
		return known, nil
	}
	var all []report.Kind
	for _, w := range strings.Split(text, ",") {
		k := report.Kind(strings.TrimSpace(w))
		if !slices.Contains(known, k) {
			return nil, fmt.Errorf("-scenarios: %q is unknown: give some of %v", w, known)
		}
		all = append(all, k)
	}
	return all, nil
}

// ParseNumbers reads a comma-separated list of whole numbers.
func ParseNumbers(text string) ([]int, error) {
	var all []int
	for _, w := range strings.Split(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(w))
		if err != nil {
			return nil, fmt.Errorf("-subscribers: %q is not a whole number: write numbers separated by commas", w)
		}
		if !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return all, nil
}
