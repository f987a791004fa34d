package sse

import (
	"context"
	"sync"

	"go.k6.io/k6/js/modules"
	"go.k6.io/k6/lib"
)

// hub connects the streams of one iteration to its event loop.
//
// Invariants:
//
//	H1  Until the hub ends, it has exactly one obligation to the loop: either a registered callback (wake is set) or a queued
//	    run. So the iteration stays alive, and a task never waits until another one is queued.
//	H2  Tasks run in the order in which they were queued.
//	H3  A stream is removed once, as the last thing that it does. The hub ends when the last stream is removed. A stream that
//	    is made later gets another hub.
type hub struct {
	module    *Module
	metrics   *sseMetrics
	vu        modules.VU
	ctx       context.Context // of the iteration
	state     *lib.State
	connector connector
	reporter  *reporter
	stop      func() bool // stops the watch over ctx

	broken bool // a listener threw, so JavaScript is no longer called in this iteration. Event loop only

	mu      sync.Mutex // guards the rest
	wake    func(func() error)
	tasks   []func() error
	streams map[*stream]struct{}
	ending  bool
}

// hubOf returns the hub of the current iteration. It runs on the event loop.
func (i *instance) hubOf() *hub {
	ctx := i.vu.Context()
	if h := i.hub; h != nil && h.ctx == ctx && !h.over() {
		return h
	}
	state := i.vu.State()
	h := &hub{
		module: i.module, metrics: i.metrics, vu: i.vu, ctx: ctx, state: state, connector: newConnector(state),
		reporter: startReporter(ctx, i.module, i.metrics, state),
		wake:     i.vu.RegisterCallback(), streams: make(map[*stream]struct{}),
	}
	h.stop = context.AfterFunc(ctx, h.interrupt)
	i.hub = h
	return h
}

func (h *hub) over() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ending
}

// add starts a stream. It refuses if the hub has ended, because its last stream may have been removed since hubOf. It runs on the
// event loop.
func (h *hub) add(s *stream) bool {
	h.mu.Lock()
	if h.ending {
		h.mu.Unlock()
		return false
	}
	h.streams[s] = struct{}{}
	h.mu.Unlock()
	if h.ctx.Err() != nil {
		s.shut() // the watch may have fired before
	}
	go s.connect()
	return true
}

// remove is the last thing that a stream does.
func (h *hub) remove(s *stream) {
	h.mu.Lock()
	delete(h.streams, s)
	h.ending = len(h.streams) == 0
	ending := h.ending
	h.mu.Unlock()
	if ending {
		h.queue(func() error { return nil })
	}
}

// interrupt ends every stream.
func (h *hub) interrupt() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.streams {
		s.shut()
	}
}

// queue makes the event loop run a task. Streams that are not removed may call it from any goroutine.
func (h *hub) queue(task func() error) {
	h.mu.Lock()
	h.tasks = append(h.tasks, task)
	wake := h.wake
	h.wake = nil
	h.mu.Unlock()
	if wake != nil {
		wake(h.run)
	}
}

// run runs the tasks. All of them run, even if one fails, because streams wait for them.
func (h *hub) run() error {
	h.mu.Lock()
	tasks, ending := h.tasks, h.ending
	h.tasks = nil
	if !ending {
		h.wake = h.vu.RegisterCallback()
	}
	h.mu.Unlock()
	var failure error
	for _, task := range tasks {
		if err := task(); err != nil && failure == nil {
			failure, h.broken = err, true
		}
	}
	if ending {
		h.stop()
		h.reporter.end()
	}
	return failure
}

// silent reports whether JavaScript must not be called any more. Event loop only.
func (h *hub) silent() bool { return h.broken || h.ctx.Err() != nil }

// warn logs a text for which there is no listener, once for the whole process.
func (h *hub) warn(text string) {
	h.module.warn(h.state, text+" (logged once; an error listener would get it instead)")
}
