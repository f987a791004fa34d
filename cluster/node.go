package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/engine"
	"fanfare/internal/ratelog"
)

// Options configure a Node. Engine, Log and Name are required. The zero value of every other field is its default.
type Options struct {
	// Name identifies this node in the fleet (nodeName). No two nodes may have the same one.
	Name string
	// UniqueName makes Settled fail if another node that answers has the name already. It needs a Bus.
	UniqueName bool
	Engine     *engine.Engine // with engine.Options.Log set
	Log        Log            // the caller closes it after Node.Close
	Bus        Bus            // nil: there are no other nodes
	Logger     *slog.Logger
	// Registerer gets the metrics. nil: none.
	Registerer prometheus.Registerer

	// PublishTimeout is how long a publish waits for the log (publishTimeout). Default 15 s. The log's duplicate window
	// must be longer, so that what this node repeats while it waits is stored once.
	PublishTimeout time.Duration
	// Queue accepts events while the broker is away: they are kept in memory, up to QueueBytes (awayBytes), and
	// answered as Queued (away: queue). By default they are refused with ErrAway.
	Queue      bool
	QueueBytes int64 // default 64 MiB
	// ReadBack is how far a node that starts reads back before it is ready, in time; events before it are fetched from the
	// log when a client asks for them. Default 5 minutes.
	ReadBack time.Duration
	// OlderConcurrency is how many fetches of older events run at once (olderConcurrency). Default 4.
	OlderConcurrency int
	// OlderMaxEvents bounds the entries of any key that one fetch makes the broker look at (olderMaxEvents). Default 100,000.
	OlderMaxEvents int
	// OlderBytes bounds the frames that one fetch returns, in bytes (a sixteenth of maxOlderBytes). Default 16 MiB.
	OlderBytes int64
	// FleetTimeout is how long a question to the fleet waits for answers (fleetTimeout). Default 2 s.
	FleetTimeout time.Duration
	// FleetForgetAfter is how long a node that is not heard of any more, and has not said good-bye, is named as silent
	// (fleetForgetAfter). Default 10 minutes.
	FleetForgetAfter time.Duration
	// EpochNotice makes the frame that tells connected clients of a new epoch, for all keys of a partition.
	EpochNotice func() engine.Frame
	// HoleNotice makes the frame that tells connected clients that the log has lost entries.
	HoleNotice func() engine.Frame
	// Memory is a file in which the node keeps the newest place of the log that it knows, over its restarts. So it notices a
	// log that was restored from a backup while no node was running. MemoryOf identifies the log: what was written for
	// another one does not count. "": none.
	Memory, MemoryOf string
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&o.PublishTimeout, 15*time.Second)
	setDefault(&o.QueueBytes, 64<<20)
	setDefault(&o.ReadBack, 5*time.Minute)
	setDefault(&o.OlderConcurrency, 4)
	setDefault(&o.OlderMaxEvents, 100_000)
	setDefault(&o.OlderBytes, 16<<20)
	setDefault(&o.FleetTimeout, 2*time.Second)
	setDefault(&o.FleetForgetAfter, 10*time.Minute)
	noNotice := func() engine.Frame { return engine.Frame{} }
	if o.EpochNotice == nil {
		o.EpochNotice = noNotice
	}
	if o.HoleNotice == nil {
		o.HoleNotice = noNotice
	}
	return o
}

func setDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// follower is what a Node does with its engine. Tests record the calls.
type follower interface {
	Apply(engine.LogEntry) error
	Advance(partition int, seq uint64)
	StartAt(partition int, seq uint64)
	SetEpoch(partition int, epoch, seq uint64, notice engine.Frame)
	NewLogEvent(engine.LogEntry) *engine.Event
}

