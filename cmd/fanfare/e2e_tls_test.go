package main_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/test/acmetest"
	"fanfare/internal/test/certtest"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
	"fanfare/internal/test/wiretest"
)

func secureAddr(origin string) string { return strings.TrimPrefix(origin, "https://") }

// replaceBy puts the text of the file from into the place of the file to, as certbot and editors do.
func replaceBy(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(to+".new", to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// certificateFor is, as bytes,  the certificate that a client gets which asks for name.
func certificateFor(t *testing.T, addr, name string) string {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return string(c.ConnectionState().PeerCertificates[0].Raw)
}

// TestPrintedCommandsWorkWithTLS: curl verifies the certificates by the printed commands, whatever names these have.
func TestPrintedCommandsWorkWithTLS(t *testing.T) {
	ca := certtest.NewAuthority(t, "CA")
	client := ca.Issue(t, time.Hour, "publisher")
	for _, hosts := range [][]string{{"127.0.0.1"}, {"live.example.com"}, {"*.example.com"}} {
		t.Run(hosts[0], func(t *testing.T) {
			stream, admin := ca.Issue(t, time.Hour, hosts...), certtest.New(t, append(hosts, "127.0.0.1")...)
			s := start(t, "--log-format", "json", "--tls-cert", stream.Cert, "--tls-key", stream.Key,
				"--admin-tls-cert", admin.Cert, "--admin-tls-key", admin.Key, "--admin-client-ca", ca.Cert)
			subscribe, publish := tryLines(t, s, "json")
			l := listen(t, "sh", "-c", "exec "+subscribe)
			publish = strings.NewReplacer("CLIENT.pem", client.Cert, "CLIENT.key", client.Key).Replace(publish)
			eventually.True(t, "an event is delivered", func() bool {
				return strings.Contains(shell(t, nil, publish+" --fail -sS"), `"subscribers":1`)
			})
			for l.next() != "data: hello" {
			}
		})
	}
}

// TestTLSReload: names decide, new files are for new connections, and mistakes change nothing.
func TestTLSReload(t *testing.T) {
	a, b, next := certtest.New(t, "a.example", "127.0.0.1"), certtest.New(t, "b.example"), certtest.New(t, "b.example")
	file := filepath.Join(t.TempDir(), "fanfare.yaml")
	settings := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replaceBy(t, file+".new", file)
	}
	both := fmt.Sprintf("tlsCert: [%q, %q]\ntlsKey: [%q, %q]\n", a.Cert, b.Cert, a.Key, b.Key)
	settings(both)
	s := start(t, "--config", file)
	addr := secureAddr(s.Stream)
	first := certificateFor(t, addr, "b.example")
	if first != string(b.Leaf.Raw) || certificateFor(t, addr, "a.example") != string(a.Leaf.Raw) || certificateFor(t, addr, "c.example") != string(a.Leaf.Raw) {
		t.Error("the name does not decide")
	}
	w := wiretest.DialTLS(t, addr, &tls.Config{ServerName: "b.example", RootCAs: b.Roots})
	open := wiretest.NewEvents(w.Open("/stream?connectKey=news"))
	s.AwaitCount("news", 1)
	failures := func(n int, want string) {
		t.Helper()
		const msg = "certificate not reloaded: the previous one stays in effect"
		eventually.Holds(t, want, func() (bool, string) {
			all := s.Log.Records(msg)
			return len(all) >= n && strings.Contains(fmt.Sprint(all[n-1]), want), fmt.Sprint(all)
		})
		if certificateFor(t, addr, "b.example") != first {
			t.Errorf("after %q: another certificate", want)
		}
	}

	// One file of two: by itself, and by SIGHUP.
	replaceBy(t, next.Cert, b.Cert)
	failures(1, "is not the private key of the first certificate in")
	s.Signal(syscall.SIGHUP)
	eventually.Holds(t, "the reload is refused", func() (bool, string) {
		r := fmt.Sprint(s.Log.Find("configuration not reloaded: the previous one stays in effect"))
		return strings.Contains(r, "tlsKey: "+b.Key), r
	})
	if status, body := s.Get("/metrics"); status != http.StatusOK || !strings.Contains(body, `fanfare_tls_certificate_expiry_timestamp_seconds{listener="stream",name="a.example"} `) ||
		!strings.Contains(body, `fanfare_tls_certificate_failures_total{listener="stream"} 1`) {
		t.Errorf("metrics: %d", status)
	}

	// The other file.
	replaceBy(t, next.Key, b.Key)
	eventually.True(t, "the new certificate is in effect", func() bool { return certificateFor(t, addr, "b.example") == string(next.Leaf.Raw) })

	// Other settings, and those without any certificate.
	settings(fmt.Sprintf("tlsCert: %q\ntlsKey: %q\n", b.Cert, b.Key))
	eventually.True(t, "the other settings are in effect", func() bool { return certificateFor(t, addr, "a.example") == string(next.Leaf.Raw) })
	settings("")
	eventually.Holds(t, "TLS stays on", func() (bool, string) {
		r := s.Log.Records("configuration not reloaded: the previous one stays in effect")
		return strings.Contains(fmt.Sprint(r), "cannot switch TLS on or off while the stream listener is open"), fmt.Sprint(r)
	})

	// The stream has been there all the time.
	s.Publish("news", `"still here"`)
	open.WantData("still here")
}

// TestMutualTLS: other machines may reach the admin listener without a token, with a certificate that the CA has signed.
func TestMutualTLS(t *testing.T) {
	server := certtest.New(t, "127.0.0.1")
	ca, other := certtest.NewAuthority(t, "CA"), certtest.NewAuthority(t, "other")
	_, port, err := net.SplitHostPort(proctest.FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--admin", "0.0.0.0:" + port, "--admin-tls-cert", server.Cert, "--admin-tls-key", server.Key, "--admin-client-ca", ca.Cert}
	s := start(t, args...)
	publish := func(c *certtest.Certificate) error {
		config := &tls.Config{RootCAs: server.Roots}
		if c != nil { // whatever CAs the server names
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.TLS, nil }
		}
		client := &http.Client{Timeout: eventually.Patience, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
		resp, err := client.Post("https://127.0.0.1:"+port+"/publish?key=news", "text/plain", strings.NewReader("x"))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", resp.Status, body)
		}
		return nil
	}
	good, bad := ca.Issue(t, time.Hour, "publisher"), other.Issue(t, time.Hour, "publisher")
	if err := publish(good); err != nil {
		t.Error(err)
	}
	for _, c := range []*certtest.Certificate{nil, bad, ca.Issue(t, -time.Hour, "publisher")} {
		if err := publish(c); err == nil || !strings.Contains(err.Error(), "tls: ") {
			t.Errorf("without a valid client certificate: %v", err)
		}
	}

	// Another CA in the file. Whether the transport knows it, too, is seen by the answer.
	replaceBy(t, other.Cert, ca.Cert)
	eventually.NoError(t, "a client of the other CA is accepted", func() error { return publish(bad) })
	if publish(good) == nil {
		t.Error("a client of the old CA is still accepted")
	}

	// The health check has no client certificate: it asks the stream listener.
	u, err := url.Parse(s.Stream)
	if err != nil {
		t.Fatal(err)
	}
	if code, out, stderr := run(t, nil, append([]string{"healthcheck", "--listen", u.Host}, args...)...); code != 0 || out != "ok\n" {
		t.Errorf("health check: %d %s%s", code, out, stderr)
	}
}

// TestHealthcheckWithTLS: an expired certificate for another name is no reason to end the server.
func TestHealthcheckWithTLS(t *testing.T) {
	c := certtest.NewAuthority(t, "CA").Issue(t, -time.Hour, "live.example.com")
	flags := []string{"--tls-cert", c.Cert, "--tls-key", c.Key, "--admin", "off"}
	s := start(t, flags...)
	u, err := url.Parse(s.Stream)
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"healthcheck", "--listen", "127.0.0.1:" + u.Port()}, flags...)
	if code, out, stderr := run(t, nil, args...); code != 0 || out != "ok\n" {
		t.Errorf("%d %s%s", code, out, stderr)
	}
	if s.Log.Find("certificate: tlsCert: "+c.Cert+" expired on "+c.Leaf.NotAfter.UTC().Format(time.RFC3339)+": clients refuse it") == nil {
		t.Error("the log does not warn")
	}
	s.Stop(syscall.SIGTERM)
	if code, _, stderr := run(t, nil, args...); code != 1 || !strings.Contains(stderr, "https://127.0.0.1:") {
		t.Errorf("without a server: %d %s", code, stderr)
	}
}

