package sse

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/js/common"
)

// errInit is the error of a stream that is opened in the init context, where there is no network.
var errInit = common.NewInitContextError("k6/x/sse: streams cannot be opened in the init context: open them in the default function, or in setup()")

// source is the JavaScript side of a stream: the EventSource and its listeners.
type source struct {
	stream *stream

	// Event loop only.
	this       *sobek.Object
	rt         *sobek.Runtime
	on         map[string]sobek.Value // onopen, onmessage, onerror
	listeners  map[string][]listener
	readyState int    // changes between two tasks, as in a browser, and not while the script runs
	closed     bool   // by close()
	origin     string // of the open connection's URL, which may differ after redirects

	// types is the set of event types that have listeners. The event loop makes a new set at each change, and the stream's
	// goroutine loads it. It is nil until the script has first returned to the event loop, because listeners are usually added
	// right after the constructor.
	types atomic.Pointer[map[string]struct{}]
}

type listener struct {
	value sobek.Value
	call  sobek.Callable
	once  bool
}

var handlers = []string{"open", "message", "error"}

// defineEventSource makes the class. The methods are on its prototype, so an instance costs little more than its source.
func (i *instance) defineEventSource() {
	rt := i.vu.Runtime()
	i.sourceOf = sobek.NewSymbol("k6/x/sse source")
	class := rt.ToValue(i.construct).(*sobek.Object) //nolint:forcetypeassert // a function is an object
	proto := class.Get("prototype").ToObject(rt)
	for name, value := range map[string]int{"CONNECTING": connecting, "OPEN": open, "CLOSED": closed} {
		for _, o := range []*sobek.Object{class, proto} {
			must(rt, o.DefineDataProperty(name, rt.ToValue(value), sobek.FLAG_FALSE, sobek.FLAG_FALSE, sobek.FLAG_TRUE))
		}
	}
	method := func(name string, f func(*source, sobek.FunctionCall) sobek.Value) {
		must(rt, proto.DefineDataProperty(name, rt.ToValue(func(call sobek.FunctionCall) sobek.Value {
			return f(i.source(call.This), call)
		}), sobek.FLAG_TRUE, sobek.FLAG_TRUE, sobek.FLAG_TRUE))
	}
	method("close", (*source).close)
	method("leave", (*source).leave)
	method("addEventListener", (*source).addEventListener)
	method("removeEventListener", (*source).removeEventListener)

	accessor := func(name string, get func(*source) any, set func(*source, sobek.Value)) {
		getter := rt.ToValue(func(call sobek.FunctionCall) sobek.Value { return rt.ToValue(get(i.source(call.This))) })
		var setter sobek.Value
		if set != nil {
			setter = rt.ToValue(func(call sobek.FunctionCall) sobek.Value {
				set(i.source(call.This), call.Argument(0))
				return sobek.Undefined()
			})
		}
		must(rt, proto.DefineAccessorProperty(name, getter, setter, sobek.FLAG_TRUE, sobek.FLAG_TRUE))
	}
	accessor("url", func(s *source) any { return s.stream.opts.url.String() }, nil)
	accessor("readyState", func(s *source) any { return s.readyState }, nil)
	accessor("withCredentials", func(*source) any { return true }, nil)
	accessor("lastEventId", func(s *source) any { return s.stream.lastEventID() }, nil)
	accessor("stats", func(s *source) any {
		n := s.stream.snapshot()
		o := rt.NewObject()
		for name, v := range map[string]int64{
			"events": n.Events, "lost": n.Lost, "duplicate": n.Duplicate, "reordered": n.Reordered,
			"misrouted": n.Misrouted, "malformed": n.Malformed, "reconnects": n.Reconnects, "bytes": n.Bytes,
		} {
			must(rt, o.Set(name, v))
		}
		return o
	}, nil)
	for _, kind := range handlers {
		accessor("on"+kind, func(s *source) any {
			if v := s.on[kind]; v != nil {
				return v
			}
			return sobek.Null()
		}, func(s *source, v sobek.Value) {
			if _, callable := sobek.AssertFunction(v); !callable {
				v = nil
			}
			s.setHandler(kind, v)
		})
	}
	i.eventSource = class
}

