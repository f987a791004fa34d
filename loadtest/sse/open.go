package sse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/js/common"
	"go.k6.io/k6/metrics"

	"fanfare/codec"
)

// errClosed ends a stream after the script has called client.close().
var errClosed = errors.New("closed by the script")

// response is the result of open. Its members are those of xk6-sse.
type response struct {
	URL     string            `js:"url"`
	Status  int               `js:"status"`
	Headers map[string]string `js:"headers"`
	Error   string            `js:"error"`
}

// event is the argument of a listener of 'event'. Its members are those of xk6-sse.
type event struct {
	ID      string `js:"id"`      // the last event id as of this event
	Name    string `js:"name"`    // "" if the stream did not send one
	Data    string `js:"data"`    // lines joined by LF
	Comment string `js:"comment"` // the last comment line since the previous event
}

// failure is the argument of a listener of 'error'. That of xk6-sse has only the method error().
type failure struct {
	Message string `js:"message"`
	Status  int    `js:"status"` // of the response; 0 without one
}

// Error makes e.error() work.
func (f *failure) Error() string { return f.Message }

// client is the argument of open's function. It belongs to the event loop, which open blocks.
type client struct {
	instance *instance
	opts     *options
	reporter *reporter
	cancel   context.CancelCauseFunc
	handlers map[string][]sobek.Callable
	failed   error // of a handler; after it no handler is called
	closed   bool
	parser   codec.Parser
	seqs     sequences
	comment  string
}

// On adds a handler of 'open', 'event', 'error' or 'close'.
func (c *client) On(kind string, handler sobek.Value) {
	call, ok := sobek.AssertFunction(handler)
	switch {
	case !ok:
		common.Throw(c.instance.vu.Runtime(), fmt.Errorf("client.on(%q, …): the handler must be a function", kind))
	case kind != "open" && kind != "event" && kind != "error" && kind != "close":
		common.Throw(c.instance.vu.Runtime(), fmt.Errorf("client.on(%q, …): there is no such event: use 'open', 'event', 'error' or 'close'", kind))
	}
	c.handlers[kind] = append(c.handlers[kind], call)
}

// Close ends the stream. open returns soon after it.
func (c *client) Close() {
	c.closed = true
	c.cancel(errClosed)
}

// emit calls the handlers of an event. It calls none after a handler threw, and after the end of the iteration.
func (c *client) emit(kind string, arg func() any) {
	if c.failed != nil || len(c.handlers[kind]) == 0 || c.interrupted() {
		return
	}
	var args []sobek.Value
	if arg != nil {
		args = append(args, c.instance.vu.Runtime().ToValue(arg()))
	}
	for _, call := range c.handlers[kind] {
		if _, err := call(sobek.Undefined(), args...); err != nil {
			c.failed = err
			c.cancel(err)
			return
		}
	}
}

// open is sse.open(url, params, fn), the call of xk6-sse. It blocks until the stream has ended. It calls the function before it
// makes the connection, so the handlers get everything.
func (i *instance) open(target sobek.Value, args ...sobek.Value) (*response, error) {
	rt, state := i.vu.Runtime(), i.vu.State()
	if state == nil {
		return nil, errInit
	}
	params, setup := sobek.Undefined(), sobek.Value(nil)
	switch len(args) {
	case 1:
		setup = args[0]
	case 2:
		params, setup = args[0], args[1]
	default:
		return nil, errors.New("sse.open: wrong arguments: give a URL, options and a function, or a URL and a function")
	}
	start, ok := sobek.AssertFunction(setup)
	if !ok {
		return nil, errors.New("sse.open: the last argument must be a function")
	}
	o, err := newOptions(state, target)
	if err == nil {
		err = parser{rt: rt, state: state, o: o, ignored: func(key string) {
			i.module.warn(state, fmt.Sprintf("sse.open: unknown option %q is ignored", key))
		}}.open(params)
	}
	if err != nil {
		return nil, fmt.Errorf("sse.open: %w", err)
	}

	ctx, cancel := context.WithCancelCause(i.vu.Context())
	defer cancel(nil)
	if o.timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("the stream took longer than %v (timeout)", o.timeout))
		defer stop()
	}
	c := &client{
		instance: i, opts: o, cancel: cancel, handlers: make(map[string][]sobek.Callable),
		parser: codec.Parser{MaxBytes: o.maxEventBytes},
	}
	c.parser.OnComment = func(text []byte) { c.comment = string(text) }
	if _, err := start(sobek.Undefined(), rt.ToValue(c)); err != nil {
		return nil, err
	}
	c.reporter = startReporter(i.vu.Context(), i.module, i.metrics, state)
	defer c.reporter.end()
	res, err := c.run(ctx, newConnector(state))
	switch {
	case c.failed != nil:
		return nil, c.failed
	case err != nil && res.Status == 0 && state.Options.Throw.Bool:
		return nil, err
	}
	return res, nil
}

