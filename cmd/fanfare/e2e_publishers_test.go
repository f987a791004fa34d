package main_test

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"fanfare/internal/test/certtest"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// TestPublishers: each publisher may do what its entry says, with a token, a hashed token, a JSON Web Token or a client
// certificate. A reload takes one away at once, and does not take the last one away.
func TestPublishers(t *testing.T) {
	const news, mail, root, key = "news-0123456789abcdef", "mail-0123456789abcdef", "root-0123456789abcdef", "0123456789abcdef0123456789abcdef"
	ca, server := certtest.NewAuthority(t, "CA"), certtest.New(t, "127.0.0.1")
	shop, other := ca.Issue(t, time.Hour, "shop"), ca.Issue(t, time.Hour, "other")
	_, port, err := net.SplitHostPort(proctest.FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "fanfare.yaml")
	write := func(publishers ...string) {
		t.Helper()
		text := fmt.Sprintf("adminTLSCert: %q\nadminTLSKey: %q\nadminClientCA: %q\njwtKeys: ['HS256:env:APP_SECRET']\npublishJWT: true\ntokenSecret: %s\nanonymousKeys: ['**']\npublishTokens:\n", server.Cert, server.Key, ca.Cert, key)
		if err := os.WriteFile(file+".new", []byte(text+strings.Join(publishers, "")), 0o600); err != nil {
			t.Fatal(err)
		}
		replaceBy(t, file+".new", file)
	}
	const (
		newsEntry = "- {name: news, token: " + news + ", keys: ['news.*']}\n"
		shopEntry = "- {name: shop, certificate: shop, keys: ['shop.*']}\n"
		rootEntry = "- {name: root, token: " + root + ", keys: ['**'], rights: [publish, publishAll, close, disconnect, read, mint]}\n"
	)
	mailEntry := fmt.Sprintf("- {name: mail, token: 'sha256:%x', keys: ['mail.*'], rights: [publish, mint]}\n", sha256.Sum256([]byte(mail)))
	write(newsEntry, shopEntry, mailEntry, rootEntry)
	s := startWith(proctest.Server{T: t, Args: []string{"--config", file, "--admin", "0.0.0.0:" + port}, Env: []string{"APP_SECRET=" + key}})
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "w", "exp": time.Now().Add(time.Hour).Unix(), "fanfare": map[string]any{"publish": []string{"jwt.*"}}}).SignedString([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	publish := func(c *certtest.Certificate, token, to string) (code int, stderr string) {
		t.Helper()
		args := []string{"pub", to, "hello", "--server", "https://127.0.0.1:" + port, "--ca", server.Cert}
		if c != nil {
			args = append(args, "--cert", c.Cert, "--key", c.Key)
		}
		if token != "" {
			args = append(args, "--token", token)
		}
		code, _, stderr = run(t, nil, args...)
		return code, stderr
	}
	const denied, unknown = "is not granted", "credential is not valid"
	for _, test := range []struct {
		certificate *certtest.Certificate
		token, key  string
		want        string // "" if it works
	}{
		{shop, "", "shop.1", ""}, {shop, "", "news.1", denied}, {other, "", "shop.1", "no entry of publishTokens names this client certificate"},
		{other, news, "news.1", ""}, {other, news, "shop.1", denied}, {shop, mail, "mail.1", ""}, {shop, mail, "shop.1", denied}, {shop, "wrong", "shop.1", unknown},
		{other, signed, "jwt.1", ""}, {other, signed, "news.1", denied}, {other, signed + "x", "jwt.1", unknown}, {other, root, "a/b", ""},
		{nil, root, "news.1", "the server refuses the client certificate"},
	} {
		code, stderr := publish(test.certificate, test.token, test.key)
		if (code == 0) != (test.want == "") || !strings.Contains(stderr, test.want) {
			t.Errorf("%s with %d bytes: exit code %d, %s, want %s", test.key, len(test.token), code, stderr, test.want)
		}
	}

	// One token of several is taken away.
	write(shopEntry, mailEntry, rootEntry)
	eventually.True(t, "the token is not valid any more", func() bool {
		code, stderr := publish(other, news, "news.1")
		return code != 0 && strings.Contains(stderr, unknown)
	})
	if code, stderr := publish(other, mail, "mail.1"); code != 0 {
		t.Errorf("another token: %s", stderr)
	}
	if log := s.Log.String(); strings.Contains(log, news) || strings.Contains(log, mail) || strings.Contains(log, root) || strings.Contains(log, signed) || !strings.Contains(log, "publisher shop") {
		t.Error("the log has a token, or does not say who was refused")
	}
}

// TestReloadKeepsAPublisher: what would leave the open listener without a credential is refused, whatever the file says about
// its address; the last token but one can go.
func TestReloadKeepsAPublisher(t *testing.T) {
	const one, two = "- {name: one, token: one-0123456789abcdef, keys: ['**']}\n", "- {name: two, token: two-0123456789abcdef, keys: ['**']}\n"
	file := filepath.Join(t.TempDir(), "fanfare.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replaceBy(t, file+".new", file)
	}
	_, port, err := net.SplitHostPort(proctest.FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	write("admin: ':" + port + "'\npublishTokens:\n" + one + two)
	s := &proctest.Server{T: t, Binary: binary}
	s.Run(s.Command("--config", file, "--listen", "127.0.0.1:0"))
	status := func(token string) int {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, "http://127.0.0.1:"+port+"/publish?key=k", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "text/plain")
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if a, b, none := status("one-0123456789abcdef"), status("two-0123456789abcdef"), status(""); a != 200 || b != 200 || none != 401 {
		t.Fatal(a, b, none)
	}
	write("admin: ':" + port + "'\npublishTokens:\n" + two)
	eventually.Equal(t, "the first token", 401, func() int { return status("one-0123456789abcdef") })
	const refused = "configuration not reloaded: the previous one stays in effect"
	for i, text := range []string{"admin: 127.0.0.1:0\n", "admin: 127.0.0.1:0\npublishTokens: []\n", "admin: 127.0.0.1:0\npublishToken: short\n"} {
		write(text)
		s.Signal(syscall.SIGHUP)
		eventually.Holds(t, text, func() (bool, string) {
			all := s.Log.Records(refused)
			if len(all) == 0 {
				return false, ""
			}
			last := fmt.Sprint(all[len(all)-1])
			return strings.Contains(last, []string{"the last credential", "the last credential", "has 5 bytes"}[i]), last
		})
		if a, b := status(""), status("two-0123456789abcdef"); a != 401 || b != 200 {
			t.Errorf("after %q: %d without and %d with a token", text, a, b)
		}
	}
	write("admin: ':" + port + "'\npublishToken: root-0123456789abcdef\n")
	eventually.Equal(t, "the publish token in their place", 200, func() int { return status("root-0123456789abcdef") })
	if b := status("two-0123456789abcdef"); b != 401 {
		t.Errorf("the last of publishTokens: %d", b)
	}
}
