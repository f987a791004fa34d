package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"fanfare/bridge/payload"
	"fanfare/bridge/relay"
	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/natstest"
	"fanfare/internal/test/proctest"
	"fanfare/internal/test/wiretest"
	"fanfare/transport"
)

// fasthttp looks every ten seconds whether its pool of workers should stop.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// fanfare is a server with a bridge: streams over real HTTP.
type fanfare struct {
	t      testing.TB
	eng    *engine.Engine
	srv    *transport.Server
	bridge *Bridge
	addr   string
	log    *proctest.Log
	stop   func()
}

type setup struct {
	url, queue    string
	rules         []string
	payload       payload.Mode
	maxEventBytes int
	maxKeys       int
	leads         func() bool
}

// startFanfare runs a server until the end of the test, or until stop.
func startFanfare(t testing.TB, s setup) *fanfare {
	t.Helper()
	rules, err := ParseRules(s.rules)
	if err != nil {
		t.Fatal(err)
	}
	f := &fanfare{t: t, log: &proctest.Log{}}
	logger := slog.New(slog.NewTextHandler(f.log, nil))
	f.eng = engine.New(engine.Options{MaxKeys: s.maxKeys, MaxSubscriberKeys: s.maxKeys})
	if f.srv, err = transport.NewServer(f.eng, transport.Options{MaxConnections: 100, MaxEventBytes: s.maxEventBytes, Logger: logger}); err != nil {
		t.Fatal(err)
	}
	f.bridge, err = New(Options{
		URL: s.url, Rules: rules, Queue: s.queue, Leads: s.leads, Payload: s.payload, Timeout: 2 * time.Second, Engine: f.eng,
		Publish: func(_ context.Context, messages []relay.Message) []error {
			errs := make([]error, len(messages))
			for i, m := range messages {
				var size *transport.SizeError
				if _, errs[i] = f.srv.Publish(m.Key, m.Event); errors.As(errs[i], &size) {
					errs[i] = fmt.Errorf("%w: %w", ErrTooLarge, errs[i])
				}
			}
			return errs
		},
		Registerer: f.srv.Registry(), Logger: logger, backoffMin: 5 * time.Millisecond, backoffMax: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := transport.Listen(context.Background(), proctest.FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	f.addr = ln.Addr().String()
	f.bridge.Start()
	settling, cancel := context.WithTimeout(context.Background(), eventually.Patience)
	defer cancel()
	f.bridge.Settled(settling)
	served := make(chan error, 1)
	go func() { served <- f.srv.Serve(ln) }()
	f.stop = sync.OnceFunc(func() {
		f.bridge.Close()
		f.srv.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		f.eng.Close()
	})
	t.Cleanup(func() {
		f.stop()
		if t.Failed() {
			t.Logf("log:\n%s", f.log)
		}
	})
	return f
}

// subscribe opens a stream of a key.
func (f *fanfare) subscribe(key string) *wiretest.Events {
	f.t.Helper()
	return wiretest.Subscribe(f.t, f.addr, proctest.StreamPath(key))
}

// metric returns the sum of the series of a metric that have the label's value; "" for all.
func (f *fanfare) metric(name, label string) (sum float64) {
	f.t.Helper()
	families, err := f.srv.Registry().Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if label == "" || len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// awaitMetric waits until a metric has a value.
func (f *fanfare) awaitMetric(want float64, name, label string) {
	f.t.Helper()
	eventually.Equal(f.t, name+" "+label, want, func() float64 { return f.metric(name, label) })
}

// publisher is a client of NATS, as an application has one.
type publisher struct {
	t  testing.TB
	nc *natsgo.Conn
}

func connect(t testing.TB, s *natstest.Server) publisher {
	t.Helper()
	nc, err := natsgo.Connect(s.URL(), natsgo.MaxReconnects(-1), natsgo.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return publisher{t, nc}
}

// publish publishes, and returns when the server has it.
func (p publisher) publish(subject string, data ...string) {
	p.t.Helper()
	for _, d := range data {
		if err := p.nc.Publish(subject, []byte(d)); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := p.nc.FlushTimeout(eventually.Patience); err != nil {
		p.t.Fatal(err)
	}
}

func eventOf(data string) codec.Event { return codec.Event{Data: []byte(data)} }