// source returns the source of an EventSource.
func (i *instance) source(this sobek.Value) *source {
	if o, ok := this.(*sobek.Object); ok {
		if hidden := o.GetSymbol(i.sourceOf); hidden != nil {
			if s, ok := hidden.Export().(*source); ok {
				return s
			}
		}
	}
	panic(i.vu.Runtime().NewTypeError("this is not an EventSource"))
}

// construct is new EventSource(url, options).
func (i *instance) construct(call sobek.ConstructorCall) *sobek.Object {
	rt, state := i.vu.Runtime(), i.vu.State()
	if state == nil {
		common.Throw(rt, errInit)
	}
	o, err := newOptions(state, call.Argument(0))
	if err == nil {
		err = parser{rt: rt, state: state, o: o}.eventSource(call.Argument(1))
	}
	if err != nil {
		common.Throw(rt, fmt.Errorf("new EventSource: %w", err))
	}
	s := &source{this: call.This, rt: rt}
	must(rt, call.This.DefineDataPropertySymbol(i.sourceOf, rt.ToValue(s), sobek.FLAG_FALSE, sobek.FLAG_FALSE, sobek.FLAG_FALSE))
	for {
		h := i.hubOf()
		s.stream = newStream(h, s, o)
		if h.add(s.stream) {
			h.queue(s.settle)
			return nil
		}
	}
}

// settle is called when the script has returned to the event loop after the constructor.
func (s *source) settle() error {
	s.publishTypes()
	if n := s.stream.passedTo(*s.types.Load()); n > 0 {
		s.stream.hub.module.warn(s.stream.hub.state, fmt.Sprintf("EventSource %s: %d events were counted but not handed to their listeners, "+
			"as the script hadn't returned to the event loop since the constructor; use setTimeout or await instead of sleep", nameOf(s.stream.opts.url), n))
	}
	return nil
}

// heard reports whether events of this type may have a listener.
func (s *source) heard(kind []byte) bool {
	types := s.types.Load()
	if types == nil {
		return true
	}
	_, ok := (*types)[string(kind)]
	return ok
}

// settled reports whether the script has returned to the event loop since the constructor.
func (s *source) settled() bool { return s.types.Load() != nil }

// publishTypes stores the types that have listeners, for the stream's goroutine.
func (s *source) publishTypes() {
	types := make(map[string]struct{}, len(s.on)+len(s.listeners))
	for kind := range s.on {
		types[kind] = struct{}{}
	}
	for kind := range s.listeners {
		types[kind] = struct{}{}
	}
	if len(types) == 0 {
		s.types.Store(&noTypes)
		return
	}
	s.types.Store(&types)
}

var noTypes = map[string]struct{}{}

// changed publishes the types again, if they have been published before.
func (s *source) changed() {
	if s.settled() {
		s.publishTypes()
	}
}

func (s *source) setHandler(kind string, v sobek.Value) {
	if v == nil {
		delete(s.on, kind)
	} else {
		if s.on == nil {
			s.on = make(map[string]sobek.Value, 1)
		}
		s.on[kind] = v
	}
	s.changed()
}

func (s *source) addEventListener(call sobek.FunctionCall) sobek.Value {
	kind, value := call.Argument(0).String(), call.Argument(1)
	l := listener{value: value}
	var ok bool
	if l.call, ok = sobek.AssertFunction(value); !ok {
		panic(s.rt.NewTypeError("addEventListener(%q, …): the listener must be a function", kind))
	}
	if o, is := call.Argument(2).(*sobek.Object); is {
		if once := o.Get("once"); once != nil {
			l.once = once.ToBoolean()
		}
	}
	same := func(other listener) bool { return other.value.SameAs(value) }
	if slices.ContainsFunc(s.listeners[kind], same) {
		return sobek.Undefined() // as in the DOM, a listener is added only once
	}
	if s.listeners == nil {
		s.listeners = make(map[string][]listener, 1)
	}
	s.listeners[kind] = append(slices.Clone(s.listeners[kind]), l)
	s.changed()
	return sobek.Undefined()
}

