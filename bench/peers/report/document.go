// Package report holds what a comparison has measured, and makes its table and plots.
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Document is a whole comparison; it is what the JSON file has.
type Document struct {
	Started   string     `json:"started"`  // RFC 3339
	Commands  []string   `json:"commands"` // more than one: rounds were added
	Machine   Machine    `json:"machine"`
	Load      float64    `json:"load"` // the machine's one-minute load average before the first run
	Rounds    int        `json:"rounds"`
	Peers     []Peer     `json:"peers"`
	Absent    []Absent   `json:"absent,omitempty"`
	Scenarios []Scenario `json:"scenarios"`
	Runs      []Run      `json:"runs"`
}

// Machine on which it was measured.
type Machine struct {
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Memory int64  `json:"memory_bytes"`
	Go     string `json:"go"`
}

// Peer that was compared.
type Peer struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Settings string `json:"settings"`
}

// Absent is a peer that was not installed.
type Absent struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// Kind of a scenario.
type Kind string

// The kinds.
const (
	Idle   Kind = "idle"   // connect, and hold
	One    Kind = "one"    // one key; the next event when all have the last
	Large  Kind = "large"  // the same with large events
	Keys   Kind = "keys"   // the same with many keys
	Flight Kind = "flight" // the same with many publishes in flight
	Paced  Kind = "paced"  // one key, events at fixed times
	Burst  Kind = "burst"  // one key, many events at once
)

// Scenario is what each peer does in a round.
type Scenario struct {
	Kind        Kind    `json:"kind"`
	Subscribers int     `json:"subscribers"`
	Keys        int     `json:"keys"`
	Size        int     `json:"size"`                // bytes of an event's data
	Rate        float64 `json:"rate,omitempty"`      // paced: events a second
	Burst       int     `json:"burst,omitempty"`     // burst: events at once
	InFlight    int     `json:"in_flight,omitempty"` // flight: publishes at once
}

// Run of one peer. A run that could not be carried out has no figures, and problems that say why.
type Run struct {
	Peer     string   `json:"peer"`
	Scenario Scenario `json:"scenario"`
	Round    int      `json:"round"`             // from 1
	Figures  *Figures `json:"figures,omitempty"` // none, without problems: the run was too short for the server's first event
	// Problems tell what was not delivered as it should; none: every subscriber got everything once, in order.
	Problems []string `json:"problems,omitempty"`
}

// Figures of a run. Times are microseconds.
type Figures struct {
	BaseBytes           float64 `json:"base_bytes"`       // resident before the first subscriber
	IdleBytes           float64 `json:"idle_bytes"`       // resident for each subscriber, at the end of the hold
	ConnectsPerSecond   float64 `json:"connects_per_s"`   // up to the head
	CPUPerDelivery      float64 `json:"cpu_us"`           // of the server
	DeliveriesPerSecond float64 `json:"deliveries_per_s"` // from a publish to its last delivery
	LatencyP50          float64 `json:"latency_p50_us"`   // from when the event was due to its delivery
	LatencyP99          float64 `json:"latency_p99_us"`
	PublishP50          float64 `json:"publish_p50_us"` // of the publish request
	PublishP99          float64 `json:"publish_p99_us"`
	RoundP50            float64 `json:"round_p50_us"`       // from a publish to its last delivery
	AtLeast             bool    `json:"at_least,omitempty"` // RoundP50 is what had passed when a round was given up
	Events              int     `json:"events"`             // that were measured
	Drift               float64 `json:"drift,omitempty"`    // CPU per delivery in the second half of the run by that in the first; 0: too short to say
	ServerCores         float64 `json:"server_cores"`
	ClientCores         float64 `json:"client_cores"`
	OtherCores          float64 `json:"other_cores"`  // of programs that are neither
	StolenCores         float64 `json:"stolen_cores"` // that a virtual machine's host gave to others
}

// Read a JSON file.
func Read(path string) (*Document, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := new(Document)
	if err := json.Unmarshal(b, d); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

// Write peers.json, peers.md and the plots into a folder.
func (d *Document) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(d, "", " ")
	if err != nil {
		return err
	}
	files := d.Plots()
	files["peers.json"], files["peers.md"] = string(b)+"\n", d.Markdown("")
	return write(dir, files)
}

