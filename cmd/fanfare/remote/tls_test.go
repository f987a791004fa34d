package remote

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanfare/internal/test/certtest"
)

// TestTLS: the flags say which server is believed and who the client is, and each refusal says what to give.
func TestTLS(t *testing.T) {
	ca := certtest.NewAuthority(t, "ca of the test")
	server, client, stranger := ca.Issue(t, time.Hour, "127.0.0.1"), ca.Issue(t, time.Hour, "shop"), certtest.NewAuthority(t, "other").Issue(t, time.Hour, "shop")
	pair, err := tls.LoadX509KeyPair(server.Cert, server.Key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Roots}
	s.Config.ErrorLog = nil
	s.StartTLS()
	defer s.Close()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	const refused, untrusted = "refuses the client certificate", "is not trusted"
	for name, test := range map[string]struct {
		flags TLS
		want  string
	}{
		"all":                 {TLS{CA: ca.Cert, Cert: client.Cert, PrivateKey: client.Key}, "shop"},
		"insecure":            {TLS{Insecure: true, Cert: client.Cert, PrivateKey: client.Key}, "shop"},
		"no root":             {TLS{Cert: client.Cert, PrivateKey: client.Key}, untrusted},
		"another root":        {TLS{CA: stranger.Cert, Cert: client.Cert, PrivateKey: client.Key}, untrusted},
		"no certificate":      {TLS{CA: ca.Cert}, refused},
		"another certificate": {TLS{CA: ca.Cert, Cert: stranger.Cert, PrivateKey: stranger.Key}, refused},
	} {
		t.Run(name, func(t *testing.T) {
			transport, err := test.flags.Transport(u)
			if err != nil {
				t.Fatal(err)
			}
			defer transport.CloseIdleConnections()
			got := ""
			resp, err := (&http.Client{Transport: transport}).Get(s.URL)
			if err != nil {
				got = Explain(err)
			} else {
				text, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				got = string(text)
			}
			if !strings.Contains(got, test.want) {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
	none := filepath.Join(t.TempDir(), "none.pem")
	if err := os.WriteFile(none, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, flags := range map[string]TLS{
		"contradict":                    {CA: ca.Cert, Insecure: true},
		"--cert and --key belong":       {Cert: client.Cert},
		"--cert and --key belong toget": {PrivateKey: client.Key},
		"has no certificate":            {CA: none},
		"--ca: open":                    {CA: none + "x"},
		"--cert " + server.Cert:         {Cert: server.Cert, PrivateKey: client.Key},
	} {
		var usage *UsageError
		if _, err := flags.Transport(u); !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	plain, _ := url.Parse("http://127.0.0.1:1")
	if _, err := (&TLS{Insecure: true}).Transport(plain); err == nil || !strings.Contains(err.Error(), "are for https") {
		t.Error(err)
	}
	if _, err := (&TLS{}).Transport(plain); err != nil {
		t.Error(err)
	}
}
