// Package bridgetest runs a server in the test's process for a source of events, whose streams are read over real HTTP.
package bridgetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
	"fanfare/transport"
)

// Server is a server whose events come from a bridge.
type Server struct {
	T      testing.TB
	Eng    *engine.Engine
	Srv    *transport.Server
	Addr   string        // of the streams, after Serve
	Log    *proctest.Log // what Logger has logged
	Logger *slog.Logger
	// Stop ends the bridge and the server. The end of the test calls it, too.
	Stop func()
}

// Bridge is a source.
type Bridge interface {
	Start()
	Settled(context.Context)
	Close()
}

// New makes a server. maxEventBytes 0 is the default.
func New(t testing.TB, o engine.Options, maxEventBytes int) *Server {
	t.Helper()
	s := &Server{T: t, Log: &proctest.Log{}}
	s.Logger = slog.New(slog.NewTextHandler(s.Log, nil))
	s.Eng = engine.New(o)
	var err error
	if s.Srv, err = transport.NewServer(s.Eng, transport.Options{MaxConnections: 100, MaxEventBytes: maxEventBytes, Logger: s.Logger}); err != nil {
		t.Fatal(err)
	}
	return s
}

// Publish publishes an event of the bridge. tooLarge is how the bridge knows one that is larger than allowed.
func (s *Server) Publish(key string, ev codec.Event, tooLarge error) error {
	_, err := s.Srv.Publish(key, ev)
	var size *transport.SizeError
	if errors.As(err, &size) {
		return fmt.Errorf("%w: %w", tooLarge, err)
	}
	return err
}

// Serve starts the bridge and, once it has settled, the listener at addr, as the command does. "" is a free address.
func (s *Server) Serve(b Bridge, addr string) {
	s.T.Helper()
	b.Start()
	settling, cancel := context.WithTimeout(context.Background(), eventually.Patience)
	defer cancel()
	b.Settled(settling)
	if addr == "" {
		addr = proctest.FreeAddr(s.T)
	}
	ln, err := transport.Listen(context.Background(), addr)
	if err != nil {
		s.T.Fatal(err)
	}
	s.Addr = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- s.Srv.Serve(ln) }()
	s.Stop = sync.OnceFunc(func() {
		b.Close()
		s.Srv.Close()
		if err := <-served; err != nil {
			s.T.Errorf("Serve: %v", err)
		}
		s.Eng.Close()
	})
	s.T.Cleanup(func() {
		s.Stop()
		if s.T.Failed() {
			s.T.Logf("log:\n%s", s.Log)
		}
	})
}

// Metric returns the sum of the series of a metric that have all labels, given as name=value. It fails the test if there are
// none.
func (s *Server) Metric(name string, labels ...string) (sum float64) {
	s.T.Helper()
	families, err := s.Srv.Registry().Gather()
	if err != nil {
		s.T.Fatal(err)
	}
	any := false
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
	series:
		for _, m := range family.GetMetric() {
			for _, want := range labels {
				found := false
				for _, l := range m.GetLabel() {
					found = found || l.GetName()+"="+l.GetValue() == want
				}
				if !found {
					continue series
				}
			}
			any = true
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	if !any {
		s.T.Fatalf("no metric %s %v", name, labels)
	}
	return sum
}

// AwaitMetric waits until a metric has a value.
func (s *Server) AwaitMetric(want float64, name string, labels ...string) {
	s.T.Helper()
	eventually.Equal(s.T, fmt.Sprint(name, labels), want, func() float64 { return s.Metric(name, labels...) })
}
