package clients_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanfare/internal/test/proctest"
)

// proxy is one of the shipped configurations, with what moves it to a test's ports and folder. How they serve is tested in
// ../../deploy; here is what clients make of it.
type proxy struct {
	name, tool, file string
	edits            func(p places) []string
	pages            func(addr string) []string // edits that put the server of the page where the application's own places are
	args             func(p places) []string
}

// places are where the pieces of one test live.
type places struct {
	dir, config      string
	cert, key, pair  string // PEM files; pair has both
	http, https, ctl string // host:port: the proxy's own
	upstream         string // host:port: where Fanfare is for it
}

func (p places) port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

var proxies = []proxy{
	{
		name: "nginx", tool: "nginx", file: "nginx.conf",
		edits: func(p places) []string {
			return []string{
				"/run/nginx.pid", p.dir + "/nginx.pid",
				"/var/log/nginx/", p.dir + "/",
				"/etc/ssl/fanfare/cert.pem", p.cert,
				"/etc/ssl/fanfare/key.pem", p.key,
				"listen 80;", "listen " + p.http + ";",
				"listen 443 ", "listen " + p.https + " ",
				"127.0.0.1:8080", p.upstream,
			}
		},
		pages: func(addr string) []string {
			return []string{"location / {\n            return 404;", "location / {\n            proxy_pass http://" + addr + ";"}
		},
		args: func(p places) []string { return []string{"-e", "stderr", "-c", p.config, "-g", "daemon off;"} },
	},
	{
		name: "HAProxy", tool: "haproxy", file: "haproxy.cfg",
		edits: func(p places) []string {
			edits := []string{
				"/etc/haproxy/fanfare.pem", p.pair,
				"bind :80\n", "bind " + p.http + "\n",
				"bind :443 ", "bind " + p.https + " ",
				"127.0.0.1:8080", p.upstream,
			}
			if os.Getuid() != 0 { // only root can become another user
				edits = append(edits, "    user haproxy\n", "", "    group haproxy\n", "")
			}
			return edits
		},
		pages: func(addr string) []string {
			return []string{
				`http-request return status 404 content-type text/plain string "not found\n" unless`, "use_backend pages unless",
				"\nbackend fanfare\n", "\nbackend pages\n    server pages " + addr + "\n\nbackend fanfare\n",
			}
		},
		args: func(p places) []string { return []string{"-db", "-f", p.config} },
	},
	{
		name: "Caddy", tool: "caddy", file: "Caddyfile",
		edits: func(p places) []string {
			return []string{
				"admin localhost:2019", "admin " + p.ctl,
				"http_port 80\n", "http_port " + p.port(p.http) + "\n",
				"https_port 443\n", "https_port " + p.port(p.https) + "\n",
				"\nstream.example.com {", "\n127.0.0.1 {",
				"# tls /etc/ssl/fanfare/cert.pem /etc/ssl/fanfare/key.pem", "tls " + p.cert + " " + p.key,
				"127.0.0.1:8080", p.upstream,
			}
		},
		pages: func(addr string) []string {
			return []string{"handle {\n\t\trespond 404", "handle {\n\t\treverse_proxy " + addr}
		},
		args: func(p places) []string { return []string{"run", "--adapter", "caddyfile", "--config", p.config} },
	},
	{
		name: "Varnish", tool: "varnishd", file: "varnish.vcl",
		pages: func(string) []string { return nil }, // it has one server, which is the front
		edits: func(p places) []string {
			host, port, _ := net.SplitHostPort(p.upstream)
			return []string{`"127.0.0.1"`, `"` + host + `"`, `"8080"`, `"` + port + `"`}
		},
		args: func(p places) []string {
			return []string{"-F", "-j", "none", "-a", p.http, "-f", p.config, "-s", "malloc,1m", "-n", filepath.Join(p.dir, "n")}
		},
	},
}

// TestProxies lets each client live through everything behind each of the shipped proxies.
func TestProxies(t *testing.T) {
	if !long {
		t.Skip("FANFARE_LONG=1 runs it; ../../deploy tests the proxies in any case")
	}
	for _, px := range proxies {
		for _, c := range clients {
			t.Run(px.name+"/"+caseName(c), func(t *testing.T) {
				t.Parallel()
				w := &world{t: t, client: c, origin: c.origin}
				journey(w, px)
				compare(t, c, px.name, w.facts)
			})
		}
	}
}

// run starts the proxy in front of upstream and, if there is one, of a server of pages. It returns its origin and what a client needs to trust it.
func (px proxy) run(t *testing.T, upstream, pages string) (origin string, tr *trust) {
	t.Helper()
	dir := t.TempDir()
	p := places{
		dir: dir, config: filepath.Join(dir, px.file),
		http: proctest.FreeAddr(t), https: proctest.FreeAddr(t), ctl: proctest.FreeAddr(t), upstream: upstream,
	}
	tr = makeCertificate(t, &p)
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", px.file))
	if err != nil {
		t.Fatal(err)
	}
	edits := px.edits(p)
	if pages != "" {
		edits = append(edits, px.pages(pages)...)
	}
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(string(text), edits[i]) {
			t.Fatalf("deploy/%s has no %q any more: the test must follow", px.file, edits[i])
		}
	}
	if err := os.WriteFile(p.config, []byte(strings.NewReplacer(edits...).Replace(string(text))), 0o644); err != nil {
		t.Fatal(err)
	}
	child := start(t, nil, []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}, proctest.Tool(t, px.tool), px.args(p)...)
	addr, origin := p.https, "https://"+p.https
	if px.name == "Varnish" { // has no TLS
		addr, origin, tr = p.http, "http://"+p.http, nil
	}
	child.Await(px.name+" listens", func() error {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	return origin, tr
}

// journey is what happens to a stream behind a proxy: events arrive, also a large one; the server's connection breaks, and what
// is published meanwhile arrives later; the server is killed and comes back; another one takes over while it drains.
func journey(w *world, px proxy) {
	w.server = startServer(w.t, "--retry", "50ms", "--ping-interval", "2s")
	w.front = newFront(w.t, w.server.addr(), w.pages())
	w.via, w.trust = px.run(w.t, w.front.addr, w.pages())
	if w.origin == sameOrigin {
		w.origin = w.via
	}
	w.launch()
	w.connected(1)
	defer w.reconcile()

	ok := w.arrive(w.publish(event{Name: "update", Data: "one\ntwo – 日本語"})) &&
		w.arrive(w.publish(event{Data: strings.Repeat("a long line. ", 8000)}))
	if !ok {
		return
	}
	w.front.hold()
	w.front.cut(true)
	w.left(w.server)
	w.publish(event{Data: "meanwhile"})
	e := w.publish(event{Data: "meanwhile, too"})
	w.front.release()
	if !w.arrive(e) || !w.killServer() {
		return
	}
	w.handOver()
}

// caseName is a client's name as a part of a test's.
func caseName(c client) string { return strings.ReplaceAll(c.name, "/", " ") }