// run makes the connection and reads the stream. Errors have been reported to the handlers when it returns.
func (c *client) run(ctx context.Context, n connector) (*response, error) {
	res := &response{URL: c.opts.url.String(), Headers: map[string]string{}}
	if c.closed {
		return res, nil
	}
	begin := time.Now()
	defer func() {
		if !c.interrupted() {
			c.countRequest(res.Status, begin)
		}
	}()
	conn, err := n.connect(ctx, c.opts, c.opts.lastEventID)
	if conn != nil {
		res.URL, res.Status = conn.url, conn.status
		for name, values := range conn.header {
			res.Headers[name] = strings.Join(values, ", ")
		}
	}
	if err != nil && c.asked() {
		if time.Since(begin) >= c.instance.module.unanswered {
			c.count(nil, errUnanswered, begin)
		}
		return res, nil
	}
	c.count(conn, err, begin)
	if err == nil {
		c.emit("open", nil)
		err = c.read(ctx, conn)
		c.emit("close", nil)
	} else {
		c.tell(err, res.Status)
	}
	if err != nil {
		res.Error = err.Error()
	}
	return res, err
}

// asked reports whether the script or the end of the iteration ended the stream.
func (c *client) asked() bool { return c.closed || c.failed != nil || c.interrupted() }

// interrupted reports whether the iteration is over: by its gracefulStop, which is a deadline, or because it was canceled.
func (c *client) interrupted() bool { return c.instance.vu.Context().Err() != nil }

// tell reports an error to the handlers of 'error', unless the end was asked for.
func (c *client) tell(err error, status int) {
	if !c.asked() {
		c.emit("error", func() any { return &failure{Message: err.Error(), Status: status} })
	}
}

// read reads the stream to its end, which is not an error.
func (c *client) read(ctx context.Context, conn *connection) error {
	stop := context.AfterFunc(ctx, conn.close)
	defer stop()
	defer conn.close()
	var k chunk
	var err error
	for err == nil && ctx.Err() == nil {
		var n int
		n, err = conn.read(func() []byte { return k.bytes[:] })
		if failure := c.digest(conn, &k, n); failure != nil {
			err = failure
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	m, tags := c.instance.metrics, c.opts.tags
	asked := c.asked()
	c.reporter.gather(func(g gathering) {
		g.opened(-1)
		g.count(m.lost, tags.Tags, tags.Metadata, c.seqs.settle(time.Now(), true, nil))
		if !asked {
			g.count(m.disconnects, tags.Tags.With("reason", reasonOf(err)), tags.Metadata, 1)
		}
	})
	if asked || errors.Is(err, io.EOF) {
		return nil
	}
	c.tell(err, conn.status)
	return err
}

// digest parses and measures a chunk, and calls the handlers of its events.
func (c *client) digest(conn *connection, k *chunk, n int) error {
	m, tags, meta := c.instance.metrics, c.opts.tags.Tags, c.opts.tags.Metadata
	now := time.Now()
	c.reporter.gather(func(g gathering) { g.count(m.dataReceived, tags, meta, int64(n)) })
	return c.parser.Feed(k.bytes[:n], func(msg codec.Message) {
		if c.closed || c.failed != nil || isPosition(msg) {
			return
		}
		var got observation
		if c.opts.measure != nil {
			got = c.opts.measure.observe(msg.Data, msg.Named, &c.seqs, now)
			got.lost += c.seqs.settle(now, false, nil)
		}
		published := got.published
		c.reporter.gather(func(g gathering) {
			g.count(m.event, tags, meta, 1)
			g.seen(m, tags, meta, got.counts)
			if !conn.first {
				g.sample(m.firstEvent, tags, meta, now, metrics.D(now.Sub(conn.start)))
			}
			if !published.IsZero() {
				phase := "live"
				if conn.replay && published.Before(conn.opened) {
					phase = "replay"
				}
				g.sample(m.eventLatency, tags.With("phase", phase), meta, now, metrics.D(now.Sub(published)))
			}
		})
		conn.first = true
		comment := c.comment
		c.comment = ""
		c.emit("event", func() any {
			e := &event{ID: string(msg.LastEventID), Data: string(msg.Data), Comment: comment}
			if msg.Named {
				e.Name = string(msg.Type)
			}
			return e
		})
	})
}

// count records the attempt to connect.
func (c *client) count(conn *connection, err error, begin time.Time) {
	c.reporter.gather(func(g gathering) { g.attempt(c.instance.metrics, c.opts.tags, conn, err, begin) })
}

// countRequest counts the call as a request of k6, as xk6-sse does. Its duration is that of the whole stream.
func (c *client) countRequest(status int, begin time.Time) {
	state, tags, end := c.instance.vu.State(), c.opts.tags, time.Now()
	tags.SetSystemTagOrMetaIfEnabled(state.Options.SystemTags, metrics.TagMethod, c.opts.method)
	tags.SetSystemTagOrMetaIfEnabled(state.Options.SystemTags, metrics.TagStatus, statusText(status))
	c.reporter.gather(func(g gathering) {
		g.count(state.BuiltinMetrics.HTTPReqs, tags.Tags, tags.Metadata, 1)
		g.sample(state.BuiltinMetrics.HTTPReqDuration, tags.Tags, tags.Metadata, end, metrics.D(end.Sub(begin)))
	})
}
