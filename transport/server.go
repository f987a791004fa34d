package transport

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"fanfare/cluster"
	"fanfare/engine"
	"fanfare/transport/internal/api"
	"fanfare/transport/internal/clientlog"
	"fanfare/transport/internal/metrics"
	"fanfare/transport/internal/socket"
	"fanfare/transport/internal/stream"
)

// Server serves an engine's streams: by fasthttp (Serve), by net/http (Handler),
// or both, and its publish API and metrics (ServeAdmin). All methods may be
// called concurrently.
type Server struct {
	eng      *engine.Engine
	settings atomic.Pointer[settings]
	metrics  *metrics.Metrics
	log      *clientlog.Log
	streams  *stream.Hub
	api      *api.API

	// idle bounds the connections of stream listeners that have no request; together
	// with the streams they leave descriptors for the admin listener.
	idle       *socket.Idle
	adminConns adminConns
	// authorizing bounds the requests that wait for Options.Authorize.
	authorizing authorizing

	requestTimeout time.Duration // the constant, except in tests
	turns          socket.Turns  // of TLS handshakes

	mu        sync.Mutex
	listeners []*acceptor
	http2     *multiplexer // nil before the first connection of HTTP/2
	stopOnce  sync.Once
	stop      chan struct{}
}

// NewServer returns a server over eng, which stays the caller's to close, after
// the server. With Options.Backplane call it before the node's Start. Errors name
// the option at fault.
func NewServer(eng *engine.Engine, o Options) (*Server, error) {
	if eng == nil {
		return nil, errors.New("transport: the engine is nil: give NewServer what engine.New returned")
	}
	set, err := newSettings(o)
	if err != nil {
		return nil, err
	}
	streams, err := stream.NewHub(eng, set.MaxConnections, set.stream)
	if err != nil {
		return nil, err
	}
	s := &Server{eng: eng, streams: streams, requestTimeout: requestTimeout, turns: newTurns(), stop: make(chan struct{})}
	m := metrics.New(eng, metrics.Streams{Open: streams.Open, Blocked: streams.Blocked, Pinned: streams.Pinned, Idle: func() int { return s.idle.Len(streams.Poller()) }, Authorizing: func() int { return s.authorizing.len() }, Limit: set.MaxConnections, Waiting: streams.Waiting, OlderBytes: streams.OlderBytes})
	s.metrics, s.log = m, clientlog.New(set.Logger, m.Panics)
	s.api = api.New(eng, o.Backplane, m, s.log, set.api())
	s.idle = &socket.Idle{Max: s.maxIdle, Evicted: m.IdleEvicted.Inc}
	s.settings.Store(set)
	m.Serve(metrics.Admin{Connections: s.adminConns.open, BodyBytes: s.api.BodyBytes, IdempotencyKeys: s.api.IdempotencyKeys})
	s.api.Disconnect, s.api.Presence = s.disconnectHere, s.streams.Presence
	s.SetStarting(o.Starting)
	if o.Backplane != nil {
		s.SetBackplane(o.Backplane)
	}
	streams.Run(m, s.log)
	return s, nil
}

// SetBackplane sets Options.Backplane later: before the node's Start, and while the server is starting (Options.Starting).
func (s *Server) SetBackplane(node *cluster.Node) {
	s.api.SetBackplane(node)
	node.OnQuestion(s.api.Answer)
	s.streams.Follow(node.Older)
	s.streams.Meet = node.Meet
}

// SetStarting says why the server is not ready yet, see Options.Starting. After Started it must not be called.
func (s *Server) SetStarting(reason string) {
	if reason != "" {
		s.api.Starting.Store(&reason)
	}
}

// Started ends what Options.Starting began.
func (s *Server) Started() { s.api.Starting.Store(nil) }

// minIdle is how many connections without a request there may be, however many
// streams are open.
const minIdle = 32

// maxIdle is how many connections without a request there may be now: streams
// take their place.
func (s *Server) maxIdle() int {
	o := s.settings.Load()
	return max(min(o.MaxIdleConnections, o.MaxConnections-s.streams.Open()-s.authorizing.len()), minIdle)
}

