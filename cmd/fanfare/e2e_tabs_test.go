package main_test

import (
	"fmt"
	"regexp"
	"testing"
	"time"

	"fanfare/internal/test/certtest"
	"fanfare/internal/test/eventually"
)

// tabs is how many tabs on one origin a browser has here. With HTTP/1.1 all of them together get six connections.
const tabs = 12

// openStream is a script that opens a stream in the page, and notes what comes.
const openStream = `(window.got = [], window.source = new EventSource('/stream?connectKey=k'), source.onmessage = (e) => got.push(e.data), true)`

// startSecure starts a server with a certificate for 127.0.0.1, which no browser trusts.
func startSecure(t *testing.T, args ...string) server {
	t.Helper()
	cert := certtest.New(t, "127.0.0.1")
	return start(t, append(args, "--tls-cert", cert.Cert, "--tls-key", cert.Key)...)
}

// chromiumTabs opens n tabs, with a stream in each.
func chromiumTabs(t *testing.T, s server, n int) []*tab {
	t.Helper()
	page := s.Stream + "/healthz"
	all := []*tab{open(t, page)}
	for len(all) < n {
		all = append(all, all[0].beside(page))
	}
	for _, tb := range all {
		eval[bool](tb, openStream)
	}
	return all
}

// checkTabs publishes events and checks what each tab has got.
func checkTabs(t *testing.T, s server, got func(tab int) []string) {
	t.Helper()
	s.AwaitCount("k", tabs)
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprint("event ", i))
		s.PublishText("k", want[i])
	}
	for i := range tabs {
		eventually.Equal(t, fmt.Sprint("events in tab ", i), fmt.Sprint(want), func() string { return fmt.Sprint(got(i)) })
	}
	_, metrics := s.Get("/metrics")
	if m := regexp.MustCompile(`fanfare_tls_handshakes_total\{result="ok"\} (\d+)`).FindStringSubmatch(metrics); m == nil || len(m[1]) > 1 {
		t.Errorf("connections for %d tabs: %q", tabs, m)
	}
}

// TestManyTabs: with TLS a browser has one connection for all its tabs on an origin, and each gets every event.
func TestManyTabs(t *testing.T) {
	t.Run("chromium", func(t *testing.T) {
		s := startSecure(t)
		all := chromiumTabs(t, s, tabs)
		checkTabs(t, s, func(i int) []string { return eval[[]string](all[i], "got") })
	})
	t.Run("firefox", func(t *testing.T) {
		s := startSecure(t)
		f := openFirefox(t, "about:blank")
		var all []string
		for range tabs {
			all = append(all, f.newTab())
			f.call("WebDriver:Navigate", map[string]any{"url": s.Stream + "/healthz"}, nil)
			f.run(openStream, nil)
		}
		checkTabs(t, s, func(i int) (got []string) {
			f.switchTo(all[i])
			f.run("window.got", &got)
			return got
		})
	})
}

// TestStreamsWithoutHTTP2: with HTTP/1.1 a browser opens six connections to an origin, and further streams wait.
func TestStreamsWithoutHTTP2(t *testing.T) {
	s := startSecure(t, "--no-http2")
	eval[bool](open(t, s.Stream+"/healthz"), "Array.from({ length: 9 }, () => new EventSource('/stream?connectKey=k')).length === 9")
	s.AwaitCount("k", 6)
	time.Sleep(time.Second)
	if n := s.Count("k"); n != 6 {
		t.Errorf("%d streams", n)
	}
}

// TestPageOverTLS: the built-in page subscribes and publishes where one or both listeners speak TLS.
func TestPageOverTLS(t *testing.T) {
	cert := certtest.New(t, "127.0.0.1")
	for name, args := range map[string][]string{"streams": nil, "both": {"--admin-tls-cert", cert.Cert, "--admin-tls-key", cert.Key}} {
		t.Run(name, func(t *testing.T) {
			s := start(t, append(args, "--tls-cert", cert.Cert, "--tls-key", cert.Key)...)
			tb := open(t, s.Stream+"/")
			tb.fill("key", "orders")
			tb.click("connect")
			tb.awaitText("state", "open")
			tb.fill("data", "first")
			tb.click("send")
			tb.awaitText("events", "1")
			tb.awaitPart("published", "to 1 subscriber.")
		})
	}
}
