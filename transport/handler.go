package transport

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"fanfare/engine"
)

// Handler returns an http.Handler for the same streams, for servers of net/http
// and what runs on it (HTTP/2 among others). Mount it at any path: it serves
// streams whatever the request's path. A stream costs the goroutine and the
// buffers of net/http; Serve is the one for many of them.
//
// Middleware in front of it may wrap the http.ResponseWriter if http.ResponseController
// still reaches what is inside: its wrapper has a method Unwrap. Where the response
// can't be flushed, or a write can't be given a deadline, so that a client that
// does not read would be served for ever, the answer is 500 and the log says why.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serveHTTP) }

func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	o := s.settings.Load()
	remote := o.client(r.RemoteAddr, r.Header.Values("X-Forwarded-For"))
	header, origin := w.Header(), r.Header.Get("Origin")
	switch r.Method {
	case http.MethodGet:
	case http.MethodHead:
		setFields(header, o.fields)
		setFields(header, o.originFields(origin))
		return
	case http.MethodOptions:
		setFields(header, o.preflight(r.Header.Get("Access-Control-Request-Headers"), origin))
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		header.Set("Allow", allowedMethods)
		setFields(header, o.cors(origin))
		s.logRefusal("handler 405", "handler", http.StatusMethodNotAllowed, r.Method, r.URL.Path, methodProblem(cutText(r.Method)), remote)
		http.Error(w, methodProblem(r.Method), http.StatusMethodNotAllowed)
		return
	}
	var query fasthttp.Args // url.ParseQuery drops what has a bad escape
	query.Parse(r.URL.RawQuery)
	req, problem := o.parse(&query, r.Header.Get("Last-Event-ID"))
	if problem != "" {
		s.metrics.refused["request"].Inc()
		setFields(header, o.cors(origin))
		s.logRefusal("handler 400", "handler", http.StatusBadRequest, r.Method, r.URL.Path, problem, remote)
		http.Error(w, problem, http.StatusBadRequest)
		return
	}
	req.remote = remote
	s.noteStrange(req)
	if o.AccessLog {
		req.agent = cut(r.UserAgent(), maxAgentText)
	}
	out := &response{w: w, ctl: http.NewResponseController(w)}
	if problem := out.unfit(); problem != "" {
		s.metrics.refused["request"].Inc()
		o.Logger.Error("no streams can be served through this http.ResponseWriter", "problem", problem, "type", fmt.Sprintf("%T", w))
		setFields(header, o.cors(origin))
		header.Del("Content-Encoding")
		http.Error(w, "streams can't be served here: "+problem, http.StatusInternalServerError)
		return
	}
	st := &stream{srv: s, out: out, fd: -1, wake: make(chan struct{}, 1)}
	resumed, limit := s.admit(st, req)
	if limit != "" {
		answer := o.refusal(limit, origin)
		s.turnedAway(limit, answer.status, remote)
		setFields(header, answer.fields)
		if r.ProtoMajor == 1 { // on HTTP/2 it would end the other streams of the connection
			header.Set("Connection", "close")
		}
		w.WriteHeader(answer.status)
		_, _ = w.Write([]byte(answer.body))
		return
	}
	header.Del("Content-Length") // a stream has none, whatever middleware thought of
	setFields(header, o.fields)
	setFields(header, o.originFields(origin))
	if r.ProtoMajor == 1 && o.said != "" && !r.Close {
		header.Set("Connection", o.said)
	}
	w.WriteHeader(http.StatusOK)
	st.rest = appendOpening(nil, o, &st.sub, resumed)
	st.dirty = true // the head goes out at once
	// The server's timeouts are for requests that end.
	_, _ = out.ctl.SetReadDeadline(time.Time{}), out.ctl.SetWriteDeadline(time.Time{})
	s.launch(st)
	stop := context.AfterFunc(r.Context(), func() { st.abort(engine.ReasonGone) })
	defer stop()
	st.run()
}

func setFields(h http.Header, fields [][2]string) {
	for _, f := range fields {
		h.Set(f[0], f[1])
	}
}

// response makes a net/http response an output. Once closed it leaves the
// connection alone, which may serve another request by then.
type response struct {
	w   http.ResponseWriter
	ctl *http.ResponseController

	mu     sync.Mutex
	closed bool
}

// unfit says why w cannot carry a stream, or "".
func (r *response) unfit() string {
	const remedy = "give the middleware's http.ResponseWriter a method Unwrap() http.ResponseWriter"
	if !canFlush(r.w) {
		return "it has no method Flush: " + remedy
	}
	if err := r.ctl.SetWriteDeadline(time.Time{}); errors.Is(err, http.ErrNotSupported) {
		return "it has no method SetWriteDeadline: " + remedy
	}
	if coding := r.w.Header().Get("Content-Encoding"); coding != "" && !flushes(r.w) {
		return fmt.Sprintf("it compresses (Content-Encoding: %s) and has no method Flush of its own, so that events would stay in it: leave streams uncompressed, or give the middleware's http.ResponseWriter a method FlushError", coding)
	}
	return ""
}

// flushes reports whether the outermost writer itself flushes: otherwise what it
// keeps back would stay there, whatever http.ResponseController finds inside it.
func flushes(w http.ResponseWriter) bool {
	switch w.(type) {
	case interface{ FlushError() error }, http.Flusher:
		return true
	}
	return false
}

// canFlush reports whether http.ResponseController finds a way to flush. It does
// not try, since that sends the head.
func canFlush(w http.ResponseWriter) bool {
	for !flushes(w) {
		inside, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = inside.Unwrap()
	}
	return true
}

func (r *response) Write(b []byte) (int, error) { return r.w.Write(b) }

func (r *response) Flush() error { return r.ctl.Flush() }

// SetWriteDeadline unblocks a write that waits for the client.
func (r *response) SetWriteDeadline(t time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return http.ErrHandlerTimeout
	}
	return r.ctl.SetWriteDeadline(t)
}

func (r *response) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	return nil
}
