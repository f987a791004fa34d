package deploy_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/test/certtest"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// site is the name in the shipped files; clients dial the proxy under it.
const site = "stream.example.com"

// proxy describes one of the shipped configurations and how to run it from a folder of the test's own.
type proxy struct {
	name string
	file string
	// edits are the replacements that move the shipped file to the test's ports and folder; each must find its place.
	edits func(p places) []string
	// shorten turns the file's limit on silence into five seconds; empty: the file sets none.
	shorten []string
	// checked tells whether the proxy asks for readiness.
	checked bool
	command func(t *testing.T, p places) (name string, args []string)
}

// places are where the pieces of one test live.
type places struct {
	dir              string // for sockets, logs and the like
	config           string
	cert, key, pair  string // PEM files; pair has both
	http, https, ctl string // host:port: the proxy's own
	stream           string // host:port: Fanfare's
}

var proxies = []proxy{
	{
		name: "nginx", file: "nginx.conf",
		edits: func(p places) []string {
			return []string{
				"/run/nginx.pid", p.dir + "/nginx.pid",
				"/var/log/nginx/", p.dir + "/",
				"/etc/ssl/fanfare/cert.pem", p.cert,
				"/etc/ssl/fanfare/key.pem", p.key,
				"listen 80;", "listen " + p.http + ";",
				"listen 443 ", "listen " + p.https + " ",
				"127.0.0.1:8080", p.stream,
			}
		},
		shorten: []string{"proxy_read_timeout 60s", "proxy_read_timeout 5s"},
		command: func(t *testing.T, p places) (string, []string) {
			return "nginx", []string{"-e", "stderr", "-c", p.config, "-g", "daemon off;"}
		},
	},
	{
		name: "haproxy", file: "haproxy.cfg",
		edits: func(p places) []string {
			edits := []string{
				"/etc/haproxy/fanfare.pem", p.pair,
				"bind :80\n", "bind " + p.http + "\n",
				"bind :443 ", "bind " + p.https + " ",
				"127.0.0.1:8080", p.stream,
			}
			if os.Getuid() != 0 { // only root can become another user
				edits = append(edits, "    user haproxy\n", "", "    group haproxy\n", "")
			}
			return edits
		},
		shorten: []string{"timeout server 60s", "timeout server 5s"},
		checked: true,
		command: func(t *testing.T, p places) (string, []string) {
			return "haproxy", []string{"-db", "-f", p.config}
		},
	},
	{
		name: "caddy", file: "Caddyfile", checked: true,
		edits: func(p places) []string {
			return []string{
				"admin localhost:2019", "admin " + p.ctl,
				"http_port 80\n", "http_port " + proctest.Port(p.http) + "\n",
				"https_port 443\n", "https_port " + proctest.Port(p.https) + "\n",
				"# tls /etc/ssl/fanfare/cert.pem /etc/ssl/fanfare/key.pem", "tls " + p.cert + " " + p.key,
				"127.0.0.1:8080", p.stream,
			}
		},
		command: func(t *testing.T, p places) (string, []string) {
			return "caddy", []string{"run", "--adapter", "caddyfile", "--config", p.config}
		},
	},
}

