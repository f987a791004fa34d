package transport

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"fanfare/internal/test/certtest"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// loopback makes the tests' own addresses those of a trusted proxy.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// proxied are the options of a server behind a proxy that sends PROXY headers.
func proxied(o Options) rigOptions {
	o.ProxyProtocol, o.TrustedProxies, o.AccessLog = true, loopback, true
	return rigOptions{Options: o}
}

// headerV1 is a header of version 1 for a client's address and port.
func headerV1(client string) string {
	at := netip.MustParseAddrPort(client)
	family, to := "TCP4", "192.0.2.80"
	if at.Addr().Is6() {
		family, to = "TCP6", "2001:db8::80"
	}
	return fmt.Sprintf("PROXY %s %s %s %d 443\r\n", family, at.Addr(), to, at.Port())
}

// headerV2 is one of version 2, with fields of tlv bytes altogether.
func headerV2(t testing.TB, client string, tlv int) string {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(2, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(client)), net.TCPAddrFromAddrPort(netip.MustParseAddrPort(client)))
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	if tlv > 0 { // one field: PP2_TYPE_NOOP, its length, zeros
		b = append(b, 0x04, byte((tlv-3)>>8), byte(tlv-3))
		b = append(b, make([]byte, tlv-3)...)
		binary.BigEndian.PutUint16(b[14:], uint16(len(b)-16))
	}
	return string(b)
}

// local is the header of a proxy that speaks for itself.
const local = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"

// from opens a stream behind a header, in the same segment as the request.
func (r *rig) from(header string) *wiretest.Conn {
	r.t.Helper()
	w := r.dial()
	w.Send(header + r.get("connectKey=k"))
	w.ReadHead()
	return w
}

// remoteOf waits until n streams have ended, and returns the client's address of the last in the access log.
func (r *rig) remoteOf(n int) string {
	r.t.Helper()
	eventually.Equal(r.t, "lines in the access log", n, func() int { return len(r.log.Records("stream ended")) })
	return fmt.Sprint(r.log.Records("stream ended")[n-1]["remote"])
}

// TestProxyProtocol: the address of a PROXY header is the client's, in the access log and in the callback; not a byte after
// the header is lost, however it is cut into segments.
func TestProxyProtocol(t *testing.T) {
	plainOnly(t)
	r := startRig(t, viaFast, proxied(Options{}))
	ended := 0 // streams
	for name, test := range map[string]struct{ header, want string }{
		"1, IPv4":        {headerV1("192.0.2.1:4711"), "192.0.2.1:4711"},
		"1, IPv6":        {headerV1("[2001:db8::1]:4711"), "[2001:db8::1]:4711"},
		"1, unknown":     {"PROXY UNKNOWN\r\n", "127.0.0.1"},
		"1, the longest": {"PROXY UNKNOWN " + strings.Repeat("f", 107-14-2) + "\r\n", "127.0.0.1"},
		"2, IPv4":        {headerV2(t, "192.0.2.1:4711", 0), "192.0.2.1:4711"},
		"2, IPv6":        {headerV2(t, "[2001:db8::1]:4711", 0), "[2001:db8::1]:4711"},
		"2, fields":      {headerV2(t, "192.0.2.1:4711", 100), "192.0.2.1:4711"},
		"2, the longest": {headerV2(t, "192.0.2.1:4711", 4096-12), "192.0.2.1:4711"},
		"2, local":       {local, "127.0.0.1"},
		"2, HTTP/3":      {strings.Replace(headerV2(t, "192.0.2.1:4711", 0), "\x21\x11", "\x21\x12", 1), "192.0.2.1:4711"},
		"2, Unix":        {"\r\n\r\n\x00\r\nQUIT\n\x21\x31\x00\xd8" + strings.Repeat("/", 216), "unix:client"},
	} {
		t.Run(name, func(t *testing.T) {
			cuts := []int{0, 1, 11, 15, len(test.header) - 1, len(test.header)}
			for _, at := range cuts {
				at = min(at, len(test.header))
				w := wiretest.Dial(t, r.addr)
				w.Send(test.header[:at])
				if at > 0 { // let the first segment arrive by itself
					time.Sleep(2 * time.Millisecond)
				}
				w.Send(test.header[at:] + r.get("connectKey=k", "X-Forwarded-For: 203.0.113.9"))
				w.ReadHead()
				w.Close()
				r.waitOpen(0)
				ended++
				if got := r.remoteOf(ended); got != test.want {
					t.Errorf("cut at %d: %s", at, got)
				}
			}
		})
	}
	t.Run("a byte at a time", func(t *testing.T) {
		for _, header := range []string{headerV1("192.0.2.1:4711"), headerV2(t, "192.0.2.1:4711", 50)} {
			w := wiretest.Dial(t, r.addr)
			for i := range len(header) {
				w.Send(header[i : i+1])
				time.Sleep(100 * time.Microsecond)
			}
			w.Send(r.get("connectKey=k"))
			if w.ReadHead(); w.Status != 200 {
				t.Errorf("%d", w.Status)
			}
		}
	})
	t.Run("requests that follow each other", func(t *testing.T) {
		w := wiretest.Dial(t, r.addr)
		health := wiretest.Request("GET", "/healthz")
		w.Send(headerV2(t, "192.0.2.1:4711", 0) + health + health + r.get("connectKey=k"))
		for range 2 {
			w.ReadHead()
			w.Read(3)
		}
		if w.ReadHead(); w.Status != 200 {
			t.Errorf("%d", w.Status)
		}
		w.Expect("event: position")
	})
}

