package sse

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/js/common"
	"go.k6.io/k6/js/modules"
	"go.k6.io/k6/lib"
)

func init() { modules.Register("k6/x/sse", New()) }

// Module is the module k6/x/sse. A process has one.
type Module struct {
	active  atomic.Int64 // open streams of all VUs
	gaugeMu sync.Mutex   // held while active is read and pushed, so the last sample is the newest
	gaugeAt time.Time    // of that sample; under gaugeMu
	// unanswered is how long an attempt must have waited to count as failed if it is given up by close() or the end of the
	// iteration. A shorter attempt does not count.
	unanswered time.Duration
	ledgers    sync.Map // *ledger by the name of a run
	warned     sync.Map // warnings that were logged, by text, so a thousand streams log a refused connection only once
}

// warn logs a text once for the whole process.
func (m *Module) warn(state *lib.State, text string) {
	if _, again := m.warned.LoadOrStore(text, nil); !again {
		state.Logger.Warn(text)
	}
}

// New makes the module. k6 gets it from modules.Register.
func New() *Module { return &Module{unanswered: time.Second} }

// NewModuleInstance makes the module of a VU.
func (m *Module) NewModuleInstance(vu modules.VU) modules.Instance {
	metrics, err := registerMetrics(vu.InitEnv().Registry)
	if err != nil {
		common.Throw(vu.Runtime(), err)
	}
	i := &instance{module: m, vu: vu, metrics: metrics}
	i.defineEventSource()
	return i
}

// instance is the module of a VU. Its fields belong to the VU's event loop.
type instance struct {
	module      *Module
	vu          modules.VU
	metrics     *sseMetrics
	eventSource *sobek.Object // the constructor
	sourceOf    *sobek.Symbol // the hidden property of an EventSource that holds its *source
	hub         *hub          // of the current iteration; nil before its first stream
}

// Exports has sse.open, sse.EventSource and sse.plan, as default and as named exports.
func (i *instance) Exports() modules.Exports {
	rt := i.vu.Runtime()
	open := rt.ToValue(i.open)
	all := rt.NewObject()
	must(rt, all.Set("open", open))
	must(rt, all.Set("EventSource", i.eventSource))
	must(rt, all.Set("plan", i.newPlan))
	return modules.Exports{
		Default: all,
		Named:   map[string]any{"open": open, "EventSource": i.eventSource, "plan": i.newPlan},
	}
}

// must throws an exception in the script for an error that only a defect of this package can cause.
func must(rt *sobek.Runtime, err error) {
	if err != nil {
		common.Throw(rt, err)
	}
}
