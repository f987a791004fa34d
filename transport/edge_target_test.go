package transport

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"fanfare/internal/test/wiretest"
)

// TestRawPaths: a path is the bytes that were sent. What a proxy in front takes for another path is not served: it might allow
// /healthz and mean the publish API to be closed.
func TestRawPaths(t *testing.T) {
	plainOnly(t)
	r := startRig(t, viaFast, rigOptions{Options: Options{Pprof: true}})
	paths := []string{
		"/healthz/../publish", "/healthz%2f..%2fpublish", "/healthz/%2e%2e/publish", "/healthz/..%2fpublish", "/./publish", "/publish/.", "/publish/..", "/x/../publish",
		"//publish", "///publish", "/publish/", "/publish//", "/%70ublish", "/publis%68", "/PUBLISH", "/publish%00", "/publish%20", "/publish;x=1", "/publish%3Fkey=k", "/publish\\",
		"/\\publish", "/healthz\\..\\publish", "/healthz;/../publish", "/%2fpublish", "/healthz%5c..%5cpublish", "//127.0.0.1/publish", "http://127.0.0.1//publish",
		"http://127.0.0.1/healthz/../publish", "http://127.0.0.1/%70ublish", "/debug/pprof/../../publish", "/debug/pprof/%74race?seconds=1", "/debug/pprof/trace/", "/debug/pprof//trace",
		"/\u200bpublish",
	}
	for _, p := range paths {
		for name, addr := range map[string]string{"admin": r.admin, "stream": r.addr} {
			for _, method := range []string{"POST", "GET", "OPTIONS"} {
				path := strings.ReplaceAll(p, "publish", map[string]string{"admin": "publish", "stream": "stream"}[name])
				w := wiretest.Dial(t, addr)
				w.Send(wiretest.Request(method, path, "Content-Type: text/plain", "Content-Length: 0"))
				if w.ReadHead(); w.Status != 404 {
					t.Errorf("%s %s on %s: %d", method, path, name, w.Status)
				}
				w.Close()
			}
		}
	}
	for _, target := range []string{"publish", "*", "http:/127.0.0.1/publish", "ftp://127.0.0.1/publish", "/publish#x", "/publish?key=a#b", "127.0.0.1:80", "http:///publish", "?key=k", "HTTP"} {
		for name, addr := range map[string]string{"admin": r.admin, "stream": r.addr} {
			w := wiretest.Dial(t, addr)
			w.Send(wiretest.Request("POST", strings.ReplaceAll(target, "publish", map[string]string{"admin": "publish", "stream": "stream"}[name]), "Content-Type: text/plain", "Content-Length: 0"))
			if w.ReadHead(); w.Status != 400 {
				t.Errorf("%s on %s: %d", target, name, w.Status)
			}
			w.Close()
		}
	}
	if n := r.eng.Stats().Keys; n != 0 {
		t.Errorf("%d keys were made", n)
	}
	// The absolute form is a path as well, and has the host that counts (RFC 9112, 3.2.2).
	for target, status := range map[string]int{"http://127.0.0.1/count": 200, "HTTP://127.0.0.1:99/count?key=k": 200, "http://evil.example/count": 403, "http://127.0.0.1@evil.example/count": 403,
		"http://127.0.0.1:80@evil.example/count": 403, "http://127.0.0.1": 404} {
		w := wiretest.Dial(t, r.admin)
		w.Send(wiretest.Request("GET", target))
		if w.ReadHead(); w.Status != status {
			t.Errorf("%s: %d, want %d", target, w.Status, status)
		}
		w.Close()
	}
	w := r.dial()
	defer w.Close()
	w.Send(wiretest.Request("GET", "http://127.0.0.1/stream?connectKey=absolute"))
	w.ReadHead()
	r.waitCount("absolute", 1)
}

