package transport

import (
	"strings"
	"testing"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// TestHeadersThatBreakStreams: fields that make every client fail, or that are about the connection, are refused by name.
func TestHeadersThatBreakStreams(t *testing.T) {
	for _, header := range []string{
		"Content-Type: text/plain", "Content-Length: 5", "content-encoding: gzip", "Content-Encoding: identity", "Content-Range: bytes 0-1/2", "Transfer-Encoding: chunked",
		"Trailer: X-A", "Date: now", "Upgrade: websocket", "TE: trailers", "Keep-Alive: timeout=5", "Proxy-Connection: close", "connection: upgrade", "Connection: close, X-A",
	} {
		name, value, _ := strings.Cut(header, ": ")
		if err := (Options{Headers: map[string]string{name: value}}).Check(); err == nil || !strings.Contains(strings.ToLower(err.Error()), "headers: "+strings.ToLower(name)) {
			t.Errorf("%s: %v", header, err)
		}
	}
	for _, header := range []string{"Connection: close", "Connection: Keep-Alive", "Connection: ", "X-A: b", "Cache-Control: no-store", "Vary: Cookie"} {
		name, value, _ := strings.Cut(header, ": ")
		if err := (Options{Headers: map[string]string{name: value}}).Check(); err != nil {
			t.Errorf("%s: %v", header, err)
		}
	}
	o := Options{AllowedOrigins: []string{"https://a.example"}, AllowCredentials: true, Headers: map[string]string{"access-control-allow-credentials": "true"}}
	if err := o.Check(); err == nil {
		t.Error("Access-Control-Allow-Credentials would be sent twice")
	}
}

// TestOriginsOfEverybody: a pattern must not allow the pages of whoever registers a name.
func TestOriginsOfEverybody(t *testing.T) {
	for origin, allowed := range map[string]bool{
		"https://*.com": false, "https://*.co.uk": false, "https://*.github.io": false, "https://*.com:8443": false, "https://*.kawasaki.jp": false, "https://*.vercel.app": false,
		"https://*.example.com": true, "https://*.example.co.uk": true, "https://*.me.github.io": true, "https://*.city.kawasaki.jp": true,
		"https://*.internal": true, "https://*.corp": true, "http://*.localhost:3000": true, "https://com": true, "https://*.com.internal": true,
	} {
		for _, credentials := range []bool{false, true} {
			err := Options{AllowedOrigins: []string{origin}, AllowCredentials: credentials}.Check()
			if (err == nil) != allowed || err != nil && !strings.Contains(err.Error(), "publicsuffix") {
				t.Errorf("%s: %v", origin, err)
			}
		}
	}
}

// TestMaxAdminConnectionsLowered: the next connection closes as many that wait as the lower limit needs.
func TestMaxAdminConnectionsLowered(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: Options{MaxAdminConnections: 30}})
	var all []*wiretest.Conn
	for range 20 {
		all = append(all, wiretest.Dial(t, r.admin))
	}
	eventually.Equal(t, "open connections", 20, r.srv.adminConns.open)
	o := r.srv.settings.Load().Options
	o.MaxAdminConnections = 5
	if err := r.reconfigure(o); err != nil {
		t.Fatal(err)
	}
	w := wiretest.Dial(t, r.admin)
	w.Send(wiretest.Request("GET", "/healthz"))
	if w.ReadHead(); w.Status != 200 {
		t.Error(w.Status)
	}
	if n := r.srv.adminConns.open(); n != 5 {
		t.Errorf("%d connections are open", n)
	}
	for _, old := range all[:16] {
		old.Ended()
	}
	w.Close()
	eventually.True(t, "four are left", func() bool { return r.srv.adminConns.open() == 4 })
	if n := r.metric(`fanfare_rejected_total{limit="maxAdminConnections"}`); n != 16 {
		t.Errorf("%v counted", n)
	}
}