func (s *source) removeEventListener(call sobek.FunctionCall) sobek.Value {
	s.remove(call.Argument(0).String(), call.Argument(1))
	return sobek.Undefined()
}

func (s *source) remove(kind string, value sobek.Value) {
	// Copy the list, because its listeners may be being called.
	rest := slices.DeleteFunc(slices.Clone(s.listeners[kind]), func(l listener) bool { return l.value.SameAs(value) })
	if len(rest) == 0 {
		delete(s.listeners, kind)
	} else {
		s.listeners[kind] = rest
	}
	s.changed()
}

func (s *source) close(sobek.FunctionCall) sobek.Value {
	s.closed, s.readyState = true, closed
	s.stream.shut()
	return sobek.Undefined()
}

// leave closes the stream when it has everything that was published up to now, or after a time.
func (s *source) leave(call sobek.FunctionCall) sobek.Value {
	patience, err := duration(call.Argument(0))
	if err != nil {
		common.Throw(s.rt, fmt.Errorf("leave: the time %w", err))
	}
	s.stream.leave(patience)
	return sobek.Undefined()
}

// left reports to JavaScript that the stream has left. The stream's goroutine calls it, like opened and failed.
func (s *source) left() {
	s.stream.hub.queue(func() error {
		s.closed, s.readyState = true, closed
		return nil
	})
}

// opened reports to JavaScript that the stream is open.
func (s *source) opened(origin string) {
	s.stream.hub.queue(func() error {
		s.origin = origin
		if !s.closed {
			s.readyState = open
		}
		return s.call("open", func(*sobek.Object) {})
	})
}

// failed reports to JavaScript that the stream was lost or could not be opened. If the state is closed, it will not reconnect.
func (s *source) failed(err error, state int) {
	s.stream.hub.queue(func() error {
		if s.closed {
			return nil
		}
		s.readyState = state
		if state == closed && len(s.listeners["error"]) == 0 && s.on["error"] == nil {
			s.stream.hub.warn(fmt.Sprintf("EventSource %s: %v; it is closed", nameOf(s.stream.opts.url), err))
		}
		var status int
		var refused *responseError
		if errors.As(err, &refused) {
			status = refused.status
		}
		return s.call("error", func(event *sobek.Object) {
			must(s.rt, event.Set("message", err.Error()))
			must(s.rt, event.Set("status", status))
			must(s.rt, event.Set("fatal", state == closed))
		})
	})
}

// dispatch passes events to their listeners. It runs on the event loop, like call.
func (s *source) dispatch(batch []message) error {
	for _, m := range batch {
		if err := s.call(m.kind, func(event *sobek.Object) {
			must(s.rt, event.Set("data", m.data))
			must(s.rt, event.Set("lastEventId", m.lastEventID))
			must(s.rt, event.Set("origin", s.origin))
		}); err != nil {
			return err
		}
	}
	return nil
}

// call calls the listeners of a type: on… first, then the others in the order in which they were added. It calls none after close
// and after the end of the iteration.
func (s *source) call(kind string, fill func(event *sobek.Object)) error {
	list, on := s.listeners[kind], s.on[kind]
	if len(list) == 0 && on == nil || s.closed || s.stream.hub.silent() {
		return nil
	}
	event := s.rt.NewObject()
	must(s.rt, event.Set("type", kind))
	must(s.rt, event.Set("target", s.this))
	must(s.rt, event.Set("timeStamp", float64(time.Now().UnixMicro())/1000))
	fill(event)
	if handler, ok := sobek.AssertFunction(on); ok {
		if _, err := handler(s.this, event); err != nil {
			return err
		}
	}
	for _, l := range list {
		if s.closed {
			break
		}
		if l.once {
			s.remove(kind, l.value)
		}
		if _, err := l.call(s.this, event); err != nil {
			return err
		}
	}
	return nil
}