// WriteDocs writes benchmarks.md into a folder, and peers.json and the plots into the folder benchmarks in it.
func (d *Document) WriteDocs(dir string) error {
	sub := filepath.Join(dir, "benchmarks")
	if err := os.MkdirAll(sub, 0o755); err != nil {
		return err
	}
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	files := d.Plots()
	files["peers.json"] = string(b) + "\n"
	if err := write(sub, files); err != nil {
		return err
	}
	return write(dir, map[string]string{"benchmarks.md": docsHead + d.Markdown("benchmarks/")})
}

func write(dir string, files map[string]string) error {
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// stat is a figure over the rounds.
type stat struct {
	median, low, high float64
	ratio             float64 // median of the ratios to the floor in the same round; 0: there is none
	n                 int     // rounds that have it
	flawed            bool    // in a round not everything was delivered
	atLeast           bool    // a value is a lower bound
	few               int     // events, where they were too few to give a figure; 0: they were enough
}

// floorName is the peer that ratios are to.
const floorName = "floor"

// stat of a peer in the scenario of a kind with a number of subscribers.
func (d *Document) stat(peer string, v *view, subscribers int) stat {
	kind, value := v.kind, v.value
	var s stat
	var all, ratios []float64
	for round := 1; round <= d.Rounds; round++ {
		run := d.find(peer, kind, subscribers, round)
		if run == nil {
			continue
		}
		s.flawed = s.flawed || len(run.Problems) > 0
		if run.Figures == nil {
			continue
		}
		if run.Figures.Events < v.least {
			s.few = max(s.few, run.Figures.Events, 1)
			continue
		}
		n := value(run.Figures)
		if n <= 0 {
			continue
		}
		s.atLeast = s.atLeast || kind == Burst && run.Figures.AtLeast
		all = append(all, n)
		if f := d.find(floorName, kind, subscribers, round); f != nil && f.Figures != nil && value(f.Figures) > 0 {
			ratios = append(ratios, n/value(f.Figures))
		}
	}
	if s.n = len(all); s.n > 0 {
		s.median, s.low, s.high = median(all), slices.Min(all), slices.Max(all)
	}
	if len(ratios) > 0 {
		s.ratio = median(ratios)
	}
	return s
}

func (d *Document) find(peer string, kind Kind, subscribers, round int) *Run {
	for i := range d.Runs {
		r := &d.Runs[i]
		if r.Peer == peer && r.Round == round && r.Scenario.Kind == kind && r.Scenario.Subscribers == subscribers {
			return r
		}
	}
	return nil
}

// Continue makes d, with nothing measured yet, the continuation of an earlier comparison of the same peers or more: runs are
// added to those that it has.
func (d *Document) Continue(earlier *Document) error {
	for _, p := range d.Peers {
		if !slices.Contains(earlier.Peers, p) {
			return fmt.Errorf("the earlier comparison does not have %s with this version and these settings: %+v", p.Name, p)
		}
	}
	commands := append(slices.Clone(earlier.Commands), d.Commands...)
	*d = *earlier
	d.Commands = slices.Compact(commands)
	return nil
}

// LastRound of a scenario, 0 if it has none.
func (d *Document) LastRound(s Scenario) (round int) {
	for i := range d.Runs {
		if d.Runs[i].Scenario == s {
			round = max(round, d.Runs[i].Round)
		}
	}
	return round
}

// others is the median and the most of what programs that are neither server nor client, and the host, took of the processors
// during a run.
func (d *Document) others() (middle, most float64) {
	var all []float64
	for i := range d.Runs {
		if f := d.Runs[i].Figures; f != nil {
			all = append(all, f.OtherCores+f.StolenCores)
		}
	}
	if len(all) == 0 {
		return 0, 0
	}
	return median(all), slices.Max(all)
}

// subscribers are the numbers of them in the scenarios of a kind, ascending.
func (d *Document) subscribers(kind Kind) []int {
	var all []int
	for _, s := range d.Scenarios {
		if s.Kind == kind && !slices.Contains(all, s.Subscribers) {
			all = append(all, s.Subscribers)
		}
	}
	slices.Sort(all)
	return all
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
