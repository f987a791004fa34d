package transport

import (
	"strings"
	"testing"

	"fanfare/engine"
	"fanfare/internal/test/wiretest"
)

// TestCORS: every answer of the stream listener, and of the handler, has the fields for the page that asks, and for no other.
func TestCORS(t *testing.T) {
	onBoth(t, rigOptions{
		Options: Options{AllowedOrigins: []string{"https://app.example", "https://*.example.com:444", "http://localhost:3000"}, AllowCredentials: true, MaxKeyBytes: 30},
		Engine:  engine.Options{Key: engine.KeyOptions{MaxSubscribers: 1}},
	}, func(t *testing.T, r *rig) {
		held := r.stream("connectKey=full")
		defer held.Close()
		r.waitCount("full", 1)
		requests := map[string]string{
			"stream":     r.get("connectKey=k{n}", "Origin: {o}"),
			"HEAD":       wiretest.Request("HEAD", r.path, "Origin: {o}"),
			"preflight":  wiretest.Request("OPTIONS", r.path, "Origin: {o}", "Access-Control-Request-Method: GET"),
			"method":     wiretest.Request("PUT", r.path, "Origin: {o}"),
			"bad key":    r.get("connectKey=%FF", "Origin: {o}"),
			"over limit": r.get("connectKey=full", "Origin: {o}"),
		}
		if r.via == viaFast {
			requests["health"] = wiretest.Request("GET", "/healthz", "Origin: {o}")
			requests["not found"] = wiretest.Request("GET", "/nothing", "Origin: {o}")
		}
		n := 0
		for origin, allowed := range map[string]bool{
			"https://app.example": true, "https://a.example.com:444": true, "https://a.b.example.com:444": true, "http://localhost:3000": true,
			"https://example.com:444": false, "https://.example.com:444": false, "https://a.example.com": false, "http://a.example.com:444": false,
			"https://app.example.evil": false, "https://evil/.example.com:444": false, "https://x:1@a.example.com:444": false, "null": false, "https://APP.example": false,
		} {
			for name, request := range requests {
				n++
				w := r.dial()
				w.Send(strings.NewReplacer("{o}", origin, "{n}", strings.Repeat("x", n%20)+origin[len(origin)-1:]+string(rune('a'+n%26))).Replace(request))
				head := w.ReadHead()
				want, credentials := "", ""
				if allowed {
					want, credentials = origin, "true"
				}
				if got := w.Header.Get("Access-Control-Allow-Origin"); got != want || w.Header.Get("Access-Control-Allow-Credentials") != credentials || !strings.Contains(head, "Vary: Origin\r\n") {
					t.Errorf("%s for %s: %s", name, origin, head)
				}
				if strings.Count(head, "Access-Control-Allow-Origin") > 1 {
					t.Errorf("%s for %s: twice: %s", name, origin, head)
				}
				w.Close()
			}
		}
	})
	// Without the setting every origin is allowed, by all answers alike.
	r := startRig(t, viaFast, rigOptions{})
	for name, request := range map[string]string{"stream": r.get("connectKey=k"), "404": wiretest.Request("GET", "/x"), "400": r.get("connectKey=%FF"), "health": wiretest.Request("GET", "/healthz"), "broken": "GET\r\n\r\n"} {
		w := r.dial()
		w.Send(request)
		if head := w.ReadHead(); w.Header.Get("Access-Control-Allow-Origin") != "*" || w.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %s", name, head)
		}
		w.Close()
	}
}

// TestCORSSettings: what browsers would refuse, or what would let every page in, is refused at the start.
func TestCORSSettings(t *testing.T) {
	for _, o := range []Options{
		{AllowedOrigins: []string{"*"}, AllowCredentials: true}, {AllowCredentials: true}, {AllowedOrigins: []string{"app.example"}},
		{AllowedOrigins: []string{"https://app.example/"}}, {AllowedOrigins: []string{"https://*"}}, {AllowedOrigins: []string{"https://a*.example"}}, {AllowedOrigins: []string{""}},
		{AllowedOrigins: []string{"https://a.example"}, Headers: map[string]string{"access-control-allow-origin": "x"}},
	} {
		if _, err := newSettings(o); err == nil {
			t.Errorf("%v %v %v is accepted", o.AllowedOrigins, o.AllowCredentials, o.Headers)
		}
	}
	if _, err := newSettings(Options{AllowedOrigins: []string{"*"}}); err != nil {
		t.Error(err)
	}
}
