// Package stream is one open connection, from its subscription to its last byte:
// the write path, which a waker or a goroutine runs; heartbeats; the end of a
// stream; and the hub that knows all of a server's streams.
//
// It knows the syntax of Server-Sent Events, but no HTTP: the front ends in
// package transport read the request and write the response's head.
//
//	hub.go       Hub, its configuration, and how a stream is opened
//	stream.go    the type Stream and its states: who owns it, and when
//	write.go     the write path
//	coalesce.go  several events in one write
//	render.go    what is a stream's own: opening, gaps, ids of several keys, envelopes
//	older.go     events that the rings do not hold any more, from the log
//	slow.go      limits on slow clients
//	window.go    clients that read slowly, told from those that have vanished
//	address.go   a limit on the streams of an address
//	rate.go      limits on the requests for streams per second
//	subject.go   the streams of each subject, and a limit on them
//	details.go   what only some streams have: subject, expiry, access log, hooks
//	heartbeat.go the clock, heartbeats and the write timeout
//	end.go       how one stream ends, and how all of them do (drain)
//	registry.go  the open streams
package stream

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"fanfare/engine"
	"fanfare/transport/internal/clientlog"
	"fanfare/transport/internal/metrics"
	"fanfare/transport/internal/socket"
)

// Config are the settings of a server's streams, see the fields of the same
// names in transport.Options. A Config is not changed once a Hub has it.
type Config struct {
	PlainIDs           bool
	PingInterval       time.Duration
	WriteTimeout       time.Duration
	Retry              time.Duration
	MaxOlderBytes      int64
	RetryMin, RetryMax time.Duration
	MaxLife            time.Duration // 0: no limit
	MaxPerAddress      int           // 0: no limit
	MaxPerSubject      int           // 0: no limit
	// Requests for streams per second; 0: no limit.
	MaxConnectRate, MaxConnectRatePerAddress int

	MinReadRate    int // bytes per second
	MaxPinnedBytes int64
	AccessLog      bool
	OnConnect      func(Info)
	OnDisconnect   func(info Info, reason string, lasted time.Duration)
}

// Jitter returns a random reconnection time.
func (c *Config) Jitter() time.Duration {
	return c.RetryMin + rand.N(c.RetryMax-c.RetryMin+1)
}

// Hub holds the streams of a server. All methods may be called concurrently.
type Hub struct {
	eng     *engine.Engine
	log     *clientlog.Log
	metrics *metrics.Metrics
	config  atomic.Pointer[Config]
	// limit bounds the streams open at once.
	limit int64

	buffers  *bufferPool
	resumes  chan struct{} // holds a token for each stream that is resuming, see subscribe
	registry registry
	poller   *socket.Poller
	gen      atomic.Uint32 // of streams

	clock      atomic.Int64  // milliseconds, kept by sweep: for times that need no precision
	sampleMask atomic.Uint64 // see sampleMask
	open       atomic.Int64  // streams
	ending     atomic.Int64  // streams that do not count any more, and whose access line or hook is under way
	blocked    atomic.Int64  // streams that wait for their client
	draining   atomic.Bool
	addresses  addresses
	subjects   subjects
	rates      connectRates
	pins       pins
	lenient    lenient
	fetches    fetches      // of older events from the log
	waiting    atomic.Int64 // streams that wait for older events

	OlderTimeout, IDInterval time.Duration // the constants, except in tests

	// Meet checks a last id against the log, see cluster.Node.Meet. nil: the engine does not follow one.
	Meet func(ctx context.Context, keys []string, lastID string) string

	pinned atomic.Int64 // bytes that only slow clients keep in memory, as the sweep found them

	stop     chan struct{} // closed by Close
	stopOnce sync.Once
	done     sync.WaitGroup
}

// NewHub returns a Hub for streams over eng, of which at most limit are open at
// once. Call Run before the first stream, and Close in the end.
func NewHub(eng *engine.Engine, limit int, c *Config) (*Hub, error) {
	poller, err := socket.NewPoller()
	if err != nil {
		return nil, err
	}
	h := &Hub{
		eng:     eng,
		limit:   int64(limit),
		buffers: newBufferPool(4 * eng.Wakers()),
		resumes: make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1)),
		poller:  poller,
		rates:   connectRates{start: time.Now()},
		stop:    make(chan struct{}),

		OlderTimeout: olderTimeout,
		IDInterval:   idInterval,
	}
	h.fetches.hub = h
	h.config.Store(c)
	h.clock.Store(1) // 0 means "never"
	return h, nil
}

// Follow says that the engine follows a log, and how to get older events from it. Call it before Run.
func (h *Hub) Follow(older Fetch) { h.fetches.get = older }

// Run starts the hub's goroutine. Streams count in m and log to l.
func (h *Hub) Run(m *metrics.Metrics, l *clientlog.Log) {
	h.metrics, h.log = m, l
	h.done.Add(1)
	go h.sweep()
}

// Reconfigure replaces the settings, also of the streams that are open.
func (h *Hub) Reconfigure(c *Config) { h.config.Store(c) }

// Open returns the number of open streams.
func (h *Hub) Open() int { return int(h.open.Load()) }

// Blocked returns the number of open streams that wait for their client.
func (h *Hub) Blocked() int { return int(h.blocked.Load()) }

// Pinned returns the bytes of events that only slow clients keep in memory.
func (h *Hub) Pinned() int64 { return h.pinned.Load() }

// Waiting returns the number of open streams that wait for older events from the log.
func (h *Hub) Waiting() int { return int(h.waiting.Load()) }

