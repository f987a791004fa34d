package transport

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"fanfare/internal/test/wiretest"
)

func TestAdminMethods(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: Options{Pprof: true}})
	gets := []string{"/count", "/countAll", "/keys", "/metrics", "/healthz", "/readyz", "/debug/pprof/"}
	posts := []string{"/publish", "/publishAll", "/close", "/closeAll", "/batch"}
	for _, path := range append(gets, posts...) {
		get := slices.Contains(gets, path)
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
			a := r.call(method, path, "", "Content-Type: text/plain")
			allow := map[bool]string{true: "GET, HEAD, OPTIONS", false: "POST, OPTIONS"}[get]
			switch {
			case method == "OPTIONS":
				if a.status != 204 || a.header.Get("Allow") != allow || a.body != "" {
					t.Errorf("OPTIONS %s: %d %v", path, a.status, a.header)
				}
			case method == "HEAD" && get:
				if a.status != 200 || a.body != "" || a.header.Get("Content-Type") == "" {
					t.Errorf("HEAD %s: %d %q", path, a.status, a.body)
				}
			case get == (method == "GET") && (get || method == "POST"):
				if a.status != 200 {
					t.Errorf("%s %s: %d %s", method, path, a.status, a.body)
				}
			default:
				if a.status != 405 || a.header.Get("Allow") != allow {
					t.Errorf("%s %s: %d, Allow %q", method, path, a.status, a.header.Get("Allow"))
				} else if method != "HEAD" && a.failed(t).Field != "method" {
					t.Errorf("%s %s: %s", method, path, a.body)
				}
			}
		}
	}
	for _, path := range []string{"/", "/publish/", "/Publish", "/nothing", "/stream", "/debug/pprof"} {
		a := r.call("POST", path, "")
		if f := a.failed(t); a.status != 404 || f.Field != "path" || !strings.Contains(f.Error, "/publishAll") {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

func TestAdminToken(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: Options{PublishToken: "s3cret", Pprof: true}})
	for _, path := range []string{"/publish", "/publishAll", "/batch", "/close", "/closeAll", "/count", "/countAll", "/keys", "/metrics", "/debug/pprof/"} {
		method := "POST"
		if strings.HasPrefix(path, "/count") || path == "/keys" || path == "/metrics" || path == "/debug/pprof/" {
			method = "GET"
		}
		for _, wrong := range []string{"", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3crett", "Bearer S3CRET", "Basic s3cret", "s3cret", "Bearers3cret", "Bearer s3cret s3cret"} {
			challenge := `Bearer error="invalid_token"`
			if wrong == "" { // RFC 6750, 3.1: a request without a credential gets no error
				challenge = "Bearer"
			}
			a := r.call(method, path, "x", "Content-Type: text/plain", "Authorization: "+wrong)
			if f := a.failed(t); a.status != 401 || f.Field != "Authorization" || a.header.Get("WWW-Authenticate") != challenge {
				t.Errorf("%s with %q: %d %s", path, wrong, a.status, a.body)
			}
			if strings.Contains(a.body, "s3cret") {
				t.Errorf("%s tells the token", path)
			}
		}
		for _, right := range []string{"Bearer s3cret", "bearer s3cret", "BEARER  s3cret "} {
			if a := r.call(method, path, "x", "Content-Type: text/plain", "Authorization: "+right); a.status != 200 {
				t.Errorf("%s with %q: %d %s", path, right, a.status, a.body)
			}
		}
		// A preflight has no credentials (Fetch, 3.2.2).
		if a := r.call("OPTIONS", path, ""); a.status != 204 {
			t.Errorf("OPTIONS %s: %d", path, a.status)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if a := r.call("GET", path, ""); a.status != 200 || a.body != "ok\n" {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if a := r.call("GET", "/nothing", ""); a.status != 404 {
		t.Errorf("404 needs no token, got %d", a.status)
	}
	o := r.srv.settings.Load().Options
	o.PublishToken = "next"
	if err := r.reconfigure(o); err != nil {
		t.Fatal(err)
	}
	if a := r.call("GET", "/count", "", "Authorization: Bearer s3cret"); a.status != 401 {
		t.Error(a.status)
	}
	if a := r.call("GET", "/count", "", "Authorization: Bearer next"); a.status != 200 {
		t.Error(a.status)
	}
}

// TestAdminOrigin: which pages may use the admin listener, and how a name that
// was pointed here is refused.
func TestAdminOrigin(t *testing.T) {
	plainOnly(t)
	const app = "https://app.example"
	try := func(t *testing.T, r *rig, origin string, allowed bool) {
		t.Helper()
		for _, method := range []string{"POST", "OPTIONS"} {
			header := []string{"Content-Type: text/plain", "Authorization: Bearer T", "Origin: " + origin}
			if method == "OPTIONS" {
				header = append(header, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type")
			}
			a := r.call(method, "/publish", "x", header...)
			switch {
			case !allowed:
				if f := a.failed(t); a.status != 403 || f.Field != "Origin" || a.header.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s from %s: %d %v %s", method, origin, a.status, a.header, a.body)
				}
			case a.status/100 != 2 || a.header.Get("Access-Control-Allow-Origin") != origin || a.header.Get("Vary") != "Origin" ||
				!strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "Content-Type") || !strings.Contains(a.header.Get("Access-Control-Allow-Methods"), "POST"):
				t.Errorf("%s from %s: %d %v %s", method, origin, a.status, a.header, a.body)
			}
			if a.header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("credentials for %s", origin)
			}
		}
	}
	t.Run("page", func(t *testing.T) {
		r := startRig(t, viaFast, rigOptions{Options: Options{AdminOrigins: []string{app}}})
		_, port, _ := net.SplitHostPort(r.addr)
		for _, origin := range []string{app, "http://localhost:" + port, "http://127.0.0.1:" + port, "http://[::1]:" + port} {
			try(t, r, origin, true)
		}
		for _, origin := range []string{"https://app.example.evil", "http://app.example", "https://APP.example", "null", "http://localhost", "http://localhost:1",
			"https://localhost:" + port, "http://evil.example:" + port, "http://localhost.evil.example:" + port, "http://127.0.0.1.evil.example:" + port, "*", "%"} {
			try(t, r, origin, false)
		}
		// A failed request still tells an allowed page why.
		if a := r.call("POST", "/publish", "x", "Origin: "+app); a.status != 415 || a.header.Get("Access-Control-Allow-Origin") != app {
			t.Errorf("%d %v", a.status, a.header)
		}
	})
	t.Run("no page", func(t *testing.T) {
		r := startRig(t, viaFast, rigOptions{Options: Options{NoPage: true}})
		_, port, _ := net.SplitHostPort(r.addr)
		try(t, r, "http://localhost:"+port, false)
	})
	t.Run("any", func(t *testing.T) {
		if _, err := newSettings(Options{AdminOrigins: []string{"*"}}); err == nil || !strings.Contains(err.Error(), "adminOrigins") || !strings.Contains(err.Error(), "publishToken") {
			t.Errorf("without a token: %v", err)
		}
		r := startRig(t, viaFast, rigOptions{Options: Options{AdminOrigins: []string{"*"}, PublishToken: "T"}})
		for _, origin := range []string{app, "null", "http://localhost:1"} {
			try(t, r, origin, true)
		}
	})
	hosts := map[string]bool{"127.0.0.1": true, "127.0.0.1:8081": true, "[::1]:8081": true, "[::1]": true, "localhost": true, "localhost:99": true, "10.1.2.3": true,
		"evil.example": false, "evil.example:8081": false, "localhost.evil.example": false, "127.0.0.1.evil.example:8081": false}
	for _, token := range []string{"", "T"} {
		t.Run("host, token "+token, func(t *testing.T) {
			r := startRig(t, viaFast, rigOptions{Options: Options{PublishToken: token}})
			for host, local := range hosts {
				for _, path := range []string{"/countAll", "/healthz", "/metrics"} {
					a := r.call("GET", path, "", "Host: "+host, "Authorization: Bearer T")
					if allowed := local || token != ""; allowed != (a.status == 200) {
						t.Errorf("%s of %s: %d %s", path, host, a.status, a.body)
					} else if !allowed && (a.status != 403 || a.failed(t).Field != "Host") {
						t.Errorf("%s of %s: %d %s", path, host, a.status, a.body)
					}
				}
			}
			w := wiretest.Dial(t, r.admin)
			w.Send("GET /countAll HTTP/1.0\r\nAuthorization: Bearer T\r\n\r\n")
			if w.ReadHead(); w.Status != 200 {
				t.Errorf("HTTP/1.0 without Host: %d", w.Status)
			}
		})
	}
}

func TestAdminPprof(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	if a := r.call("GET", "/debug/pprof/", ""); a.status != 404 {
		t.Fatalf("off by default, got %d", a.status)
	}
	o := r.srv.settings.Load().Options
	o.Pprof = true
	if err := r.reconfigure(o); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{"/debug/pprof/": "goroutine", "/debug/pprof/goroutine?debug=1": "goroutine profile", "/debug/pprof/cmdline": "transport"} {
		if a := r.call("GET", path, ""); a.status != 200 || !strings.Contains(a.body, text) {
			t.Errorf("%s: %d %s", path, a.status, wiretest.Clip(a.body))
		}
	}
	// Flags can have secrets.
	if a := r.call("GET", "/debug/pprof/cmdline", ""); a.body != os.Args[0] {
		t.Errorf("the command line: %q", a.body)
	}
}

// TestAdminBrokenRequests: what is no request gets an answer that says so.
func TestAdminBrokenRequests(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{prepare: func(s *Server) { s.requestTimeout = 300 * time.Millisecond }})
	for _, test := range []struct {
		send   string
		status int
	}{
		{"GET /count HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", 431},
		{"GET /count?key=" + strings.Repeat("x", 20<<10) + " HTTP/1.1\r\n\r\n", 431},
		{"hello\r\n\r\n", 400},
		{"GET /count HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n", 400},
		{"POST /publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nhalf", 408},
		{"POST /publish HTTP/1.1\r\nHost: 127.", 408},
	} {
		w := wiretest.Dial(t, r.admin)
		w.Send(test.send)
		w.ReadHead()
		body := w.Read(1000)
		if w.Status != test.status || !strings.Contains(body, `"error":"`) || !strings.Contains(body, `"field":"request"`) {
			t.Errorf("%q: %d %s", wiretest.Clip(test.send), w.Status, body)
		}
		w.CloseWrite()
		w.Ended()
	}
}