// Reconfigure replaces the options, except MaxConnections, Backplane and Logger, for new
// streams and, where that has a meaning, for the open ones. On an error nothing
// changes.
func (s *Server) Reconfigure(o Options) error {
	old := s.settings.Load()
	o.MaxConnections, o.Logger, o.Backplane = old.MaxConnections, old.Logger, old.Backplane
	set, err := newSettings(o)
	if err != nil {
		return err
	}
	if (set.TLS == nil) != (old.TLS == nil) || (set.AdminTLS == nil) != (old.AdminTLS == nil) {
		return errors.New("TLS cannot be switched on or off while serving: make a new server")
	}
	if set.TLS == old.TLS && set.NoHTTP2 == old.NoHTTP2 {
		set.tls = old.tls // with the keys of its session tickets
	}
	if set.AdminTLS == old.AdminTLS {
		set.adminTLS = old.adminTLS
	}
	s.settings.Store(set)
	s.streams.Reconfigure(set.stream)
	s.api.Reconfigure(set.api())
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ln := range s.listeners {
		s.limitUnacknowledged(ln)
	}
	return nil
}

// limitUnacknowledged applies WriteTimeout to what the kernel has taken for the
// connections of a stream listener.
func (s *Server) limitUnacknowledged(ln *acceptor) {
	if !ln.streams {
		return
	}
	if err := setUserTimeout(ln.Listener, s.settings.Load().WriteTimeout); err != nil && !errors.Is(err, net.ErrClosed) {
		s.log.Warn("the kernel's own timeout applies to clients that vanish", "error", err)
	}
}

// Serve accepts connections for streams until the listener is closed, by Drain
// or Close, and then returns nil. Use a listener of Listen; others work too, but
// then clients that never read cost more kernel memory.
func (s *Server) Serve(ln net.Listener) error {
	if ln != nil {
		s.api.StreamPort.CompareAndSwap(0, port(ln))
	}
	return s.serve(&acceptor{Listener: ln, srv: s, streams: true, idle: s.idle}, &fasthttp.Server{
		Handler:        s.handle,
		HeaderReceived: s.streamHead,
		ErrorHandler:   s.streamError,
	})
}

// ServeAdmin serves the publish API and the metrics, see Options.PublishToken.
func (s *Server) ServeAdmin(ln net.Listener) error {
	if ln != nil {
		s.api.AdminPort.CompareAndSwap(0, port(ln))
	}
	var limited net.Listener
	if ln != nil {
		limited = &adminListener{Listener: ln, srv: s}
	}
	return s.serve(&acceptor{Listener: limited, srv: s}, &fasthttp.Server{
		Handler:        s.handleAdmin,
		HeaderReceived: func(h *fasthttp.RequestHeader) fasthttp.RequestConfig { return s.adminHead(h, nil) },
		// A body is read in the handler, after the head has been decided on.
		StreamRequestBody: true,
		ErrorHandler: func(ctx *fasthttp.RequestCtx, err error) {
			status, problem := s.requestProblem(ctx, err)
			s.api.RefuseRequest(ctx, status, problem)
		},
	})
}

func (s *Server) serve(ln *acceptor, srv *fasthttp.Server) error {
	if ln.Listener == nil {
		return errors.New("transport: the listener is nil: use one of Listen")
	}
	var err error
	if ln.from, err = socket.Listen(ln.Listener, s.streams.Poller(), ln.idle); err != nil {
		return err
	}
	s.mu.Lock()
	s.listeners = append(s.listeners, ln)
	s.limitUnacknowledged(ln)
	s.mu.Unlock()
	select {
	case <-s.stop:
		_ = ln.Close()
	default:
		if ln.streams && s.streams.Draining() {
			_ = ln.Close()
		}
	}
	srv.NoDefaultServerHeader = true
	srv.SecureErrorLogMessage = true // the others hold the head of the request
	srv.DisablePreParseMultipartForm = true
	srv.ReadTimeout = s.requestTimeout
	srv.WriteTimeout = s.requestTimeout
	srv.IdleTimeout = s.settings.Load().IdleTimeout
	srv.ReadBufferSize = s.settings.Load().maxHead(ln.streams)
	// The buffer for the head of a stream is large. With this option a connection has
	// none before its first byte and between two requests.
	srv.ReduceMemoryUsage = ln.streams
	srv.Logger = fasthttpLog{s.log}
	ln.http = srv
	return ln.serve()
}

func port(ln net.Listener) int32 {
	if a, ok := ln.Addr().(*net.TCPAddr); ok {
		return int32(a.Port)
	}
	return 0
}

// Engine returns the engine that the server serves.
func (s *Server) Engine() *engine.Engine { return s.eng }

// Registry returns the server's Prometheus registry, which /metrics serves, for
// embedding programs that serve it themselves or add to it.
func (s *Server) Registry() *prometheus.Registry { return s.metrics.Registry }

// Open returns the number of streams that are open.
func (s *Server) Open() int { return s.streams.Open() }
