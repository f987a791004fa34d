package report

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Fleets is a comparison of fleets, as in the JSON file: several nodes of a server and their broker.
type Fleets struct {
	Started   string          `json:"started"` // RFC 3339
	Command   string          `json:"command"`
	Machine   Machine         `json:"machine"`
	Load      float64         `json:"load"` // the machine's one-minute load average before the first run
	Nodes     int             `json:"nodes"`
	Rounds    int             `json:"rounds"`
	EventSize int             `json:"event_bytes"`
	Fleets    []Fleet         `json:"fleets"`
	Absent    []Absent        `json:"absent,omitempty"`
	Scenarios []FleetScenario `json:"scenarios"`
	Runs      []FleetRun      `json:"runs"`
}

// Fleet is a fleet that was compared.
type Fleet struct {
	Peer
	Answer string `json:"answer"` // what the answer to a publish means
}

// FleetScenario is what a fleet does in a round.
type FleetScenario struct {
	Name        string  `json:"name"`
	Keys        int     `json:"keys"`
	Subscribers int     `json:"subscribers"`        // of each key, on each node
	Publishers  int     `json:"publishers"`         // at the same time, each with keys of its own
	Rate        float64 `json:"rate,omitempty"`     // events a second of all publishers; 0: the next one after the answer
	LockStep    bool    `json:"lockstep,omitempty"` // the next event after all subscribers have the last one
	WarmUp      int     `json:"warm_up"`            // events before those that are measured
	Events      int     `json:"events"`
}

// FleetRun is one scenario of one fleet in one round. It has either figures or an error.
type FleetRun struct {
	Fleet    string        `json:"fleet"`
	Scenario string        `json:"scenario"`
	Round    int           `json:"round"` // from 1
	Error    string        `json:"error,omitempty"`
	Figures  *FleetFigures `json:"figures,omitempty"`
}

// FleetFigures are the figures of a run, without its warm-up.
type FleetFigures struct {
	Events     int           `json:"events"`
	Deliveries int           `json:"deliveries"`
	Publishing time.Duration `json:"publishing_ns"` // from the first request to the last answer
	AckP50     time.Duration `json:"ack_p50_ns"`    // from a publish to its answer
	AckP99     time.Duration `json:"ack_p99_ns"`
	DeliverP50 time.Duration `json:"deliver_p50_ns"` // from a publish to a subscriber
	DeliverP99 time.Duration `json:"deliver_p99_ns"`
	NodesCPU   time.Duration `json:"nodes_cpu_ns"` // of all nodes together
	BrokerCPU  time.Duration `json:"broker_cpu_ns"`
	ClientCPU  time.Duration `json:"client_cpu_ns"`
	OtherCores float64       `json:"other_cores"` // used by other programs and the machine's host

	// Resident memory at the end, of all nodes together and of the broker, and its growth during the run.
	NodesBytes   int64 `json:"nodes_bytes"`
	BrokerBytes  int64 `json:"broker_bytes"`
	NodesGrowth  int64 `json:"nodes_growth_bytes"`
	BrokerGrowth int64 `json:"broker_growth_bytes"`

	Faults FleetFaults `json:"faults"` // of the warm-up too
}

// FleetFaults counts deliveries that are wrong.
type FleetFaults struct {
	Lost       int `json:"lost"`
	Repeated   int `json:"repeated"`
	Disordered int `json:"disordered"` // after an event that was published to the same node when this one had already been answered
	Overtaken  int `json:"overtaken"`  // the same, but to another node
	Foreign    int `json:"foreign"`    // of another key, or with other data than what was published
}

// Any reports whether there was a fault.
func (f FleetFaults) Any() bool { return f != FleetFaults{} }

// Add adds the faults of another run.
func (f *FleetFaults) Add(g FleetFaults) {
	f.Lost += g.Lost
	f.Repeated += g.Repeated
	f.Disordered += g.Disordered
	f.Overtaken += g.Overtaken
	f.Foreign += g.Foreign
}

// ReadFleets reads a JSON file.
func ReadFleets(path string) (*Fleets, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := new(Fleets)
	if err := json.Unmarshal(b, f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// Write writes fleet.json and fleet.md into a folder.
func (f *Fleets) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return err
	}
	return write(dir, map[string]string{"fleet.json": string(b) + "\n", "fleet.md": f.Markdown()})
}

// fleetColumn is a column of a table: a figure of a run, and how it is shown.
type fleetColumn struct {
	title string
	value func(*FleetFigures) float64
	show  func(float64) string
}

