package deploy_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanfare/internal/test/certtest"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// variants are the shipped files with what their comments say about clients' addresses, each with the settings of Fanfare that
// belong to it.
var variants = []struct {
	name, proxy string
	args        []string
	edits       []string
	unix        bool
}{
	{name: "nginx", proxy: "nginx", args: []string{"--trusted-proxies", "127.0.0.2,127.0.0.3,127.0.0.4,127.0.0.5"}},
	{name: "haproxy", proxy: "haproxy", args: []string{"--trusted-proxies", "127.0.0.2,127.0.0.3,127.0.0.4,127.0.0.5"}},
	{name: "caddy", proxy: "caddy", args: []string{"--trusted-proxies", "127.0.0.1"}},
	{
		name: "haproxy with the PROXY protocol", proxy: "haproxy",
		args: []string{"--trusted-proxies", "127.0.0.2,127.0.0.3,127.0.0.4,127.0.0.5", "--proxy-protocol"},
		edits: []string{
			"rise 1\n", "rise 1 send-proxy-v2\n",
			// The address comes by the protocol alone.
			"    http-request set-header X-Forwarded-For %[src]\n", "",
		},
	},
	{
		name: "haproxy with the PROXY protocol, version 1", proxy: "haproxy",
		args:  []string{"--trusted-proxies", "127.0.0.2,127.0.0.3,127.0.0.4,127.0.0.5", "--proxy-protocol"},
		edits: []string{"rise 1\n", "rise 1 send-proxy\n", "    http-request set-header X-Forwarded-For %[src]\n", ""},
	},
	{
		name: "nginx over a Unix socket", proxy: "nginx", unix: true, args: []string{"--trusted-proxies", "unix"},
		edits: []string{"            proxy_bind $fanfare_source;\n", ""},
	},
}

// TestProxyAddresses: through each proxy the clients count by their own addresses, whatever they write into header fields.
func TestProxyAddresses(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			args := append([]string{"--ping-interval", "1h", "--access-log"}, v.args...)
			var fanfare server
			stream := ""
			if v.unix {
				dir, err := os.MkdirTemp("", "fanfare") // a short path
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = os.RemoveAll(dir) })
				if err := os.Chmod(dir, 0o755); err != nil { // nginx's workers are another user's
					t.Fatal(err)
				}
				path := filepath.Join(dir, "s")
				fanfare = server{(&proctest.Server{T: t, Binary: binary, Args: append(args, "--listen", "unix:"+path, "--listen-mode", "0666")}).Start()}
				stream = "unix:" + path
			} else {
				fanfare = startServer(t, args...)
				stream = fanfare.addr()
			}
			for _, px := range proxies {
				if px.name != v.proxy {
					continue
				}
				trust, p := startProxy(t, px, stream, v.edits...)
				checkAddresses(t, fanfare, func(last int) *http.Client {
					client := newClient(t, trust, p, 1+last%2)
					dialFrom(client.Transport.(*http.Transport), last, p.https)
					return client
				}, base)
			}
		})
	}
}

// haproxyTCP is the file for TLS that ends in Fanfare. It belongs to no list of TestProxy: while Fanfare is away, nobody answers.
var haproxyTCP = proxy{
	name: "haproxy", file: "haproxy-tcp.cfg",
	edits: func(p places) []string {
		edits := []string{"bind :443 ", "bind " + p.https + " ", "127.0.0.1:8443", p.stream}
		if os.Getuid() != 0 {
			edits = append(edits, "    user haproxy\n", "", "    group haproxy\n", "")
		}
		return edits
	},
	command: func(_ *testing.T, p places) (string, []string) { return "haproxy", []string{"-db", "-f", p.config} },
}

// TestTCPProxy: TLS and HTTP/2 pass through HAProxy, and each client's address comes before them.
func TestTCPProxy(t *testing.T) {
	cert := certtest.New(t, site)
	at := proctest.FreeAddr(t)
	fanfare := startServer(t, "--ping-interval", "1h", "--access-log", "--listen", at, "--tls-cert", cert.Cert, "--tls-key", cert.Key,
		"--proxy-protocol", "--trusted-proxies", "127.0.0.2")
	_, p := startProxy(t, haproxyTCP, at)
	trust := &tls.Config{RootCAs: cert.Roots, ServerName: site}
	checkAddresses(t, fanfare, func(last int) *http.Client {
		client := newClient(t, trust, p, 1+last%2)
		dialFrom(client.Transport.(*http.Transport), last, p.https)
		return client
	}, base)
	s := subscribe(t, newClient(t, trust, p, 2), base, "tcp", "")
	if s.res.ProtoMajor != 2 {
		t.Errorf("%s through HAProxy", s.res.Proto)
	}
	fanfare.AwaitCount("tcp", 1)
	fanfare.PublishText("tcp", "through HAProxy")
	s.expect(t, "data: through HAProxy")
	s.cancel()
	fanfare.left(t, "tcp")
	if n := len(fanfare.Log.Records("a connection from a trusted proxy was closed, since it has no valid PROXY header: make the proxy send one (HAProxy: send-proxy-v2), or set proxyProtocol to false")); n > 0 {
		t.Errorf("%d connections of HAProxy had no valid header", n)
	}
}

// dialFrom makes a client connect to an address from 127.0.0.LAST.
func dialFrom(transport *http.Transport, last int, to string) {
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(last))}}
		return d.DialContext(ctx, network, to)
	}
}

// checkAddresses opens streams from several addresses, by the clients of 127.0.0.LAST, and looks for the addresses in the access
// log.
func checkAddresses(t *testing.T, fanfare server, client func(last int) *http.Client, base string) {
	t.Helper()
	before := len(fanfare.Log.Records("stream ended"))
	const n = 4
	for last := 20; last < 20+n; last++ {
		key := fmt.Sprintf("from-%d", last)
		eventually.NoError(t, "a stream", func() error { // the proxy may still think that the server is away
			s := subscribe(t, client(last), base, key, "")
			defer s.cancel()
			if fanfare.Count(key) == 0 {
				return fmt.Errorf("%s, nobody subscribed", s.res.Status)
			}
			return nil
		})
		fanfare.left(t, key)
	}
	eventually.Equal(t, "streams have ended", before+n, func() int { return len(fanfare.Log.Records("stream ended")) })
	for _, line := range fanfare.Log.Records("stream ended")[before:] {
		remote := fmt.Sprint(line["remote"])
		if host, _, err := net.SplitHostPort(remote); err == nil {
			remote = host
		}
		last := strings.TrimPrefix(fmt.Sprint(line["keys"]), "from-")
		if remote != "127.0.0."+last {
			t.Errorf("a client of 127.0.0.%s is %s to Fanfare", last, remote)
		}
	}
}