// TestAdminParameters: what a resource does not take, or takes once, is refused by its name instead of being passed over:
// an event for one key went to the pool of all.
func TestAdminParameters(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	pool := r.subscribe("")
	for target, field := range map[string]string{
		"POST /publish?connectKey=zz": "connectKey", "POST /publish?Key=zz": "Key", "POST /publish?key=a&key=b": "key", "POST /publish?key=a&x=1": "x",
		"POST /publish?%6bey=a&key=a": "key", "POST /publish?key": "", "POST /publish?&&key=a&": "", "POST /publishAll?key=a": "key", "POST /close?connectKey=a": "connectKey",
		"POST /close?key=a&key=a": "key", "POST /closeAll?key=a": "key", "POST /batch?key=a": "key", "GET /count?connectKey=a": "connectKey", "GET /countAll?key=a": "key",
		"GET /keys?n=5": "n", "GET /keys?top=5&top=6": "top", "GET /keys?top=5": "", "GET /metrics?x=1": "", "GET /healthz?x=1": "", "GET /readyz?x=1&x=2": "",
	} {
		method, target, _ := strings.Cut(target, " ")
		body := ""
		if method == "POST" && strings.HasPrefix(target, "/publish") {
			body = "x"
		}
		a := r.call(method, target, body, "Content-Type: text/plain")
		switch {
		case field == "" && a.status != 200:
			t.Errorf("%s: %d %s", target, a.status, a.body)
		case field != "" && (a.status != 400 || a.failed(t).Field != field):
			t.Errorf("%s: %d %s, want 400 for %s", target, a.status, a.body, field)
		}
	}
	pool.WantData("x") // of "key" without a value: the one that was meant for it
	r.publish("", "end")
	pool.WantData("end")
	before := r.metric("fanfare_publish_errors_total")
	r.call("POST", "/publish?ky=a", "x", "Content-Type: text/plain")
	if n := r.metric("fanfare_publish_errors_total"); n != before+1 {
		t.Errorf("the refused parameter is not counted: %v after %v", n, before)
	}
	for _, query := range []string{"lastEventId=garbage&lastEventId=", "lastEventId=1-1&lastEventId=garbage"} {
		e := r.stream("connectKey=k&" + query)
		got := e.Read(len("event: gap\n"))
		if want := strings.HasSuffix(query, "garbage"); want != (got == "event: gap\n") {
			t.Errorf("%s: %q", query, got)
		}
		e.Close()
	}
}

// TestCloseTakesNoBody: a key in the body is not the one that would be closed.
func TestCloseTakesNoBody(t *testing.T) {
	onBoth(t, rigOptions{}, func(t *testing.T, r *rig) {
		pool, a := r.stream(""), r.stream("connectKey=a")
		defer pool.Close()
		defer a.Close()
		for _, target := range []string{"/close", "/close?key=a", "/closeAll"} {
			if got := r.call("POST", target, `{"key":"b"}`, "Content-Type: application/json"); got.status != 400 || got.failed(t).Field != "body" {
				t.Errorf("%s: %d %s", target, got.status, got.body)
			}
		}
		if got := r.call("POST", "/close", " {}\n", "Content-Type: application/json"); got.status != 200 || string(got.body) != `{"closed":1}`+"\n" {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
}
