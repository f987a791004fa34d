package transport

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/auth"
	"fanfare/engine"
	"fanfare/internal/test/wiretest"
)

// faulty is a counter that stands for a bug in the handler, while it is armed.
type faulty struct {
	prometheus.Counter
	armed atomic.Bool
}

func (f *faulty) Inc() {
	if f.armed.Load() {
		panic("a bug that the test put here")
	}
	f.Counter.Inc()
}

// TestCORSOfEveryAnswer: whatever the answer is, the page of an allowed origin can read it, with its cookies, and no other page can.
func TestCORSOfEveryAnswer(t *testing.T) {
	const allowed, foreign = "https://app.example", "https://evil.example"
	decide := func(_ context.Context, r auth.Request) (auth.Grant, error) {
		switch key := r.Keys[0]; key {
		case "401":
			return auth.Grant{}, &auth.Denied{Status: 401, Code: auth.CodeMissing, Message: "a token is needed"}
		case "403":
			return auth.Grant{}, nil
		case "later":
			return auth.Grant{}, errors.New("the application does not answer")
		}
		return auth.Grant{Subscribe: []string{"**"}}, nil
	}
	// What the request line and fields are; {o} is the origin. status 0: as overLimit says.
	type answer struct {
		request string
		status  int
		fast    bool // by fasthttp only
		late    bool // the origin is not read, since the fault comes before it
	}
	get := func(target string, header ...string) string {
		return wiretest.Request("GET", target, append([]string{"Origin: {o}"}, header...)...)
	}
	answers := map[string]answer{
		"stream":         {request: get("/stream?connectKey=new"), status: 200},
		"HEAD":           {request: wiretest.Request("HEAD", "/stream", "Origin: {o}"), status: 200},
		"preflight":      {request: wiretest.Request("OPTIONS", "/stream", "Origin: {o}", "Access-Control-Request-Method: GET"), status: 204},
		"bad key":        {request: get("/stream?connectKey=%FF"), status: 400},
		"unauthorized":   {request: get("/stream?connectKey=401"), status: 401},
		"forbidden":      {request: get("/stream?connectKey=403"), status: 403},
		"later":          {request: get("/stream?connectKey=later"), status: 200},
		"method":         {request: wiretest.Request("POST", "/stream", "Origin: {o}", "Content-Length: 0"), status: 405},
		"maxClients":     {request: get("/stream?connectKey=full")},
		"maxConnectRate": {request: get("/stream?connectKey=new")},
		"draining":       {request: get("/stream?connectKey=new"), status: 200},
		"panic":          {request: get("/stream?connectKey=%FF"), status: 500},
		// Of the program's own listener. A server of net/http answers some of these before the handler.
		"not found":       {request: get("/nothing"), status: 404, fast: true},
		"page":            {request: get("/"), status: 200, fast: true},
		"health":          {request: get("/healthz"), status: 200, fast: true},
		"health by POST":  {request: wiretest.Request("POST", "/healthz", "Origin: {o}", "Content-Length: 0"), status: 405, fast: true},
		"not ready":       {request: get("/readyz"), status: 503, fast: true},
		"body":            {request: get("/stream?connectKey=new", "Content-Length: 5"), status: 413, fast: true},
		"version":         {request: strings.Replace(get("/stream"), "HTTP/1.1", "HTTP/9.9", 1), status: 505, fast: true},
		"target":          {request: get("/stream#x"), status: 400, fast: true},
		"broken field":    {request: get("/stream", "X: a\x00b"), status: 400, fast: true, late: true},
		"not a request":   {request: "hello\r\n\r\n", status: 400, fast: true, late: true},
		"head too large":  {request: get("/stream", "X: "+strings.Repeat("x", 100<<10)), status: 431, fast: true, late: true},
		"head never ends": {request: "GET /stream HTTP/1.1\r\nOrigin: {o}\r\n", status: 408, fast: true, late: true},
	}
	for over, overStatus := range map[OverLimit]int{RefuseRetry: 200, Refuse503: 503, Refuse204: 204} {
		for _, origins := range [][]string{{allowed}, {"https://*.other.example", allowed}} {
			t.Run(fmt.Sprintf("%d, %d origins", overStatus, len(origins)), func(t *testing.T) {
				var bug *faulty
				o := rigOptions{
					Options: Options{AllowedOrigins: origins, AllowCredentials: true, Authorize: decide, OverLimit: over, MaxHeadBytes: 8 << 10},
					Engine:  engine.Options{Key: engine.KeyOptions{MaxSubscribers: 1}},
					prepare: func(s *Server) {
						s.requestTimeout = 200 * time.Millisecond
						bug = &faulty{Counter: s.metrics.Refused["request"]}
						s.metrics.Refused["request"] = bug
					},
				}
				onBoth(t, o, func(t *testing.T, r *rig) {
					held := r.stream("connectKey=full")
					defer held.Close()
					r.waitCount("full", 1)
					ask := func(name string, a answer) {
						for _, origin := range []string{allowed, foreign} {
							w := r.dial()
							w.Send(strings.ReplaceAll(a.request, "{o}", origin))
							head := w.ReadHead()
							w.Close()
							r.waitOpen(1)
							status := a.status
							if status == 0 {
								status = overStatus
							}
							if w.Status != status {
								t.Errorf("%s: %d, want %d", name, w.Status, status)
							}
							if w.Header.Get("Vary") != "Origin" || strings.Count(strings.ToLower(head), "access-control-allow-origin") > 1 {
								t.Errorf("%s for %s: %s", name, origin, head)
							}
							got := w.Header.Get("Access-Control-Allow-Origin") + " " + w.Header.Get("Access-Control-Allow-Credentials")
							readable := got == allowed+" true"
							if !readable && got != " " {
								t.Errorf("%s for %s: %s", name, origin, head)
							}
							if a.late { // the only origin that is allowed, or none
								if readable != (len(origins) == 1) {
									t.Errorf("%s for %s: %s", name, origin, head)
								}
							} else if readable != (origin == allowed) {
								t.Errorf("%s for %s: %s", name, origin, head)
							}
						}
					}
					reconfigure := func(change func(*Options)) {
						o := r.srv.settings.Load().Options
						change(&o)
						if err := r.reconfigure(o); err != nil {
							t.Fatal(err)
						}
					}
					for name, a := range answers {
						switch name {
						case "maxConnectRate", "draining", "panic", "not ready":
							continue // below
						}
						if !a.fast || r.via == viaFast {
							ask(name, a)
						}
					}
					reconfigure(func(o *Options) { o.MaxConnectRate = 1 })
					for r.metric(`fanfare_rejected_total{limit="maxConnectRate"}`) == 0 { // uses up the token
						w := r.dial()
						w.Send(r.get("connectKey=full"))
						w.ReadHead()
						w.Close()
					}
					// It may have come back, so the same answer is given for another reason.
					a := answers["maxConnectRate"]
					a.request = get("/stream?connectKey=full")
					ask("maxConnectRate", a)
					reconfigure(func(o *Options) { o.MaxConnectRate = 0 })
					bug.armed.Store(true)
					ask("panic", answers["panic"])
					bug.armed.Store(false)
					r.srv.streams.BeginDrain()
					r.srv.api.Ready.Store(false)
					ask("draining", answers["draining"])
					if r.via == viaFast {
						ask("not ready", answers["not ready"])
					}
				})
			})
		}
	}
}