// Fetching returns the number of ranges of the log that streams wait for.
func (h *Hub) Fetching() int {
	h.fetches.mu.Lock()
	defer h.fetches.mu.Unlock()
	return len(h.fetches.ranges)
}

// OlderBytes returns the bytes of the older events that were fetched, and that streams have not read yet.
func (h *Hub) OlderBytes() int64 { return h.fetches.bytes.Load() }

// Request is what a client asked for.
type Request struct {
	Keys   []string
	LastID string        // the position to resume from, "" for none
	Rewind engine.Rewind // the past events to begin with, without LastID
	// Envelope puts a first data line with the key into each event.
	Envelope bool

	Remote string // the client's address, for its limit and the access log
	Agent  string // User-Agent, cut, for the access log and hooks

	// Of the grant.
	Subject string
	Expires time.Time
	Asked   time.Time // when it was asked for
}

// Limits that a subscriber can be refused by, beside those of engine.LimitError.
const (
	LimitDrain       = "drain"
	LimitConnections = "maxConnections"
	LimitAddress     = "maxConnectionsPerAddress"
	LimitSubject     = "maxConnectionsPerSubject"
	LimitOlder       = "maxOlderBytes"

	LimitConnectRate           = "maxConnectRate"
	LimitConnectRatePerAddress = "maxConnectRatePerAddress"
	LimitRequest               = "request"
)

// Limits that end a stream.
const (
	LimitRate   = "minReadRate"
	LimitPinned = "maxPinnedBytes"
)

// Subscribe subscribes to the keys of a request. The stream writes to out, which is
// its own from now on, as soon as Start or Serve is called. If a limit refuses
// the stream, its name is returned and out stays the caller's.
func (h *Hub) Subscribe(out Output, req Request) (st *Stream, limit string) {
	st = &Stream{hub: h, out: out}
	st.sock, _ = out.(*socket.Conn)
	if st.sock == nil {
		st.more = &more{wake: make(chan struct{}, 1)}
	}
	// Count first, then look at draining: Close and Drain set draining first and
	// then wait until no stream is open, so either they see this stream, or this
	// stream sees them.
	open := h.open.Add(1)
	switch {
	case h.draining.Load():
		limit = LimitDrain
	case open > h.limit:
		limit = LimitConnections
	default:
		c := h.config.Load()
		st.details = newDetails(req, c)
		if limit = h.addresses.add(st.details, req.Remote, c.MaxPerAddress); limit == "" {
			limit = h.subjects.reserve(st.details, c.MaxPerSubject)
		}
		if limit == "" {
			limit = h.subscribe(st, req)
		}
	}
	if limit != "" {
		h.open.Add(-1)
		h.release(st.details)
		return nil, limit
	}
	h.metrics.Opened.Inc()
	if st.resumed != engine.ResumedNone {
		h.metrics.Replays[st.resumed].Inc()
	}
	return st, ""
}

// release ends what counts a stream as one of its address and its subject, once.
func (h *Hub) release(d *details) {
	h.addresses.remove(d)
	h.subjects.remove(d)
}

// subscribe makes st a subscriber. Resuming by an id that the engine has not
// issued compares it with every event kept, some 10 µs for 1024 of them: so that
// a reconnect storm leaves processors to those who publish and deliver, only a
// few streams do that at a time.
func (h *Hub) subscribe(st *Stream, req Request) (limit string) {
	c := h.config.Load()
	st.opened = h.clock.Load()
	st.lastWrite.Store(st.opened)
	if req.LastID != "" && h.Meet != nil {
		req.LastID = h.Meet(context.Background(), req.Keys, req.LastID)
	}
	if req.LastID != "" && !h.eng.IssuedID(req.LastID, len(req.Keys)) {
		h.resumes <- struct{}{}
		defer func() { <-h.resumes }()
	}
	var err error
	if req.Rewind == (engine.Rewind{}) {
		st.resumed, err = h.eng.Subscribe(&st.sub, req.Keys, req.LastID, st)
	} else {
		st.resumed, err = h.eng.SubscribeFrom(&st.sub, req.Keys, req.LastID, req.Rewind, st)
	}
	if err != nil {
		var le *engine.LimitError
		if errors.As(err, &le) {
			return le.Limit
		}
		return LimitRequest
	}
	st.render = newRendering(req, c, st.sub.SharedIDs())
	if h.fetches.get != nil {
		h.follow(st)
	}
	return ""
}

// launch makes st known to the sweep and to the poller, which notices hang-ups.
func (h *Hub) launch(st *Stream) {
	st.gen = h.gen.Add(1)
	if st.sock != nil {
		if st.sock.Secure() {
			st.due.Store(dueRead) // it may have read more than the request
		}
		if err := st.sock.Watch(st); err != nil {
			// The heartbeat will find out instead.
			h.log.Warn("cannot watch a connection for hang-up", "error", err)
		}
	}
	h.registry.add(st)
	if !h.subjects.launch(st) {
		st.sub.Close(engine.ReasonDisconnected)
	}
	h.callOnConnect(st.details)
}

// callOnConnect calls the hook. A panic there must not leave launch: the stream is
// counted and registered, and without an owner nobody would end it, so that Close
// would wait for it indefinitely.
func (h *Hub) callOnConnect(d *details) {
	defer h.log.RecoverPanic(func() {})
	if c := h.config.Load(); d != nil && d.hooked && c.OnConnect != nil {
		c.OnConnect(d.info())
	}
}

// Poller returns the poller of the streams' sockets.
func (h *Hub) Poller() *socket.Poller { return h.poller }
