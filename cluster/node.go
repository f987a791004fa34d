package cluster

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/engine"
)

// Options configure a Node. Engine, Log and Name are required. The zero value of every other field is its default.
type Options struct {
	// Name identifies this node in the fleet (nodeName).
	Name   string
	Engine *engine.Engine // with engine.Options.Log set
	Log    Log
	Bus    Bus // nil: there are no other nodes
	Logger *slog.Logger
	// Registerer gets the metrics. nil: none.
	Registerer prometheus.Registerer

	// PublishTimeout is how long a publish waits for the log (publishTimeout). Default 15 s.
	PublishTimeout time.Duration
	// Queue accepts events while the broker is away: they are kept in memory, up to QueueBytes, and answered as Queued
	// (away: queue). By default they are refused with ErrAway.
	Queue      bool
	QueueBytes int64 // default 64 MiB
	// ReadBack is how far a node that starts reads back before it is ready, in time; events before it are fetched from the
	// log when a client asks for them. Default 5 minutes.
	ReadBack time.Duration
	// OlderConcurrency is how many fetches of older events run at once (olderConcurrency). Default 4.
	OlderConcurrency int
	// OlderMaxEvents bounds the entries of any key that one fetch makes the broker look at (olderMaxEvents). Default 100,000.
	OlderMaxEvents int
	// FleetTimeout is how long a question to the fleet waits for answers (fleetTimeout). Default 2 s.
	FleetTimeout time.Duration
	// EpochNotice makes the frame that tells connected clients of a new epoch, for all keys of a partition.
	EpochNotice func() engine.Frame
	// HoleNotice makes the frame that tells connected clients that the log has lost entries.
	HoleNotice func() engine.Frame
}

// Node is this process in the fleet. All methods may be called concurrently.
type Node struct{ o Options }

// NewNode checks the options. Start connects it.
func NewNode(o Options) (*Node, error) { panic("soon") }

// Start begins to read, in goroutines that Close ends. Settled returns when the node has read back what ReadBack says, in
// every partition, or ctx is done. Open the listeners after it.
func (n *Node) Start()                            { panic("soon") }
func (n *Node) Settled(ctx context.Context) error { panic("soon") }

// Close stops reading and ends what waits.
func (n *Node) Close() { panic("soon") }

// Publish appends the messages to the log in their order, each to its partition, and sets results[i] for messages[i]. It
// returns when every message is stored or has failed, at the latest after PublishTimeout.
func (n *Node) Publish(ctx context.Context, messages []Message, results []Result) { panic("soon") }

// Older fetches the events that a subscriber misses in the rings. Several calls for the same range of a key share one
// fetch, and at most OlderConcurrency run at once. An error means that not all of them can be had: then the subscriber
// gets a gap.
func (n *Node) Older(ctx context.Context, m engine.Missing) ([]*engine.Event, error) { panic("soon") }

// Question is a question to all nodes. After has the positions that a node must have applied before it acts, one for each
// partition, 0 for none: what was published before is delivered first.
type Question struct {
	Op      string   `json:"op"` // count, countAll, close, closeAll, disconnect, presence
	Key     string   `json:"key,omitempty"`
	Subject string   `json:"subject,omitempty"`
	After   []uint64 `json:"after,omitempty"`
}

// Answer is what one node says.
type Answer struct {
	Node     string         `json:"node"`
	Count    int            `json:"count"`
	Subjects map[string]int `json:"subjects,omitempty"`
}

// OnQuestion sets what answers questions on this node. It is called in a goroutine of its own, after the positions of
// Question.After have been applied. Call it before Start.
func (n *Node) OnQuestion(answer func(Question) Answer) { panic("soon") }

// Ask asks all nodes, this one too, and returns their answers, and the names of those that are known and have not
// answered within FleetTimeout.
func (n *Node) Ask(ctx context.Context, q Question) (answers []Answer, silent []string) {
	panic("soon")
}

// Positions returns what Publish has stored last and what is known to be stored, for Question.After: the newest sequence
// of every partition that this node knows of.
func (n *Node) Positions() []uint64 { panic("soon") }

// Status is the state of a node, for health and the console.
type Status struct {
	Name      string
	Connected bool
	Settled   bool
	Behind    uint64   // entries that the broker has and this node has not applied, of all partitions
	Nodes     []string // of the fleet that were heard of within the last seconds
	Queued    int      // events that wait for the broker
}

// Status returns the current state.
func (n *Node) Status() Status { panic("soon") }

// MaxBytes is the largest frame that the log takes, in bytes.
func (n *Node) MaxBytes() int { return n.o.Log.MaxBytes() }
