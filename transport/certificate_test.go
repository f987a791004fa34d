package transport

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"fanfare/auth"
	"fanfare/internal/test/certtest"
	"fanfare/internal/test/eventually"
)

// mutual is what the tests of client certificates need.
type mutual struct {
	ca     *certtest.Authority
	server *certtest.Certificate
}

func newMutual(t *testing.T) mutual {
	ca := certtest.NewAuthority(t, "ca of the test")
	return mutual{ca, ca.Issue(t, time.Hour, "localhost", "127.0.0.1")}
}

// config is that of a listener which wants client certificates of ca, or none if it is nil.
func (m mutual) config(t *testing.T, ca *certtest.Authority) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(m.server.Cert, m.server.Key)
	if err != nil {
		t.Fatal(err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}}
	if ca != nil {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, ca.Roots
	}
	return c
}

// secureConn is a connection to the admin listener.
type secureConn struct {
	t *testing.T
	*tls.Conn
	in *bufio.Reader
}

// dial connects with a certificate, or without if it is nil.
func (m mutual) dial(t *testing.T, r *rig, certificate *certtest.Certificate) *secureConn {
	t.Helper()
	c := &tls.Config{RootCAs: m.ca.Roots, ServerName: "localhost"}
	if certificate != nil {
		pair, err := tls.LoadX509KeyPair(certificate.Cert, certificate.Key)
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	conn, err := tls.Dial("tcp", r.admin, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(eventually.Patience))
	return &secureConn{t, conn, bufio.NewReader(conn)}
}

// send sends the head of a request.
func (c *secureConn) send(method, target string, fields ...string) {
	c.t.Helper()
	if _, err := io.WriteString(c, method+" "+target+" HTTP/1.1\r\nHost: admin.internal\r\n"+strings.Join(append(fields, ""), "\r\n")+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
}

// answer reads an answer with its body; the status of a 100 is in it, too.
func (c *secureConn) answer() (status int, body string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// publish publishes an empty event.
func (c *secureConn) publish(key string, fields ...string) int {
	c.t.Helper()
	c.send("POST", "/publish?key="+key, append(fields, "Content-Type: text/plain", "Content-Length: 0")...)
	status, _ := c.answer()
	return status
}

// TestCertificateAlone: with no token, who has a certificate of the authority may do everything, and nobody else gets through.
func TestCertificateAlone(t *testing.T) {
	m := newMutual(t)
	o := rigOptions{}
	o.AdminTLS = m.config(t, m.ca)
	r := startRig(t, viaFast, o)
	c := m.dial(t, r, m.ca.Issue(t, time.Hour, "anybody"))
	for _, target := range []string{"/publishAll", "/closeAll", "/publish?key=k"} {
		c.send("POST", target, "Content-Type: text/plain", "Content-Length: 0")
		if status, body := c.answer(); status != 200 {
			t.Errorf("%s: %d %s", target, status, body)
		}
	}
	c.send("GET", "/metrics")
	if status, _ := c.answer(); status != 200 {
		t.Error(status)
	}
	// A browser sends its certificate for every page.
	for _, field := range []string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site"} {
		if status := c.publish("k", field); status != 403 {
			t.Errorf("%s: %d", field, status)
		}
	}
	stranger := certtest.NewAuthority(t, "somebody else")
	for name, certificate := range map[string]*certtest.Certificate{"none": nil, "another authority's": stranger.Issue(t, time.Hour, "anybody"), "expired": m.ca.Issue(t, -time.Minute, "anybody")} {
		c := m.dial(t, r, certificate) // TLS 1.3: the client learns of the refusal later
		_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if resp, err := http.ReadResponse(c.in, nil); err == nil {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
	if _, err := newSettings(Options{AdminTLS: o.AdminTLS, AdminOrigins: []string{"*"}, PublishToken: "T"}); err == nil || !strings.Contains(err.Error(), "adminOrigins") {
		t.Errorf("any origin with client certificates: %v", err)
	}
}

// TestCertificateEntries: a certificate is the publisher that names it, with its rights and keys. The head decides with it.
func TestCertificateEntries(t *testing.T) {
	m := newMutual(t)
	o := rigOptions{Options: publishersOf(t,
		auth.PublishToken{Name: "shop", Certificate: "shop", Keys: []string{"shop.*"}},
		auth.PublishToken{Name: "mail", Certificate: "mail.internal", Keys: []string{"mail.*"}},
		auth.PublishToken{Name: "root", Keys: []string{"**"}})}
	o.AdminTLS = m.config(t, m.ca)
	r := startRig(t, viaFast, o)
	shop, mail := m.dial(t, r, m.ca.Issue(t, time.Hour, "shop")), m.dial(t, r, m.ca.Issue(t, time.Hour, "host-7", "mail.internal"))
	other := m.dial(t, r, m.ca.Issue(t, time.Hour, "other"))
	for _, test := range []struct {
		c      *secureConn
		key    string
		status int
		fields []string
	}{
		{shop, "shop.1", 200, nil}, {shop, "mail.1", 403, nil}, {mail, "mail.1", 200, nil}, {mail, "shop.1", 403, nil},
		{other, "shop.1", 401, nil}, {other, "shop.1", 200, []string{bearerOf("root")}}, {other, "shop.1", 401, []string{bearerOf("unknown")}},
		{shop, "x", 200, []string{bearerOf("root")}}, {shop, "shop.1", 401, []string{bearerOf("unknown")}}, {shop, "shop.1", 200, nil},
	} {
		if got := test.c.publish(test.key, test.fields...); got != test.status {
			t.Errorf("%s %d bytes: %d, want %d", test.key, len(test.fields), got, test.status)
		}
	}
	shop.send("POST", "/publish?key=shop.1", "Content-Type: text/plain", "Expect: 100-continue", "Content-Length: 5")
	if status, _ := shop.answer(); status != 100 {
		t.Fatalf("allowed: %d", status)
	}
	_, _ = io.WriteString(shop, "hello")
	if status, body := shop.answer(); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	shop.send("POST", "/publish?key=mail.1", "Content-Type: text/plain", "Expect: 100-continue", "Content-Length: 5")
	if status, body := shop.answer(); status != 403 || !strings.Contains(body, auth.CodeKey) {
		t.Errorf("not allowed: %d %s", status, body)
	}
	if log := r.log.String(); !strings.Contains(log, "publisher shop") {
		t.Error("the log does not say who was refused")
	}
}

// TestCertificateBesideToken: with a publish token, a certificate alone is not enough.
func TestCertificateBesideToken(t *testing.T) {
	m := newMutual(t)
	o := rigOptions{Options: Options{PublishToken: "T"}}
	o.AdminTLS = m.config(t, m.ca)
	r := startRig(t, viaFast, o)
	c := m.dial(t, r, m.ca.Issue(t, time.Hour, "anybody"))
	if a, b := c.publish("k"), c.publish("k", "Authorization: Bearer T"); a != 401 || b != 200 {
		t.Errorf("%d without and %d with the token", a, b)
	}
}

// TestCertificatesInForce: what the settings say now counts for connections that are older.
func TestCertificatesInForce(t *testing.T) {
	plainOnly(t)
	m := newMutual(t)
	o := rigOptions{Options: Options{PublishToken: "T"}}
	o.AdminTLS = m.config(t, nil)
	r := startRig(t, viaFast, o)
	bare := m.dial(t, r, nil)
	if status := bare.publish("k", "Authorization: Bearer T"); status != 200 {
		t.Fatal(status)
	}
	reload := func(ca *certtest.Authority) {
		t.Helper()
		if err := r.reconfigure(Options{AdminTLS: m.config(t, ca)}); err != nil {
			t.Fatal(err)
		}
	}
	reload(m.ca)
	if status := bare.publish("k"); status != 401 {
		t.Errorf("a connection that is older than adminClientCA: %d", status)
	}
	o = rigOptions{}
	o.AdminTLS = m.config(t, m.ca)
	r = startRig(t, viaFast, o)
	c := m.dial(t, r, m.ca.Issue(t, time.Hour, "shop"))
	if status := c.publish("k"); status != 200 {
		t.Fatal(status)
	}
	reload(certtest.NewAuthority(t, "the next one"))
	if status := c.publish("k"); status != 401 {
		t.Errorf("an authority that is trusted no more: %d", status)
	}
	reload(m.ca)
	if status := c.publish("k"); status != 200 {
		t.Errorf("an authority that is trusted again: %d", status)
	}
}

// TestCertificateOfPlainConnection: without TLS there is none.
func TestCertificateOfPlainConnection(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: publishersOf(t, auth.PublishToken{Name: "shop", Certificate: "shop", Keys: []string{"**"}})})
	for _, field := range []string{"Authorization: ", "X-Client-Cert: shop", "X-Forwarded-Client-Cert: Subject=\"CN=shop\"", "Authorization: Bearer shop"} {
		if a := r.call("POST", "/publish?key=k", "x", "Content-Type: text/plain", field); a.status != 401 {
			t.Errorf("%s: %d %s", field, a.status, a.body)
		}
	}
	if connectionState(&net.TCPConn{}).HandshakeComplete || (&trust{}).holds(nil, tls.ConnectionState{PeerCertificates: []*x509.Certificate{m509(t)}}) {
		t.Error("a plain connection has a certificate")
	}
}

func m509(t *testing.T) *x509.Certificate { return certtest.NewAuthority(t, "x").Leaf }