// closed waits for the end of a connection, which may be a reset, without a byte before it.
func closed(t *testing.T, w *wiretest.Conn) {
	t.Helper()
	_ = w.NetConn().SetReadDeadline(time.Now().Add(eventually.Patience))
	n, err := w.NetConn().Read(make([]byte, 1))
	if n > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestProxyProtocolRefused: from a trusted proxy, a connection without a valid header is closed without an answer, and counted.
func TestProxyProtocolRefused(t *testing.T) {
	plainOnly(t)
	r := startRig(t, viaFast, proxied(Options{}))
	refused := func() int { return int(r.metric(`fanfare_rejected_total{limit="proxyProtocol"}`)) }
	v2 := headerV2(t, "192.0.2.1:4711", 0)
	for name, header := range map[string]string{
		"no header":                "",
		"1, no such family":        "PROXY TCP5 192.0.2.1 192.0.2.80 4711 443\r\n",
		"1, no address":            "PROXY TCP4 localhost 192.0.2.80 4711 443\r\n",
		"1, no port":               "PROXY TCP4 192.0.2.1 192.0.2.80 70000 443\r\n",
		"1, other family":          "PROXY TCP4 2001:db8::1 2001:db8::2 4711 443\r\n",
		"1, one field more":        "PROXY TCP4 192.0.2.1 192.0.2.80 4711 443 x\r\n",
		"1, two spaces":            "PROXY TCP4  192.0.2.1 192.0.2.80 4711 443\r\n",
		"1, LF alone":              "PROXY TCP4 192.0.2.1 192.0.2.80 4711 443\n",
		"1, too long":              "PROXY UNKNOWN " + strings.Repeat("f", 107) + "\r\n",
		"1, lower case":            "proxy TCP4 192.0.2.1 192.0.2.80 4711 443\r\n",
		"2, version 3":             strings.Replace(v2, "\x21\x11", "\x31\x11", 1),
		"2, no such command":       strings.Replace(v2, "\x21\x11", "\x22\x11", 1),
		"2, no such family":        strings.Replace(v2, "\x21\x11", "\x21\x41", 1),
		"2, unspecified":           strings.Replace(v2, "\x21\x11", "\x21\x00", 1),
		"2, too short for address": strings.Replace(v2, "\x21\x11\x00\x0c", "\x21\x11\x00\x0b", 1),
		"2, too long":              headerV2(t, "192.0.2.1:4711", 4096-12+1),
		"2, far too long":          "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff",
		"2, signature":             "\r\n\r\n\x00\r\nQUIT\r\x21\x11\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			before := refused()
			w := wiretest.Dial(t, r.addr)
			w.Send(header + r.get("connectKey=k"))
			closed(t, w)
			eventually.Equal(t, "it is counted", before+1, refused)
		})
	}
	t.Run("cut off", func(t *testing.T) {
		before := refused()
		for _, header := range []string{"P", "PROXY TCP4 192.0.2.1 192", v2[:13], v2[:15], v2[:20]} {
			w := wiretest.Dial(t, r.addr)
			w.Send(header)
			w.CloseWrite()
			w.Ended()
		}
		eventually.Equal(t, "they are counted", before+5, refused)
	})
	t.Run("a check of a load balancer", func(t *testing.T) {
		before := refused()
		w := wiretest.Dial(t, r.addr)
		w.CloseWrite()
		w.Ended()
		if n := refused(); n != before {
			t.Errorf("%d more refused", n-before)
		}
	})
	if !strings.Contains(r.log.String(), `msg="a connection from a trusted proxy was closed`) {
		t.Error("the log says nothing")
	}
	if strings.Contains(r.log.String(), "connectKey") {
		t.Error("the log has what was sent")
	}
	r.publish("k", "x") // it still serves
}