// Node is this process in the fleet. All methods may be called concurrently.
type Node struct {
	o       Options
	engine  follower
	log     *slog.Logger
	limited *ratelog.Limiter // of log, for what may happen many times a second
	metrics *metrics

	partitions []*partition
	queue      queue
	older      older
	fleet      fleet

	epochShare int64 // of Retention.Bytes, see repeat.go; 0: there is no bound

	idPrefix string // of the IDs that this node gives to messages without one
	idCount  atomic.Uint64

	// awaySince is when a call first found the broker away, in Unix nanoseconds; 0 while it is not.
	awaySince atomic.Int64

	ctx    context.Context // done when Close begins
	cancel context.CancelFunc
	start  sync.Once

	// The goroutines that Close waits for. mu lets none begin after it has begun to wait.
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

// spawn runs f in a goroutine that Close waits for. It returns false if the node is closed.
func (n *Node) spawn(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.wg.Go(f)
	return true
}

// NewNode checks the options. Start connects it.
func NewNode(o Options) (*Node, error) {
	switch {
	case o.Engine == nil:
		return nil, errors.New("cluster: Options.Engine is nil: a node needs an engine")
	case o.Log == nil:
		return nil, errors.New("cluster: Options.Log is nil: a node needs a log")
	case o.Name == "" || len(o.Name) > maxNodeName:
		return nil, fmt.Errorf("nodeName %.80q has %d bytes: use 1 to %d, and another name for each node", o.Name, len(o.Name), maxNodeName)
	}
	n := newNode(o, o.Engine)
	if o.Registerer != nil {
		if err := o.Registerer.Register(n.metrics); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func newNode(o Options, follow follower) *Node {
	n := &Node{o: o.withDefaults(), engine: follow, limited: ratelog.New(10 * time.Second), idPrefix: "n:" + rand.Text() + "-"}
	n.log = n.o.Logger
	n.ctx, n.cancel = context.WithCancel(context.Background())
	for i := range o.Log.Partitions() {
		n.partitions = append(n.partitions, newPartition(n, i))
	}
	if r := o.Log.Retention(); r.Bytes > 0 && !r.KeepsEpoch {
		n.epochShare = max(r.Bytes/8, 1)
	}
	n.metrics = newMetrics(n)
	n.queue.init(n)
	n.older.init(n)
	n.fleet.init(n)
	n.recall()
	return n
}

// Start begins to read, in goroutines that Close ends. Call OnQuestion before it.
func (n *Node) Start() {
	n.start.Do(func() {
		n.fleet.start() // the first sessions may have a question for the other nodes
		for _, p := range n.partitions {
			n.spawn(p.run)
		}
		n.spawn(n.older.run)
		n.spawn(n.repeatEpochs)
		if n.o.Memory != "" {
			n.spawn(n.remember)
		}
	})
}

// Settled returns when the node has read back what ReadBack says, in every partition, or ctx is done. With Options.UniqueName it
// fails if another node has the name. Open the listeners
// after it: before, a client could get a gap for events that the node is about to read.
func (n *Node) Settled(ctx context.Context) error {
	for _, p := range n.partitions {
		select {
		case <-p.settled:
		case <-ctx.Done():
			return ctx.Err()
		case <-n.ctx.Done():
			return errClosed
		}
	}
	return n.fleet.waitClaim(ctx)
}

// errClosed is returned by what waits when the node is closed.
var errClosed = errors.New("cluster: the node is closed")

// closeDrain is how long Close waits for queued events to be stored, if the broker is there.
const closeDrain = 5 * time.Second

// DrainQueue refuses further events, and waits until the queued ones are stored or ctx is done, also while the broker is away. It
// returns how many are left: they are lost, and the log says so. Call it before Close, which then does not wait for them.
func (n *Node) DrainQueue(ctx context.Context) (lost int) { return n.queue.drainAndClose(ctx) }

// Close stops reading, ends what waits, and tells the fleet that this node leaves. Events that are still queued are lost,
// and the log says how many: Close waits for them up to five seconds if the broker is there, unless DrainQueue was called.
func (n *Node) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeDrain)
	if !n.o.Log.Connected() {
		cancel()
	}
	n.queue.drainAndClose(ctx)
	cancel()
	n.cancel()
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.wg.Wait()
	n.fleet.leave() // after the last announcement
}

// Status is the state of a node, for health and the console.
type Status struct {
	Name      string
	Connected bool
	Settled   bool
	Behind    uint64   // entries that the broker has and this node has not applied, of all partitions
	Nodes     []string // of the fleet that were heard of within the last seconds, this one too, sorted
	Silent    []string // those that are not heard of any more and have not said good-bye, sorted
	Queued    int      // events that wait for the broker
}

// Status returns the current state.
func (n *Node) Status() Status {
	s := Status{Name: n.o.Name, Connected: n.o.Log.Connected(), Settled: true, Behind: n.behind(), Queued: n.queue.len()}
	s.Nodes, s.Silent = n.fleet.names()
	for _, p := range n.partitions {
		select {
		case <-p.settled:
		default:
			s.Settled = false
		}
	}
	return s
}

// behind returns how many entries are known to be stored and are not applied, of all partitions.
func (n *Node) behind() (sum uint64) {
	for _, p := range n.partitions {
		sum += p.behind()
	}
	return sum
}

// MaxBytes is the largest frame that the log takes, in bytes.
func (n *Node) MaxBytes() int { return n.o.Log.MaxBytes() }