// TestCheckReadsCertificates: config check and the start name the setting and the file.
func TestCheckReadsCertificates(t *testing.T) {
	a, b := certtest.New(t, "a.example"), certtest.New(t, "b.example")
	want := "fanfare: tlsKey: " + b.Key + " is not the private key of the first certificate in " + a.Cert + " (tlsCert)\n"
	for _, command := range [][]string{{"config", "check"}, {"serve", "--listen", "127.0.0.1:0", "--admin", "off"}} {
		if code, _, stderr := run(t, nil, append(command, "--tls-cert", a.Cert, "--tls-key", b.Key)...); code != 1 || stderr != want {
			t.Errorf("%v: %d %s, want %s", command, code, stderr, want)
		}
	}
	expired := certtest.NewAuthority(t, "CA").Issue(t, -time.Hour, "a.example")
	if code, out, stderr := run(t, nil, "config", "check", "--tls-cert", expired.Cert, "--tls-key", expired.Key); code != 0 || !strings.HasPrefix(out, "ok") || !strings.Contains(stderr, "warning: tlsCert: "+expired.Cert+" expired on") {
		t.Errorf("%d %s%s", code, out, stderr)
	}
}

// TestACME: the binary gets a certificate for its stream listener, and ends at once while the ACME server does not answer.
func TestACME(t *testing.T) {
	acme := acmetest.New(t)
	const domain = "live.example.com"
	args := []string{"--listen", acme.Site, "--acme-domains", domain, "--acme-directory", acme.Directory, "--acme-ca", acme.Identity.Cert, "--acme-cache", t.TempDir()}
	down := start(t, args...)
	eventually.True(t, "the failure is logged", func() bool { return down.Log.Find("certificate not obtained") != nil })
	if code := down.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}

	acme.Start()
	s := start(t, args...)
	roots := acme.Roots()
	eventually.NoError(t, "there is a certificate", func() error {
		c, err := tls.Dial("tcp", acme.Site, &tls.Config{ServerName: domain, RootCAs: roots})
		if err == nil {
			err = c.Close()
		}
		return err
	})
	w := wiretest.DialTLS(t, acme.Site, &tls.Config{ServerName: domain, RootCAs: roots})
	open := wiretest.NewEvents(w.Open("/stream?connectKey=news"))
	s.AwaitCount("news", 1)
	s.Publish("news", `"secure"`)
	open.WantData("secure")
	if r := fmt.Sprint(s.Log.Find("streams")); !strings.Contains(r, "https://"+domain+":") {
		t.Errorf("the log has no URL with the domain: %s", r)
	}
}