// TestProxyProtocolTakesLong: a header that does not come to its end is waited for as long as for a request.
func TestProxyProtocolTakesLong(t *testing.T) {
	plainOnly(t)
	o := proxied(Options{})
	o.prepare = func(s *Server) { s.requestTimeout = 300 * time.Millisecond }
	r := startRig(t, viaFast, o)
	for _, header := range []string{"", "PROXY", headerV1("192.0.2.1:4711")[:30], headerV2(t, "192.0.2.1:4711", 100)[:60]} {
		w, start := r.dial(), time.Now()
		w.Send(header)
		w.Ended()
		if d := time.Since(start); d < 250*time.Millisecond {
			t.Errorf("%q: closed after %s", header, d)
		}
	}
	// After the header the time of the request begins.
	w := r.dial()
	w.Send(headerV1("192.0.2.1:4711"))
	time.Sleep(200 * time.Millisecond)
	w.Send("GET /")
	if w.ReadHead(); w.Status != 408 {
		t.Errorf("%d", w.Status)
	}
}

// TestProxyProtocolUntrusted: the header of somebody else is not read. It is not a request, either.
func TestProxyProtocolUntrusted(t *testing.T) {
	plainOnly(t)
	o := proxied(Options{})
	o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	r := startRig(t, viaFast, o)
	for _, header := range []string{headerV1("192.0.2.1:4711"), headerV2(t, "192.0.2.1:4711", 0), local} {
		w := r.dial()
		w.Send(header + r.get("connectKey=k"))
		if w.ReadHead(); w.Status != 400 {
			t.Errorf("%q: %d", header, w.Status)
		}
	}
	w := r.stream("connectKey=k", "X-Forwarded-For: 203.0.113.9")
	w.Close()
	r.waitOpen(0)
	if got := r.remoteOf(1); !strings.HasPrefix(got, "127.0.0.1:") {
		t.Error(got)
	}
	// The trusted proxies may change, and count for new connections.
	if err := r.reconfigure(Options{ProxyProtocol: true, TrustedProxies: loopback}); err != nil {
		t.Fatal(err)
	}
	if w := r.from(headerV1("192.0.2.1:4711")); w.Status != 200 {
		t.Errorf("%d", w.Status)
	}
	if err := r.reconfigure(Options{ProxyProtocol: true}); err == nil || !strings.Contains(err.Error(), "trustedProxies") {
		t.Errorf("without trusted proxies: %v", err)
	}
	if err := (Options{ProxyProtocol: true, TrustUnixSockets: true}).Check(); err != nil {
		t.Error(err)
	}
	if err := (Options{ClientAddressField: "X-Real-IP"}).Check(); err == nil || !strings.Contains(err.Error(), `clientAddressField "X-Real-IP"`) {
		t.Error(err)
	}
}

// TestProxyProtocolPerAddress: behind one proxy each client counts by itself, and a field that it sends does not change that.
func TestProxyProtocolPerAddress(t *testing.T) {
	plainOnly(t)
	r := startRig(t, viaFast, proxied(Options{MaxConnectionsPerAddress: 2}))
	one, two := headerV2(t, "192.0.2.1:1000", 0), headerV1("192.0.2.2:1000")
	r.from(one)
	r.from(one)
	r.from(two)
	r.waitCount("k", 3)
	w := r.dial()
	w.Send(one + r.get("connectKey=k", "X-Forwarded-For: 203.0.113.9"))
	w.ReadHead()
	if rest := w.Rest(); !strings.HasPrefix(rest, "retry: ") {
		t.Errorf("%q", rest)
	}
	r.from(two)
	r.waitCount("k", 4)
	// A client whose address is not known counts as its proxy, whatever it sends.
	for i := range 3 {
		w := r.dial()
		w.Send("PROXY UNKNOWN\r\n" + r.get("connectKey=unknown", fmt.Sprintf("X-Forwarded-For: 203.0.113.%d", i)))
		w.ReadHead()
	}
	r.waitCount("unknown", 2)
	// A proxy before the proxy is believed if it is trusted, too.
	for i := range 3 {
		w := r.dial()
		w.Send(headerV1("127.0.0.9:1000") + r.get("connectKey=chain", fmt.Sprintf("X-Forwarded-For: 203.0.113.%d", i)))
		w.ReadHead()
	}
	r.waitCount("chain", 3)
}