// TestPathsOfHealth: a stream cannot hide what load balancers and people look at.
func TestPathsOfHealth(t *testing.T) {
	for path, want := range map[string]string{"/healthz": "health check", "/readyz": "health check", "/": "page", "/health": "", "/healthz/": ""} {
		_, err := newSettings(Options{Path: path})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := newSettings(Options{Path: "/", NoPage: true}); err != nil {
		t.Error(err)
	}
}

// TestVersions: another major version is not HTTP/1.1, whatever it looks like (RFC 9110, 15.6.6).
func TestVersions(t *testing.T) {
	plainOnly(t)
	r := startRig(t, viaFast, rigOptions{})
	for version, status := range map[string]int{"HTTP/9.9": 505, "HTTP/2.0": 505, "HTTP/0.9": 505, "HTTP/1.0": 200, "HTTP/1.1": 200, "HTTP/1.2": 200, "http/1.1": 400, "HTTP/11": 400, "HTTP/1.1x": 400} {
		for _, addr := range []string{r.addr, r.admin} {
			for _, body := range []string{"", "Content-Length: 100000\r\nExpect: 100-continue\r\n"} {
				if status == 200 && body != "" {
					continue
				}
				w := wiretest.Dial(t, addr)
				w.Send("GET /healthz " + version + "\r\nHost: 127.0.0.1\r\n" + body + "\r\n")
				if w.ReadHead(); w.Status != status {
					t.Errorf("%s: %d", version, w.Status)
				}
				if status == 505 {
					w.Rest()
					w.CloseWrite()
					w.Ended()
				}
				w.Close()
			}
		}
	}
}

// TestOtherSites: a page of another site may not send a browser to the admin listener, with an Origin or without one.
func TestOtherSites(t *testing.T) {
	const app = "https://app.example"
	for _, token := range []string{"", edgeToken} {
		r := startRig(t, viaFast, rigOptions{Options: Options{Pprof: true, PublishToken: token, AdminOrigins: []string{app}}})
		auth := "Authorization: Bearer " + edgeToken
		for _, target := range []string{"/metrics", "/count", "/healthz", "/debug/pprof/trace?seconds=0", "/debug/pprof/", "/keys"} {
			for site, status := range map[string]int{"": 200, "none": 200, "same-origin": 200, "same-site": 403, "cross-site": 403, "Cross-Site": 403, "cross-site, none": 403, "other": 403} {
				header := []string{auth}
				if site != "" {
					header = append(header, "Sec-Fetch-Site: "+site)
				}
				if a := r.call("GET", target, "", header...); a.status != status {
					t.Errorf("%s from %q: %d", target, site, a.status)
				} else if status == 403 && a.failed(t).Field != "Sec-Fetch-Site" {
					t.Errorf("%s from %q: %s", target, site, a.body)
				}
			}
		}
		// An allowed page says who it is.
		if a := r.call("GET", "/count", "", auth, "Sec-Fetch-Site: cross-site", "Origin: "+app); a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != app {
			t.Errorf("%d %v", a.status, a.header)
		}
	}
}

// TestProfilesEnd: nobody keeps a profile running for longer than a minute.
func TestProfilesEnd(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: Options{Pprof: true}})
	for _, name := range []string{"trace", "profile", "heap", "goroutine", "block", "allocs", ""} {
		for _, query := range []string{"seconds=99999999", "seconds=61", "seconds=1e9", "seconds=Inf", "seconds=-1", "seconds=0x10", "seconds=", "seconds=1&seconds=61", "%73econds=61",
			"s%65conds=99", "x=%zz&seconds=5", "seconds=5;seconds=99", "seconds=61.0"} {
			a := r.call("GET", "/debug/pprof/"+name+"?"+query, "")
			if a.status != 400 || a.failed(t).Field != "seconds" {
				t.Errorf("%s?%s: %d %s", name, query, a.status, wiretest.Clip(a.body))
			}
		}
	}
	if a := r.call("GET", "/debug/pprof/trace?seconds=0", ""); a.status != 200 {
		t.Errorf("%d", a.status)
	}
}

// TestHeadHasRoomForTheKeys: what the limits on keys allow can be asked for, and what cannot is told the limit.
func TestHeadHasRoomForTheKeys(t *testing.T) {
	plainOnly(t)
	r := startRig(t, viaFast, rigOptions{})
	keys := func(n int, text string) string {
		query := url.Values{}
		for i := range n {
			query.Add("connectKey", fmt.Sprintf("%02d", i)+text)
		}
		return query.Encode()
	}
	for name, query := range map[string]string{
		"10 of 1023 bytes":          keys(10, strings.Repeat("x", 1021)),
		"16 of 1024 escaped bytes":  keys(16, strings.Repeat("é", 511)),
		"16 of 1024 escaped spaces": keys(16, strings.Repeat("/", 1022)),
	} {
		w := r.dial()
		w.Send(r.get(query, "Last-Event-ID: "+strings.Repeat("hofi1upedr4c-18446744073709551615,", 16), "Cookie: "+strings.Repeat("c", 4000)))
		if w.ReadHead(); w.Status != 200 {
			t.Errorf("%s: %d", name, w.Status)
		}
		w.Close()
	}
	small := startRig(t, viaFast, rigOptions{Options: Options{MaxHeadBytes: 5000}})
	for _, addr := range []string{small.addr, small.admin} {
		w := wiretest.Dial(t, addr)
		w.Send(wiretest.Request("GET", "/healthz", "X: "+strings.Repeat("x", 5000)))
		if w.ReadHead(); w.Status != 431 || !strings.Contains(w.Rest(), "5000 bytes") {
			t.Errorf("%d", w.Status)
		}
		w.Close()
	}
}
