package nats

import (
	"context"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"fanfare/bridge/payload"
	"fanfare/bridge/relay"
	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/test/bridgetest"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/natstest"
	"fanfare/internal/test/proctest"
	"fanfare/internal/test/wiretest"
)

// fasthttp looks every ten seconds whether its pool of workers should stop.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// fanfare is a server with a bridge.
type fanfare struct {
	*bridgetest.Server
	bridge *Bridge
}

type setup struct {
	url           string
	rules         []string
	payload       payload.Mode
	maxEventBytes int
	maxKeys       int
	leads         func() bool
	durable       bool
	succession    *relay.Succession
}

// startFanfare runs a server until the end of the test, or until stop.
func startFanfare(t testing.TB, s setup) *fanfare {
	t.Helper()
	rules, err := ParseRules(s.rules)
	if err != nil {
		t.Fatal(err)
	}
	f := &fanfare{Server: bridgetest.New(t, engine.Options{MaxKeys: s.maxKeys, MaxSubscriberKeys: s.maxKeys}, s.maxEventBytes)}
	f.bridge, err = New(Options{
		URL: s.url, Rules: rules, Leads: s.leads, Succession: s.succession, Durable: s.durable, Payload: s.payload, Timeout: 2 * time.Second, Engine: f.Eng,
		Publish: func(_ context.Context, messages []relay.Message) []error {
			errs := make([]error, len(messages))
			for i, m := range messages {
				errs[i] = f.Publish(m.Key, m.Event, ErrTooLarge)
			}
			return errs
		},
		Registerer: f.Srv.Registry(), Logger: f.Logger, backoffMin: 5 * time.Millisecond, backoffMax: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Serve(f.bridge, "")
	return f
}

// subscribe opens a stream of a key.
func (f *fanfare) subscribe(key string) *wiretest.Events {
	f.T.Helper()
	return wiretest.Subscribe(f.T, f.Addr, proctest.StreamPath(key))
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