// TestForwardedField: with clientAddressField Forwarded counts, and X-Forwarded-For does not.
func TestForwardedField(t *testing.T) {
	onBoth(t, rigOptions{Options: Options{MaxConnectionsPerAddress: 1, TrustedProxies: loopback, ClientAddressField: "Forwarded"}}, func(t *testing.T, r *rig) {
		for i, header := range []string{"for=192.0.2.1", `for="192.0.2.1:4711", for=127.0.0.1`, `for=203.0.113.9, for="[::ffff:192.0.2.1]"`} {
			w := r.dial()
			w.Send(r.get("connectKey=k", "Forwarded: "+header, fmt.Sprintf("X-Forwarded-For: 203.0.113.%d", i)))
			w.ReadHead()
			if i > 0 && !strings.HasPrefix(w.Rest(), "retry: ") {
				t.Errorf("%s: another address", header)
			}
		}
		r.waitCount("k", 1)
	})
}

// serverConfig is a certificate for 127.0.0.1, and what its clients need.
func serverConfig(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	cert := certtest.New(t, "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(cert.Cert, cert.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}, &tls.Config{RootCAs: cert.Roots}
}

// TestProxyProtocolBeforeTLS: the header comes before the handshake, and its address reaches the streams of HTTP/1.1 and HTTP/2,
// with and without TLS, and on connections that are not sockets of ours.
func TestProxyProtocolBeforeTLS(t *testing.T) {
	plainOnly(t)
	config, client := serverConfig(t)
	for _, secure := range []bool{true, false} {
		for _, wrapped := range []bool{false, true} {
			o := proxied(Options{MaxConnectionsPerAddress: 1})
			if secure {
				o.TLS = config
			}
			if wrapped {
				o.listen = func() (net.Listener, error) {
					ln, err := Listen(t.Context(), "127.0.0.1:0")
					return wrapping{ln}, err
				}
			}
			t.Run(fmt.Sprintf("TLS %t, wrapped %t", secure, wrapped), func(t *testing.T) {
				r := startRig(t, viaFast, o)
				ended := 0
				for _, header := range []string{headerV1("192.0.2.1:4711"), headerV2(t, "192.0.2.2:4711", 100), local} {
					want := map[string]string{local: "127.0.0.1", headerV1("192.0.2.1:4711"): "192.0.2.1:4711"}[header]
					if want == "" {
						want = "192.0.2.2:4711"
					}
					for version := 1; version <= 2; version++ {
						var protocols http.Protocols
						protocols.SetHTTP1(version == 1)
						protocols.SetHTTP2(version == 2 && secure)
						protocols.SetUnencryptedHTTP2(version == 2 && !secure)
						transport := &http.Transport{Protocols: &protocols, TLSClientConfig: client.Clone(), DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
							c, err := net.Dial(network, addr)
							if err == nil {
								_, err = c.Write([]byte(header))
							}
							return c, err
						}}
						ctx, cancel := context.WithCancel(t.Context())
						scheme := map[bool]string{true: "https://", false: "http://"}[secure]
						req, err := http.NewRequestWithContext(ctx, "GET", scheme+r.addr+r.target("connectKey=k"), nil)
						if err != nil {
							t.Fatal(err)
						}
						req.Header.Set("X-Forwarded-For", "203.0.113.9")
						resp, err := (&http.Client{Transport: transport}).Do(req)
						if err != nil {
							t.Fatalf("HTTP/%d: %v\n%s", version, err, r.log)
						}
						if resp.StatusCode != 200 || resp.ProtoMajor != version {
							t.Errorf("%s %s", resp.Proto, resp.Status)
						}
						r.waitCount("k", 1)
						cancel()
						_ = resp.Body.Close()
						transport.CloseIdleConnections()
						ended++
						if got := r.remoteOf(ended); got != want {
							t.Errorf("HTTP/%d: %s, want %s", version, got, want)
						}
					}
				}
			})
		}
	}
}