func duration(title string, value func(*FleetFigures) time.Duration) fleetColumn {
	return fleetColumn{title, func(f *FleetFigures) float64 { return float64(value(f)) / 1e3 }, micros}
}

// perEvent and perDelivery divide processor time. Without a delivery there is no figure.
func perEvent(title string, value func(*FleetFigures) time.Duration) fleetColumn {
	return duration(title, func(f *FleetFigures) time.Duration { return value(f) / time.Duration(max(f.Events, 1)) })
}

func perDelivery(title string, value func(*FleetFigures) time.Duration) fleetColumn {
	return duration(title, func(f *FleetFigures) time.Duration { return value(f) / time.Duration(max(f.Deliveries, 1)) })
}

func memory(title string, value func(*FleetFigures) int64) fleetColumn {
	return fleetColumn{title, func(f *FleetFigures) float64 { return float64(value(f)) }, bytes}
}

var (
	ackP50     = duration("publish, median", func(f *FleetFigures) time.Duration { return f.AckP50 })
	ackP99     = duration("publish, 99th", func(f *FleetFigures) time.Duration { return f.AckP99 })
	deliverP50 = duration("delivery, median", func(f *FleetFigures) time.Duration { return f.DeliverP50 })
	deliverP99 = duration("delivery, 99th", func(f *FleetFigures) time.Duration { return f.DeliverP99 })
	nodesCPU   = perEvent("CPU per event: nodes", func(f *FleetFigures) time.Duration { return f.NodesCPU })
	brokerCPU  = perEvent("CPU per event: broker", func(f *FleetFigures) time.Duration { return f.BrokerCPU })
	throughput = fleetColumn{"events a second", func(f *FleetFigures) float64 {
		return float64(f.Events) / max(f.Publishing, 1).Seconds()
	}, perSecond}
)

// fleetViews are the tables, by the name of their scenario. A note may contain %s, which stands for the sizes of the scenario.
var fleetViews = []struct {
	scenario, title, note string
	columns               []fleetColumn
}{
	{"single", "Fleets: one event at a time", "One publisher, which waits until every subscriber has the last event: %s. Nothing waits in a queue.",
		[]fleetColumn{ackP50, ackP99, deliverP50, deliverP99, nodesCPU, brokerCPU}},
	{"steady", "Fleets: events at fixed times", "All fleets have the same load: %s. Times are since an event was due, without the delay of the client's own timer.",
		[]fleetColumn{ackP50, ackP99, deliverP50, deliverP99, nodesCPU, brokerCPU}},
	{"saturated", "Fleets: as many events as possible", "Each publisher waits for the answer to its last event: %s. The clients share the machine, so this is not what a fleet reaches on machines of its own.",
		[]fleetColumn{throughput, ackP50, ackP99, deliverP50, deliverP99, nodesCPU, brokerCPU}},
	{"fanout", "Fleets: many subscribers of one key", "One publisher, which waits until every subscriber has the last event: %s. The cost of the publish request is in that of a delivery.",
		[]fleetColumn{deliverP50, deliverP99, perDelivery("nodes' CPU per delivery", func(f *FleetFigures) time.Duration { return f.NodesCPU }), brokerCPU}},
	{"keys", "Fleets: memory", "Resident memory at the end of a round, and its growth by one event for each of many new keys: %s. " +
		"Where the broker or the nodes are Go programs, the growth of a round also depends on when their garbage is collected.",
		[]fleetColumn{
			memory("broker", func(f *FleetFigures) int64 { return f.BrokerBytes }), memory("nodes together", func(f *FleetFigures) int64 { return f.NodesBytes }),
			memory("broker, per key", func(f *FleetFigures) int64 { return f.BrokerGrowth / int64(max(f.Events, 1)) }),
			memory("nodes together, per key", func(f *FleetFigures) int64 { return f.NodesGrowth / int64(max(f.Events, 1)) }),
		}},
}

