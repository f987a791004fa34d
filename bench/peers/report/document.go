// Package report has the results of a comparison, and makes tables and plots of them.
//
//	doc, err := report.Read("results/peers.json")
//	err = doc.Write("results") // peers.json, peers.md and the plots
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Document is a whole comparison, as in the JSON file.
type Document struct {
	Started   string     `json:"started"` // RFC 3339
	TLS       bool       `json:"tls,omitempty"`
	Commands  []string   `json:"commands"` // more than one if rounds were added
	Machine   Machine    `json:"machine"`
	Load      float64    `json:"load"` // the machine's one-minute load average before the first run
	Rounds    int        `json:"rounds"`
	Peers     []Peer     `json:"peers"`
	Absent    []Absent   `json:"absent,omitempty"`
	Scenarios []Scenario `json:"scenarios"`
	Runs      []Run      `json:"runs"`
}

// Machine is the machine of the comparison.
type Machine struct {
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Memory int64  `json:"memory_bytes"`
	Go     string `json:"go"`
}

// Peer is a server that was compared.
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

// Kind is the kind of a scenario.
type Kind string

// The kinds.
const (
	Idle   Kind = "idle"   // connect all subscribers, and hold the connections
	One    Kind = "one"    // one key; the next event when all have the previous one
	Large  Kind = "large"  // the same with large events
	Keys   Kind = "keys"   // the same with many keys
	Flight Kind = "flight" // the same with many publishes in flight
	Paced  Kind = "paced"  // one key, events at fixed times
	Burst  Kind = "burst"  // one key, many events at once
)

// The kinds of a comparison with TLS, in addition to Idle. Those with HTTP/2 are for the servers that offer it.
const (
	Event90  Kind = "event90"  // as One, with events of 90 bytes
	Event500 Kind = "event500" // as One, with events of 500 bytes
	Connect  Kind = "connect"  // connect all subscribers, each with a full handshake
	Resume   Kind = "resume"   // the same, with session tickets
	H2Idle   Kind = "h2-idle"  // as Idle, 100 streams on each connection
	H2       Kind = "h2"       // as Event90, 100 streams on each connection
	TabsIdle Kind = "tabs-idle"
	Tabs     Kind = "tabs" // the same two with 30 streams on each connection, as the tabs of a browser
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
	Streams     int     `json:"streams,omitempty"`   // HTTP/2: on each connection; 0: HTTP/1.1
}

// Run is one run of a peer. A run that failed has no figures, and problems that say why.
type Run struct {
	Peer     string   `json:"peer"`
	Scenario Scenario `json:"scenario"`
	Round    int      `json:"round"`             // from 1
	Figures  *Figures `json:"figures,omitempty"` // nil without problems: the run was too short for the server's first event
	// Problems say what was not delivered correctly. None: every subscriber got every event once and in order.
	Problems []string `json:"problems,omitempty"`
}

// Figures are the figures of a run. Times are in microseconds.
type Figures struct {
	BaseBytes           float64 `json:"base_bytes"`       // resident before the first subscriber
	IdleBytes           float64 `json:"idle_bytes"`       // resident per subscriber, at the end of the hold
	ConnectsPerSecond   float64 `json:"connects_per_s"`   // until the last response head
	CPUPerDelivery      float64 `json:"cpu_us"`           // of the server
	CPUPerConnect       float64 `json:"connect_cpu_us"`   // of the server, for each subscriber
	DeliveriesPerSecond float64 `json:"deliveries_per_s"` // from a publish to its last delivery
	LatencyP50          float64 `json:"latency_p50_us"`   // from when the event was due to its delivery
	LatencyP99          float64 `json:"latency_p99_us"`
	PublishP50          float64 `json:"publish_p50_us"` // of the publish request
	PublishP99          float64 `json:"publish_p99_us"`
	RoundP50            float64 `json:"round_p50_us"`       // from a publish to its last delivery
	AtLeast             bool    `json:"at_least,omitempty"` // RoundP50 is only a lower bound, because a round was given up
	Events              int     `json:"events"`             // measured events
	Drift               float64 `json:"drift,omitempty"`    // CPU per delivery in the second half of the run divided by that in the first; 0: too short
	ServerCores         float64 `json:"server_cores"`
	ClientCores         float64 `json:"client_cores"`
	OtherCores          float64 `json:"other_cores"`  // of programs that are neither server nor client
	StolenCores         float64 `json:"stolen_cores"` // time that the host of a virtual machine gave to others

	// Encryption has the number of connections with each TLS version and cipher suite, and ", resumed" where a ticket was accepted.
	Encryption map[string]int64 `json:"encryption,omitempty"`
}

// Read reads a JSON file.
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

// Write writes peers.json, peers.md and the plots into a folder.
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

// WriteDocs writes benchmarks.md into a folder, and peers.json and the plots into its subfolder benchmarks. If secure is not nil,
// the page has a second part about that comparison, and the subfolder its tls.json. The same holds for fleets and fleet.json; without
// them the last part has no figures.
func (d *Document) WriteDocs(dir string, secure *Document, fleets *Fleets) error {
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
	page := docsHead + d.Markdown("benchmarks/")
	if secure != nil {
		if b, err = json.Marshal(secure); err != nil {
			return err
		}
		files["tls.json"] = string(b) + "\n"
		maps.Copy(files, secure.Plots())
		page += docsTLS + secure.Markdown("benchmarks/")
	}
	page += docsFleets
	if fleets != nil {
		if b, err = json.Marshal(fleets); err != nil {
			return err
		}
		files["fleet.json"] = string(b) + "\n"
		page += "\n" + fleets.Markdown()
	}
	if err := write(sub, files); err != nil {
		return err
	}
	return write(dir, map[string]string{"benchmarks.md": page})
}

func write(dir string, files map[string]string) error {
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Continue makes d, which has no runs yet, the continuation of an earlier comparison. New runs are added to those of the earlier
// one. The earlier one must have all peers of d, with the same versions and settings.
func (d *Document) Continue(earlier *Document) error {
	if d.TLS != earlier.TLS {
		return errors.New("one comparison is with TLS and the other without: give each its own -out")
	}
	for _, p := range d.Peers {
		if !slices.Contains(earlier.Peers, p) {
			return fmt.Errorf("the earlier comparison does not have %s with the same version and settings (%+v): start a new one, without -continue", p.Name, p)
		}
	}
	commands := append(slices.Clone(earlier.Commands), d.Commands...)
	*d = *earlier
	d.Commands = slices.Compact(commands)
	return nil
}

// has reports whether a peer has run in a scenario of a kind.
func (d *Document) has(peer string, kind Kind) bool {
	return slices.ContainsFunc(d.Runs, func(r Run) bool { return r.Peer == peer && r.Scenario.Kind == kind })
}

// LastRound is the last round of a scenario, or 0.
func (d *Document) LastRound(s Scenario) (round int) {
	for i := range d.Runs {
		if d.Runs[i].Scenario == s {
			round = max(round, d.Runs[i].Round)
		}
	}
	return round
}
