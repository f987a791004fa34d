package sse

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.k6.io/k6/js/modulestest"
	"go.k6.io/k6/lib"
	"go.k6.io/k6/lib/netext"
	"go.k6.io/k6/metrics"
	"go.uber.org/goleak"
	"gopkg.in/guregu/null.v3"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
	"fanfare/internal/test/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long anything may take before a test gives up.
const patience = eventually.Patience

// vu is a VU with the module, and what it reported.
type vu struct {
	t      *testing.T
	rt     *modulestest.Runtime
	state  *lib.State
	log    *proctest.Log
	module *Module
	// instance is touched between iterations only.
	instance *instance

	mu      sync.Mutex
	samples []metrics.Sample
	notes   []string // what the script gave to note()
	changed chan struct{}
}

// newVU makes a VU whose globals are sse, EventSource, note(text) and the given ones.
func newVU(t *testing.T, globals map[string]any) *vu {
	t.Helper()
	v := &vu{t: t, rt: modulestest.NewRuntime(t), log: new(proctest.Log), module: New(), changed: make(chan struct{}, 1)}
	registry := v.rt.VU.InitEnvField.Registry
	v.instance = v.module.NewModuleInstance(v.rt.VU).(*instance)
	exports := v.instance.Exports()
	js := v.rt.VU.Runtime()
	set := func(name string, value any) {
		if err := js.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	set("sse", exports.Default)
	set("EventSource", exports.Named["EventSource"])
	set("note", v.note)
	for name, value := range globals {
		set(name, value)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	samples := make(chan metrics.SampleContainer, 1000)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for container := range samples {
			if b, ok := container.(barrier); ok {
				close(b)
				continue
			}
			v.mu.Lock()
			v.samples = append(v.samples, container.GetSamples()...)
			v.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		close(samples)
		<-read
	})
	logger := logrus.New()
	logger.SetOutput(v.log)
	v.state = &lib.State{
		Options: lib.Options{
			SystemTags: &metrics.DefaultSystemTagSet, UserAgent: null.StringFrom("k6 test"), Throw: null.BoolFrom(false),
			RunTags: map[string]string{"of": "run"},
		},
		BuiltinMetrics: v.rt.BuiltinMetrics, Logger: logger, Dialer: netext.NewDialer(net.Dialer{}, nil),
		Samples: samples, Tags: lib.NewVUStateTags(registry.RootTagSet().With("of", "run").With("scenario", "test")), CookieJar: jar,
	}
	v.rt.MoveToVUContext(v.state)
	return v
}

func (v *vu) note(text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.notes = append(v.notes, text)
	select {
	case v.changed <- struct{}{}:
	default:
	}
}

// run runs an iteration, as k6's runner does, and returns its error.
func (v *vu) run(code string) error {
	v.t.Helper()
	ctx, cancel := context.WithCancel(v.rt.VU.CtxField)
	v.rt.VU.CtxField = ctx
	watch := time.AfterFunc(patience, func() {
		v.t.Errorf("the iteration takes longer than %v; notes: %q", patience, v.noted())
		cancel()
	})
	defer watch.Stop()
	err := v.rt.EventLoop.Start(func() error {
		_, err := v.rt.VU.Runtime().RunString(code)
		return err
	})
	cancel()
	v.rt.EventLoop.WaitOnRegistered()
	return err
}

// must runs an iteration that has no error.
func (v *vu) must(code string) {
	v.t.Helper()
	if err := v.run(code); err != nil {
		v.t.Fatalf("%v; notes: %q", err, v.noted())
	}
}

func (v *vu) noted() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.notes)
}

// wantNotes compares all that the script noted.
func (v *vu) wantNotes(want ...string) {
	v.t.Helper()
	v.wantNotesOf(v.noted(), want...)
}

func (v *vu) wantNotesOf(got []string, want ...string) {
	v.t.Helper()
	if !slices.Equal(got, want) {
		v.t.Errorf("noted\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// await waits for a note.
func (v *vu) await(text string) {
	v.t.Helper()
	deadline := time.After(patience)
	for !slices.Contains(v.noted(), text) {
		select {
		case <-v.changed:
		case <-deadline:
			v.t.Errorf("%q wasn't noted; notes: %q", text, v.noted())
			return
		}
	}
}

// barrier is a container without samples, which tells that all those before it have been read.
type barrier chan struct{}

func (barrier) GetSamples() []metrics.Sample { return nil }

// values are the samples of a metric whose tags include those given as name=value.
func (v *vu) values(metric string, tags ...string) []float64 {
	v.t.Helper()
	read := make(barrier)
	v.state.Samples <- read
	<-read
	v.mu.Lock()
	defer v.mu.Unlock()
	var found []float64
	for _, s := range v.samples {
		if s.Metric.Name != metric {
			continue
		}
		all := s.Tags.Map()
		if !slices.ContainsFunc(tags, func(tag string) bool {
			name, value, _ := strings.Cut(tag, "=")
			return all[name] != value
		}) {
			found = append(found, s.Value)
		}
	}
	return found
}

// wantSum checks the sum of a metric's samples.
func (v *vu) wantSum(want float64, metric string, tags ...string) {
	v.t.Helper()
	var sum float64
	for _, value := range v.values(metric, tags...) {
		sum += value
	}
	if sum != want {
		v.t.Errorf("%s%v: %v, want %v", metric, tags, sum, want)
	}
}

// wantCount checks how many samples a metric has.
func (v *vu) wantCount(want int, metric string, tags ...string) {
	v.t.Helper()
	if got := v.values(metric, tags...); len(got) != want {
		v.t.Errorf("%s%v: %d samples %v, want %d", metric, tags, len(got), got, want)
	}
}

const streamHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

// wire is a server of raw connections.
type wire struct{ url string }

// serve starts a server whose nth connection (from 0), of which the request's head has been read, is given to handle and
// closed after it. At the end of the test the connections are closed.
func serve(t *testing.T, handle func(n int, c *net.TCPConn, req *http.Request)) *wire {
	t.Helper()
	l := wiretest.Serve(t, func(n int, c *net.TCPConn) {
		if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			handle(n, c, req)
		}
	})
	return &wire{url: "http://" + l.Addr().String()}
}

// send writes; a client that has gone is no failure.
func send(c net.Conn, text string) { _, _ = io.WriteString(c, text) }

// reset ends the connection with a TCP reset.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// hold waits until the client has gone.
func hold(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// streaming answers every request with the same text and ends.
func streaming(t *testing.T, text string) *wire {
	t.Helper()
	return serve(t, func(_ int, c *net.TCPConn, _ *http.Request) { send(c, streamHead+text) })
}

// refused is the URL of a port on which nobody listens.
func refused(t *testing.T) string {
	t.Helper()
	return "http://" + proctest.FreeAddr(t)
}