// Markdown is the whole text: where it was measured, the tables, and what went wrong.
func (f *Fleets) Markdown() string {
	var b strings.Builder
	m := f.Machine
	fmt.Fprintf(&b, "Measured since %s on %s, %d cores, %s of memory, %s, %s, with `%s`, in the folder `bench/peers`.\n",
		f.Started, m.CPU, m.CPUs, bytes(float64(m.Memory)), m.Kernel, m.Go, f.Command)
	fmt.Fprintf(&b, "Load average before: %.2f. %s\n", f.Load, f.others())
	fmt.Fprintf(&b, "Nodes, broker and clients share the machine: compare the fleets with each other, and do not plan capacity by these figures. "+
		"Each figure is the median of at most %s, with the lowest and the highest in parentheses. Events have %d bytes.\n\n", plural(f.Rounds, "round"), f.EventSize)
	b.WriteString("| fleet | version | settings | the answer to a publish means |\n|---|---|---|---|\n")
	for _, x := range f.Fleets {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", x.Name, cell(x.Version), cell(x.Settings), cell(x.Answer))
	}
	for _, a := range f.Absent {
		fmt.Fprintf(&b, "| %s | not measured | %s | |\n", a.Name, cell(a.Why))
	}
	for _, v := range fleetViews {
		i := slices.IndexFunc(f.Scenarios, func(s FleetScenario) bool { return s.Name == v.scenario })
		if i < 0 {
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n| fleet |", v.title, fmt.Sprintf(v.note, f.Scenarios[i].sizes(f.Nodes)))
		for _, c := range v.columns {
			fmt.Fprintf(&b, " %s |", c.title)
		}
		b.WriteString("\n|---|" + strings.Repeat("---|", len(v.columns)) + "\n")
		for _, x := range f.Fleets {
			fmt.Fprintf(&b, "| %s |", x.Name)
			for _, c := range v.columns {
				fmt.Fprintf(&b, " %s |", f.figure(x.Name, v.scenario, c))
			}
			b.WriteString("\n")
		}
	}
	f.faults(&b)
	return b.String()
}

// sizes says how large a scenario is.
func (s *FleetScenario) sizes(nodes int) string {
	text := plural(s.Events, "event") + " for " + plural(s.Keys, "key")
	if s.WarmUp > 0 {
		text += ", after a warm-up of " + thousands(s.WarmUp)
	}
	if s.Subscribers > 0 {
		text += fmt.Sprintf("; %s of each key on each of the %d nodes", plural(s.Subscribers, "subscriber"), nodes)
	}
	text += "; " + plural(s.Publishers, "publisher")
	if s.Rate > 0 {
		text += fmt.Sprintf(", together %.0f events a second", s.Rate)
	}
	return text
}

// figure is the median of all rounds, and the spread.
func (f *Fleets) figure(fleet, scenario string, c fleetColumn) string {
	var all []float64
	for _, r := range f.Runs {
		if r.Fleet == fleet && r.Scenario == scenario && r.Figures != nil {
			all = append(all, c.value(r.Figures))
		}
	}
	switch len(all) {
	case 0:
		return "–"
	case 1:
		return c.show(all[0])
	}
	return fmt.Sprintf("%s (%s–%s)", c.show(median(all)), c.show(slices.Min(all)), c.show(slices.Max(all)))
}

func (f *Fleets) others() string {
	var all []float64
	for _, r := range f.Runs {
		if r.Figures != nil {
			all = append(all, r.Figures.OtherCores)
		}
	}
	if len(all) == 0 {
		return ""
	}
	return fmt.Sprintf("Other programs and the machine's host used %.2f cores in the median run, %.2f at most.", median(all), slices.Max(all))
}

// faults writes what did not arrive once and in order, over all rounds and scenarios.
func (f *Fleets) faults(b *strings.Builder) {
	b.WriteString("\n### Fleets: what was not delivered once and in order\n\nOver all rounds, with the warm-up. An event is out of order if it arrives " +
		"after another one of its key, though that was published when this one had already been answered. Centrifugo's NATS broker promises no order between nodes, " +
		"because a node answers before NATS has the event.\n\n| fleet | deliveries | lost | repeated | out of order: published to one node | to two nodes | " +
		"wrong key or data | runs without a result |\n|---|---|---|---|---|---|---|---|\n")
	var failed []string
	for _, x := range f.Fleets {
		var sum FleetFaults
		deliveries, failures := 0, 0
		for _, r := range f.Runs {
			switch {
			case r.Fleet != x.Name:
			case r.Figures == nil:
				failures++
				failed = append(failed, fmt.Sprintf("- %s, %s, round %d: %s\n", x.Name, r.Scenario, r.Round, cell(r.Error)))
			default:
				sum.Add(r.Figures.Faults)
				deliveries += r.Figures.Deliveries
			}
		}
		fmt.Fprintf(b, "| %s | %s | %d | %d | %d | %d | %d | %d |\n", x.Name, thousands(deliveries), sum.Lost, sum.Repeated, sum.Disordered, sum.Overtaken, sum.Foreign, failures)
	}
	if len(failed) > 0 {
		b.WriteString("\n" + strings.Join(failed, ""))
	}
}
