package transport

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"fanfare/codec"
	"fanfare/engine"
)

// Server serves an engine's streams: by fasthttp (Serve), by net/http (Handler),
// or both, and its publish API and metrics (ServeAdmin). All methods may be
// called concurrently.
type Server struct {
	eng      *engine.Engine
	settings atomic.Pointer[settings]
	metrics  *metrics
	batches  *batches
	refusals refusals
	resumes  chan struct{} // a token for each stream that is resuming, see subscribe
	streams  registry
	hangups  *hangups

	clock      atomic.Int64  // milliseconds; kept by sweep, for times that need no precision
	sampleMask atomic.Uint64 // see sampleMask
	open       atomic.Int64  // streams
	blocked    atomic.Int64  // streams that wait for their client

	streamPort atomic.Int32 // of the stream listener, for the page's origin
	adminPort  atomic.Int32 // of the admin listener, for the page
	ready      atomic.Bool
	draining   atomic.Bool

	requestTimeout time.Duration // the constant, but for tests

	mu        sync.Mutex
	listeners []*acceptor
	stopOnce  sync.Once
	stop      chan struct{}
	done      sync.WaitGroup
}

// NewServer returns a server over eng, which stays the caller's to close, after
// the server. Errors name the option at fault.
func NewServer(eng *engine.Engine, o Options) (*Server, error) {
	if eng == nil {
		return nil, errors.New("transport: the engine is nil: give NewServer what engine.New returned")
	}
	set, err := newSettings(o)
	if err != nil {
		return nil, err
	}
	hangups, err := newHangups()
	if err != nil {
		return nil, err
	}
	s := &Server{
		eng:     eng,
		batches: newBatches(4 * eng.Wakers()),
		resumes: make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1)),
		hangups: hangups,
		stop:    make(chan struct{}),

		requestTimeout: requestTimeout,
	}
	s.settings.Store(set)
	s.metrics = newMetrics(s)
	s.clock.Store(1)
	s.ready.Store(true)
	s.done.Add(1)
	go s.sweep()
	return s, nil
}

// Reconfigure replaces the options, except MaxConnections and Logger, for new
// streams and, where that has a meaning, for the open ones. On an error nothing
// changes.
func (s *Server) Reconfigure(o Options) error {
	old := s.settings.Load()
	o.MaxConnections, o.Logger = old.MaxConnections, old.Logger
	set, err := newSettings(o)
	if err == nil {
		s.settings.Store(set)
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, ln := range s.listeners {
			s.limitUnacknowledged(ln)
		}
	}
	return err
}

// limitUnacknowledged applies WriteTimeout to what the kernel has taken for the
// connections of a stream listener.
func (s *Server) limitUnacknowledged(ln *acceptor) {
	o := s.settings.Load()
	if !ln.streams {
		return
	}
	if err := setUserTimeout(ln.Listener, o.WriteTimeout); err != nil && !errors.Is(err, net.ErrClosed) {
		o.Logger.Warn("clients that vanish are noticed by the kernel's own time", "error", err)
	}
}

// Serve accepts connections for streams until the listener is closed, by Drain
// or Close, and then returns nil. Use a listener of Listen; others work too, but
// then clients that never read cost more kernel memory.
func (s *Server) Serve(ln net.Listener) error {
	if ln != nil {
		s.streamPort.CompareAndSwap(0, port(ln))
	}
	return s.serve(&acceptor{Listener: ln, srv: s, streams: true}, &fasthttp.Server{
		Handler:            s.handle,
		ErrorHandler:       s.streamError,
		MaxRequestBodySize: maxStreamBody,
	})
}

// ServeAdmin serves the publish API and the metrics, see Options.PublishToken.
func (s *Server) ServeAdmin(ln net.Listener) error {
	if ln != nil {
		s.adminPort.CompareAndSwap(0, port(ln))
	}
	return s.serve(&acceptor{Listener: ln, srv: s}, &fasthttp.Server{
		Handler: s.handleAdmin,
		HeaderReceived: func(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
			o := s.settings.Load()
			return fasthttp.RequestConfig{MaxRequestBodySize: o.MaxBodyBytes, ReadTimeout: s.bodyTimeout(h.ContentLength(), o)}
		},
		ErrorHandler: s.adminError,
	})
}

func (s *Server) serve(ln *acceptor, srv *fasthttp.Server) error {
	if ln.Listener == nil {
		return errors.New("transport: the listener is nil: use one of Listen")
	}
	s.mu.Lock()
	s.listeners = append(s.listeners, ln)
	s.limitUnacknowledged(ln)
	s.mu.Unlock()
	select {
	case <-s.stop:
		_ = ln.Close()
	default:
		if ln.streams && s.draining.Load() {
			_ = ln.Close()
		}
	}
	srv.NoDefaultServerHeader = true
	srv.ReadTimeout = s.requestTimeout
	srv.WriteTimeout = s.requestTimeout
	srv.IdleTimeout = s.settings.Load().IdleTimeout
	srv.ReadBufferSize = s.settings.Load().maxHead()
	srv.Logger = fasthttpLog{s}
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

// Publish encodes the event and publishes it to key; "" means Options.CacheKey.
// Errors: *codec.Error, *SizeError, and those of engine.Publish.
func (s *Server) Publish(key string, ev codec.Event) (engine.Published, error) {
	buf := scratch.Get()
	defer scratch.Put(buf)
	f, err := s.encode(buf, ev)
	if err != nil {
		return engine.Published{}, err
	}
	if key, err = s.publishKey(key); err != nil {
		return engine.Published{}, err
	}
	return s.publishFrame(key, f)
}

// PublishAll encodes the event and publishes it to all keys. It returns how many
// keys and subscribers there were. Errors as of Publish.
func (s *Server) PublishAll(ev codec.Event) (keys, subscribers int, err error) {
	buf := scratch.Get()
	defer scratch.Put(buf)
	f, err := s.encode(buf, ev)
	if err != nil {
		return 0, 0, err
	}
	return s.publishFrameAll(f)
}

// Close ends everything at once: listeners, connections, streams, goroutines.
// Drain is the polite way.
func (s *Server) Close() {
	s.ready.Store(false)
	s.draining.Store(true)
	s.stopOnce.Do(func() { close(s.stop) })
	s.closeListeners(func(*acceptor) bool { return true })
	s.endStreams(context.Background(), engine.ReasonError)
	s.closeConns()
	s.done.Wait()
	s.hangups.close()
}

func (s *Server) closeListeners(which func(*acceptor) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ln := range s.listeners {
		if which(ln) {
			_ = ln.Close()
		}
	}
}

func (s *Server) closeConns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ln := range s.listeners {
		ln.closeConns()
	}
}

// Open returns the number of streams that are open.
func (s *Server) Open() int { return int(s.open.Load()) }
