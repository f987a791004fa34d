package transport

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/goccy/go-json"

	"fanfare/auth"
	"fanfare/transport/internal/clientlog"
	"fanfare/transport/internal/stream"
)

// Info describes a stream to Options.OnConnect and OnDisconnect.
type Info struct {
	Keys    []string
	Subject string // of the grant, "" if unknown
	Remote  string // the client's address
	Agent   string // the beginning of its User-Agent
}

func onConnect(hook func(Info)) func(stream.Info) {
	if hook == nil {
		return nil
	}
	return func(i stream.Info) { hook(Info(i)) }
}

func onDisconnect(hook func(Info, string, time.Duration)) func(stream.Info, string, time.Duration) {
	if hook == nil {
		return nil
	}
	return func(i stream.Info, reason string, lasted time.Duration) { hook(Info(i), reason, lasted) }
}

// credentials are what a request brings to be authorized by. They are not in any
// log.
type credentials struct {
	authorization, cookie, token string
	host, scheme, agent          string
	fetchSite                    string // Sec-Fetch-Site
}

// schemeOf is the scheme by which the client has come: by the connection, or by the
// field X-Forwarded-Proto of a trusted proxy.
func (o *settings) schemeOf(peer string, secure bool, forwarded string) string {
	switch {
	case (forwarded == "http" || forwarded == "https") && o.proxies.Trusts(peer):
		return forwarded
	case secure:
		return "https"
	}
	return "http"
}

// denial is the body of an answer that refuses a stream for good.
type denial struct {
	Error string `json:"error"`
	Code  string `json:"code"`
}

// verdict is what is decided about a stream. With the zero verdict it may begin.
//
// An EventSource gives up at every status but 200. That is right for a denial, since
// a repetition would be denied again: then status is 401 or 403, and body has the
// reason. If nobody can decide now, limit says why, and the answer must be one after
// which the client comes back.
type verdict struct {
	limit  string // a label of fanfare_rejected_total
	status int    // of the denial, 0 for none
	body   []byte
}

// fields are the header fields of a denial, CORS apart.
func (v verdict) fields() [][2]string {
	fields := [][2]string{{"Cache-Control", "no-store"}, {"Content-Type", "application/json"}}
	if v.status == http.StatusUnauthorized {
		fields = append(fields, [2]string{"WWW-Authenticate", "Bearer"})
	}
	return fields
}

// authorize asks Options.Authorize, which must be set, about a stream.
func (s *Server) authorize(ctx context.Context, o *settings, req *request, c credentials) verdict {
	if limit := s.authorizing.enter(s.streams.Open(), o); limit != "" {
		return verdict{limit: limit}
	}
	defer s.authorizing.leave()
	req.Asked = time.Now()
	grant, err := s.ask(ctx, o, auth.Request{
		Keys:          req.Keys,
		Authorization: auth.Secret(c.authorization),
		Cookie:        auth.Secret(c.cookie),
		Token:         auth.Secret(c.token),
		Origin:        req.origin,
		ForeignOrigin: o.foreign(req.origin, c),
		Address:       hostOf(req.Remote),
		Host:          c.host,
		Scheme:        c.scheme,
		UserAgent:     c.agent,
	})
	var denied *auth.Denied
	switch {
	case err == nil && !allowsAll(grant, req.Keys):
		denied = &auth.Denied{Status: http.StatusForbidden, Code: auth.CodeKey, Message: "the credential does not grant all of these keys"}
	case err == nil:
		req.Subject, req.Expires = grant.Subject, grant.Expires
		return verdict{}
	case !errors.As(err, &denied):
		// A fault of whoever decides must not end an EventSource for good.
		s.metrics.Refused[limitAuthLater].Inc()
		s.log.Refused(clientlog.Refusal{
			Kind: "authorize later", Listener: "streams", Status: http.StatusOK, Method: http.MethodGet, Path: o.Path,
			Reason: "it cannot be decided now who may subscribe; the client is told to come back: " + err.Error(), Remote: req.Remote,
		})
		return verdict{limit: limitAuthLater}
	}
	status := denied.Status
	if status != http.StatusUnauthorized {
		status = http.StatusForbidden
	}
	s.metrics.Refused[limitAuth].Inc()
	s.log.Refused(clientlog.Refusal{
		Kind: "authorize " + denied.Code, Listener: "streams", Status: status, Method: http.MethodGet, Path: o.Path,
		Reason: denied.Error(), Remote: req.Remote,
	})
	body, err := json.Marshal(denial{denied.Message, denied.Code})
	if err != nil { // never for strings
		body = []byte(`{}`)
	}
	return verdict{status: status, body: append(body, '\n')}
}

// ask calls Options.Authorize. A panic there means that nobody can decide now.
func (s *Server) ask(ctx context.Context, o *settings, r auth.Request) (g auth.Grant, err error) {
	defer s.log.RecoverPanic(func() { g, err = auth.Grant{}, errors.New("Options.Authorize has panicked") })
	return o.Authorize(ctx, r)
}

// The labels of streams that are not authorized, in fanfare_rejected_total.
const (
	limitAuth      = "unauthorized"
	limitAuthLater = "authorizeLater"
)

// allowsAll is checked again here, whoever made the grant.
func allowsAll(g auth.Grant, keys []string) bool {
	for _, k := range keys {
		if !g.AllowsSubscribe(k) {
			return false
		}
	}
	return true
}

// foreign reports whether a request may come from a page that must not read streams
// with the cookies of its visitors: a browser sends them for every page.
func (o *settings) foreign(origin string, c credentials) bool {
	if origin == "" {
		return c.fetchSite == "cross-site"
	}
	if u, err := url.Parse(origin); err == nil && u.Host != "" && u.Host == c.host {
		return false
	}
	return !o.origins.Echoed() || !o.origins.Allows(origin)
}

// hostOf is an address without its port.
func hostOf(remote string) string {
	if host, _, err := net.SplitHostPort(remote); err == nil {
		return host
	}
	return remote
}

// Disconnect ends the streams of a subject, see auth.Grant, and returns how many
// there were. A stream that is being authorized ends, too, as soon as it begins.
// The clients come back, and are authorized anew.
//
// With Options.Backplane it ends those on all nodes. Nodes that do not answer in time
// do not count; cluster.Node.Ask names them.
func (s *Server) Disconnect(subject string) int {
	if subject == "" {
		return 0
	}
	return s.api.DisconnectAll(subject)
}

// disconnectHere ends the streams of a subject on this node.
func (s *Server) disconnectHere(subject string) int {
	if forget := s.settings.Load().Forget; forget != nil {
		forget(subject)
	}
	return s.streams.Disconnect(subject)
}

// Presence returns the subjects that have streams on a key, and how many streams
// each has. Streams without a subject are not among them. With Options.Backplane it
// asks all nodes, as Disconnect does.
func (s *Server) Presence(key string) map[string]int { return s.api.PresenceOfAll(key) }
