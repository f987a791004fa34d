package transport

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"fanfare/transport/internal/clientlog"
	"fanfare/transport/internal/stream"
)

// Handler returns an http.Handler for the same streams, for servers of net/http
// and so also for HTTP/2. Mount it at any path: it serves streams whatever the
// request's path. A stream costs the goroutine and the buffers of net/http; use
// Serve for many of them.
//
// Middleware may wrap the http.ResponseWriter if http.ResponseController still
// reaches the original: the wrapper needs a method Unwrap. The answer is 500, and
// the log says why, if the response cannot be flushed, or if a write cannot have a
// deadline: then a client that does not read would be served indefinitely.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serveHTTP) }

func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	o := s.settings.Load()
	remote := o.proxies.Client(r.RemoteAddr, r.Header.Values(o.proxies.FieldName()))
	header, origin := w.Header(), r.Header.Get("Origin")
	defer s.log.RecoverPanic(func() {
		setFields(header, o.cors(origin))
		http.Error(w, "internal error; see the server's log", http.StatusInternalServerError)
	})
	switch r.Method {
	case http.MethodGet:
	case http.MethodHead: // answered below, once the parameters are known to be valid
	case http.MethodOptions:
		setFields(header, o.preflight(r.Header.Get("Access-Control-Request-Headers"), origin))
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		header.Set("Allow", allowedMethods)
		setFields(header, o.cors(origin))
		s.log.Refused(clientlog.Refusal{
			Kind: "handler 405", Listener: "handler", Status: http.StatusMethodNotAllowed, Method: r.Method, Path: r.URL.Path,
			Reason: methodProblem(r.Method), Remote: remote,
		})
		http.Error(w, methodProblem(r.Method), http.StatusMethodNotAllowed)
		return
	}
	var query fasthttp.Args // url.ParseQuery drops what has a bad escape
	query.Parse(r.URL.RawQuery)
	req, problem := o.parse(&query, r.Header.Get("Last-Event-ID"))
	if problem != "" {
		s.metrics.Refused[req.refusedBy()].Inc()
		setFields(header, o.cors(origin))
		s.log.Refused(clientlog.Refusal{
			Kind: "handler 400", Listener: "handler", Status: http.StatusBadRequest, Method: r.Method, Path: r.URL.Path, Reason: problem, Remote: remote,
		})
		http.Error(w, problem, http.StatusBadRequest)
		return
	}
	if r.Method == http.MethodHead {
		setFields(header, o.fields)
		setFields(header, o.origins.Fields(origin))
		return
	}
	req.Remote = remote
	s.warnUnknown(req)
	if o.AccessLog {
		req.Agent = clientlog.CutTo(r.UserAgent(), maxAgent)
	}
	out := &response{w: w, ctl: http.NewResponseController(w)}
	if problem := out.unfit(); problem != "" {
		s.metrics.Refused["request"].Inc()
		s.log.Error("no streams can be served through this http.ResponseWriter", "problem", problem, "type", fmt.Sprintf("%T", w))
		setFields(header, o.cors(origin))
		header.Del("Content-Encoding")
		http.Error(w, "streams cannot be served here: "+problem, http.StatusInternalServerError)
		return
	}
	req.origin = origin
	var v verdict
	v.limit, req.wait = s.streams.Admit(req.Remote)
	if v.limit == "" && o.Authorize != nil {
		v = s.authorize(r.Context(), o, &req, credentials{
			authorization: r.Header.Get("Authorization"), cookie: strings.Join(r.Header.Values("Cookie"), "; "), token: string(lastValue(&query, "token")),
			host: r.Host, fetchSite: r.Header.Get("Sec-Fetch-Site"), agent: r.UserAgent(),
			scheme: o.schemeOf(r.RemoteAddr, r.TLS != nil, r.Header.Get("X-Forwarded-Proto")),
		})
	}
	if v.status != 0 {
		setFields(header, o.cors(origin))
		setFields(header, v.fields())
		w.WriteHeader(v.status)
		_, _ = w.Write(v.body)
		return
	}
	var st *stream.Stream
	limit := v.limit
	if limit == "" {
		st, limit = s.streams.Subscribe(out, req.Request)
	}
	if limit != "" {
		answer := o.refusal(limit, &req)
		s.countRefusal(limit, answer.status, remote)
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
	setFields(header, o.origins.Fields(origin))
	if r.ProtoMajor == 1 && o.said != "" && !r.Close {
		header.Set("Connection", o.said)
	}
	w.WriteHeader(http.StatusOK)
	// The server's timeouts are for requests that end.
	_, _ = out.ctl.SetReadDeadline(time.Time{}), out.ctl.SetWriteDeadline(time.Time{})
	st.Serve(r.Context())
}

func setFields(h http.Header, fields [][2]string) {
	for _, f := range fields {
		h.Set(f[0], f[1])
	}
}