// startProxy runs the shipped file in front of Fanfare's address. It returns what a client needs to trust the proxy,
// and where everything is.
func startProxy(t *testing.T, px proxy, stream string, extra ...string) (*tls.Config, places) {
	t.Helper()
	dir := t.TempDir()
	p := places{
		dir: dir, config: filepath.Join(dir, px.file),
		http: proctest.FreeAddr(t), https: proctest.FreeAddr(t), ctl: proctest.FreeAddr(t), stream: stream,
	}
	cert := certtest.New(t, site)
	p.cert, p.key, p.pair = cert.Cert, cert.Key, cert.Pair
	text, err := os.ReadFile(px.file)
	if err != nil {
		t.Fatal(err)
	}
	pairs := append(px.edits(p), extra...)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(string(text), pairs[i]) {
			t.Fatalf("%s has no %q any more: the test must follow", px.file, pairs[i])
		}
	}
	config := strings.NewReplacer(pairs...).Replace(string(text))
	if err := os.WriteFile(p.config, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	name, args := px.command(t, p)
	child := start(t, []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}, name, args...)
	child.Await(px.name+" listens", func() error {
		conn, err := net.Dial("tcp", p.https)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	return &tls.Config{RootCAs: cert.Roots, ServerName: site}, p
}

// newClient speaks one version of HTTP to the proxy, whatever name a URL has.
func newClient(t *testing.T, trust *tls.Config, p places, version int) *http.Client {
	t.Helper()
	var protocols http.Protocols
	protocols.SetHTTP1(version == 1)
	protocols.SetHTTP2(version == 2)
	transport := &http.Transport{
		TLSClientConfig:    trust.Clone(),
		Protocols:          &protocols,
		DisableCompression: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			to := p.https
			if strings.HasSuffix(addr, ":80") {
				to = p.http
			}
			return new(net.Dialer).DialContext(ctx, network, to)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

const base = "https://" + site

// TestProxy is what a subscriber sees through each proxy, over HTTP/1.1 and HTTP/2. Pings are an hour apart, so that
// nothing but the proxy's own doing moves a byte.
func TestProxy(t *testing.T) {
	for _, px := range proxies {
		t.Run(px.name, func(t *testing.T) {
			fanfare := startServer(t, "--ping-interval", "1h")
			trust, p := startProxy(t, px, fanfare.addr())
			for version := 1; version <= 2; version++ {
				client := newClient(t, trust, p, version)
				t.Run(fmt.Sprintf("HTTP%d", version), func(t *testing.T) { checkStream(t, fanfare, client, version) })
			}
			t.Run("plain HTTP redirects", func(t *testing.T) { checkRedirect(t, newClient(t, trust, p, 1)) })
			t.Run("drain", func(t *testing.T) { checkDrain(t, fanfare, trust, p) })
		})
	}
}

func checkStream(t *testing.T, fanfare server, client *http.Client, version int) {
	key := fmt.Sprintf("proxy-%d", version)
	s := subscribe(t, client, base, key, "")
	if s.res.StatusCode != http.StatusOK || s.res.ProtoMajor != version {
		t.Fatalf("%s %s, want HTTP/%d 200", s.res.Proto, s.res.Status, version)
	}
	if ct := s.res.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/event-stream") {
		t.Errorf("Content-Type = %q", ct)
	}
	if ce := s.res.Header.Get("Content-Encoding"); ce != "" {
		t.Errorf("Content-Encoding = %q: compression holds events back", ce)
	}
	if cc := s.res.Header.Get("Cache-Control"); !strings.Contains(cc, "no-cache") {
		t.Errorf("Cache-Control = %q", cc)
	}
	fanfare.AwaitCount(key, 1)

	// No buffering: each event is there before the next is sent.
	var ids []string
	for i := range 5 {
		data := fmt.Sprintf("event %d", i)
		ids = append(ids, fanfare.PublishText(key, data).ID)
		s.expect(t, "data: "+data)
	}
	big := strings.Repeat("0123456789abcdef", 8<<10) // 128 KiB: many of a proxy's buffers
	fanfare.PublishText(key, big)
	s.expect(t, "data: "+big)

	// The client goes: the server knows at once, without an event or a ping to find out by.
	s.cancel()
	fanfare.left(t, key)

	// It comes back and says what it had last.
	s = subscribe(t, client, base, key, ids[1])
	for i := 2; i < 5; i++ {
		s.expect(t, fmt.Sprintf("data: event %d", i))
	}
	s.cancel()
	fanfare.left(t, key)
}

func checkRedirect(t *testing.T, client *http.Client) {
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Get("http://" + site + "/stream?connectKey=a")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	want := regexp.MustCompile(`^https://` + regexp.QuoteMeta(site) + `(:\d+)?/stream\?connectKey=a$`)
	if res.StatusCode/100 != 3 || !want.MatchString(res.Header.Get("Location")) {
		t.Errorf("%s to %q", res.Status, res.Header.Get("Location"))
	}
}

// checkDrain ends the server under open streams. Each response must end whole, with the hint when to come back; who comes
// back too early must get an answer that an EventSource survives; and once a new server runs, streams run again.
func checkDrain(t *testing.T, fanfare server, trust *tls.Config, p places) {
	const key = "drain"
	var streams []*subscription
	for version := 1; version <= 2; version++ {
		streams = append(streams, subscribe(t, newClient(t, trust, p, version), base, key, ""))
	}
	fanfare.AwaitCount(key, len(streams))
	fanfare.Signal(syscall.SIGTERM)
	for _, s := range streams {
		lines := s.rest(t, eventually.Patience)
		if s.err != nil {
			t.Errorf("HTTP/%d: the response ended with %v, want a clean end", s.res.ProtoMajor, s.err)
		}
		if !hasRetry(lines) {
			t.Errorf("HTTP/%d: no retry hint before the end: %q", s.res.ProtoMajor, lines)
		}
	}
	fanfare.Wait()

	for version := 1; version <= 2; version++ {
		s := subscribe(t, newClient(t, trust, p, version), base, key, "")
		lines := s.rest(t, eventually.Patience)
		if ct := s.res.Header.Get("Content-Type"); s.res.StatusCode != http.StatusOK || !strings.HasPrefix(ct, "text/event-stream") {
			t.Errorf("while Fanfare is away: %s %q; an EventSource would never come back", s.res.Status, ct)
		}
		if cors := s.res.Header.Get("Access-Control-Allow-Origin"); cors != "*" {
			t.Errorf("while Fanfare is away: Access-Control-Allow-Origin %q: a page of another origin would never come back", cors)
		}
		if !hasRetry(lines) {
			t.Errorf("while Fanfare is away: no retry hint in %q", lines)
		}
		checkAwayCORS(t, newClient(t, trust, p, version), base)
	}

	fanfare.Restart()
	eventually.NoError(t, "a stream through the proxy", func() error {
		s := subscribe(t, newClient(t, trust, p, 2), base, key, "")
		defer s.cancel()
		if fanfare.Count(key) == 0 {
			return fmt.Errorf("%s, nobody subscribed", s.res.Status)
		}
		return nil
	})
}

// checkAwayCORS looks at the answer to a page of another origin that sends cookies, while Fanfare is away: a browser shows it to
// the page only if its fields name that origin.
func checkAwayCORS(t *testing.T, client *http.Client, base string) {
	t.Helper()
	const origin = "https://app.example"
	req, err := http.NewRequest(http.MethodGet, base+"/stream?connectKey=a", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", origin)
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for name, want := range map[string]string{"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true", "Vary": "Origin"} {
		if got := res.Header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("while Fanfare is away: %s: %q, want %q", name, got, want)
		}
	}
}

func hasRetry(lines []string) bool {
	for _, line := range lines {
		if regexp.MustCompile(`^retry: [0-9]+$`).MatchString(line) {
			return true
		}
	}
	return false
}

// TestProxyIdle shows that pings keep a quiet stream open beyond the proxy's limit on silence, and that without
// pings that limit does end it: otherwise the first half would prove nothing.
func TestProxyIdle(t *testing.T) {
	for _, px := range proxies {
		t.Run(px.name, func(t *testing.T) {
			t.Parallel()
			pinged, silent := startServer(t, "--ping-interval", "500ms"), startServer(t, "--ping-interval", "1h")
			open := func(to server) *subscription {
				trust, p := startProxy(t, px, to.addr(), px.shorten...)
				return subscribe(t, newClient(t, trust, p, 1), base, "quiet", "")
			}
			begin := time.Now()
			kept, dropped := open(pinged), open(silent)
			if len(px.shorten) > 0 {
				dropped.rest(t, eventually.Patience)
			}
			for time.Since(begin) < 8*time.Second {
				kept.expect(t, ":")
			}
			pinged.PublishText("quiet", "still here")
			kept.expect(t, "data: still here")
		})
	}
}

// TestProxyReadiness: once the server isn't ready any more, a proxy that asks sends it no new streams, and leaves the open
// ones alone.
func TestProxyReadiness(t *testing.T) {
	for _, px := range proxies {
		if !px.checked {
			continue
		}
		t.Run(px.name, func(t *testing.T) {
			t.Parallel()
			fanfare := startServer(t, "--ping-interval", "1h", "--drain-delay", "1h")
			trust, p := startProxy(t, px, fanfare.addr())
			client := newClient(t, trust, p, 2)
			open := subscribe(t, client, base, "ready", "")
			fanfare.AwaitCount("ready", 1)
			fanfare.Signal(syscall.SIGTERM)
			eventually.NoError(t, "new streams are turned away", func() error {
				s := subscribe(t, client, base, "ready", "")
				defer s.cancel()
				select {
				case line := <-s.lines:
					if !hasRetry([]string{line}) {
						return fmt.Errorf("the stream began with %q", line)
					}
					return nil
				case <-time.After(time.Second):
					return errors.New("nothing came")
				}
			})
			fanfare.PublishText("ready", "still open")
			open.expect(t, "data: still open")
		})
	}
}

// TestProxyHeaders looks at the request that reaches the server.
func TestProxyHeaders(t *testing.T) {
	for _, px := range proxies {
		t.Run(px.name, func(t *testing.T) {
			got := make(chan *http.Request, 16)
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			backend := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/stream" {
					got <- r
				}
			})}
			go backend.Serve(ln)
			t.Cleanup(func() { backend.Close() })

			trust, p := startProxy(t, px, ln.Addr().String())
			subscribe(t, newClient(t, trust, p, 2), base, "a b&c=ü", "e-41").rest(t, eventually.Patience)
			r := <-got
			if r.ProtoMajor != 1 || r.ProtoMinor != 1 {
				t.Errorf("%s to the server, want HTTP/1.1", r.Proto)
			}
			if r.Host != site || r.FormValue("connectKey") != "a b&c=ü" {
				t.Errorf("Host %q, connectKey %q", r.Host, r.FormValue("connectKey"))
			}
			for name, want := range map[string]string{
				"Last-Event-Id":     "e-41",
				"X-Forwarded-For":   "127.0.0.1", // not the 192.0.2.7 that the client claims
				"X-Real-Ip":         "127.0.0.1",
				"X-Forwarded-Proto": "https",
				"Forwarded":         "", // not the client's
			} {
				if v := strings.Join(r.Header.Values(name), ", "); v != want {
					t.Errorf("%s: %q, want %q", name, v, want)
				}
			}
		})
	}
}
