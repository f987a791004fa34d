package abuse_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/internal/test/wiretest"
)

// tokenAttacks ask for keys that a credential does not give.
var tokenAttacks = group{
	name:  "token",
	start: startTokens,
	attacks: []attack{
		{name: "token-confusion", run: tokenConfusion},
		{name: "token-times", run: tokenTimes},
		{name: "pattern-traversal", run: patternTraversal},
		{name: "token-flood", run: tokenFlood},
	},
}

const (
	issuer      = "https://login.example"
	tokenSecret = "token-secret-of-the-tests-with-more-than-32-bytes"
)

// signer is who signs JSON Web Tokens here.
var signer = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func publicPEM() []byte {
	der, err := x509.MarshalPKIXPublicKey(&signer().PublicKey)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func startTokens(t *testing.T) *victim {
	file := filepath.Join(t.TempDir(), "public.pem")
	if err := os.WriteFile(file, publicPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return startVictim(t, "--jwt-keys", "RS256:"+file, "--jwt-issuer", issuer, "--token-secret", tokenSecret, "--anonymous-keys", "bystander,public.*", "--history-ttl", "1h")
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// rs256 signs any two texts.
func rs256(header, claims string) string {
	text := b64([]byte(header)) + "." + b64([]byte(claims))
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, signer(), crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return text + "." + b64(sig)
}

func hs256(header, claims, secret string) string {
	text := b64([]byte(header)) + "." + b64([]byte(claims))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return text + "." + b64(mac.Sum(nil))
}

// claims are those of a good token for the key "secret", and more, which may replace them.
func claims(more string) string {
	return fmt.Sprintf(`{"iss":%q,"sub":"u1","exp":%d,"fanfare":{"subscribe":["secret"]}%s}`, issuer, time.Now().Add(time.Hour).Unix(), more)
}

// subscribeStatus asks for a stream by each way that a token can take, and returns the status, or that of the first way that succeeds.
func subscribeStatus(t *testing.T, v *victim, query, token string) (worst int) {
	t.Helper()
	for _, request := range []string{
		wiretest.Request("GET", "/stream?"+query, "Authorization: Bearer "+token),
		wiretest.Request("GET", "/stream?"+query+"&token="+url.QueryEscape(token)),
		wiretest.Request("GET", "/stream?"+query, "Cookie: fanfare="+token),
	} {
		w := wiretest.Dial(t, v.stream)
		w.Send(request)
		w.ReadHead()
		w.Close()
		if worst == 0 || w.Status == http.StatusOK {
			worst = w.Status
		}
	}
	return worst
}

const rs = `{"alg":"RS256","typ":"JWT"}`

func tokenConfusion(t *testing.T, v *victim) {
	if status := subscribeStatus(t, v, "connectKey=secret", rs256(rs, claims(""))); status != 200 {
		t.Fatalf("a good token: %d, so nothing is tested", status)
	}
	asked := make(chan struct{}, 100) // what a token names is never fetched
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{} }))
	defer trap.Close()
	good := rs256(rs, claims(""))
	parts := strings.Split(good, ".")
	none := func(header string) string { return b64([]byte(header)) + "." + parts[1] + "." }
	der, _ := pem.Decode(publicPEM())
	for name, token := range map[string]string{
		"alg none":                   none(`{"alg":"none"}`),
		"alg NoNe":                   none(`{"alg":"NoNe"}`),
		"alg none, with a signature": b64([]byte(`{"alg":"none"}`)) + "." + parts[1] + "." + parts[2],
		"no alg":                     none(`{}`),
		"HS256 by the PEM":           hs256(`{"alg":"HS256"}`, claims(""), string(publicPEM())),
		"HS256 by the trimmed PEM":   hs256(`{"alg":"HS256"}`, claims(""), strings.TrimSpace(string(publicPEM()))),
		"HS256 by the DER":           hs256(`{"alg":"HS256"}`, claims(""), string(der.Bytes)),
		"HS256 by nothing":           hs256(`{"alg":"HS256"}`, claims(""), ""),
		"HS256 by the token secret":  hs256(`{"alg":"HS256"}`, claims(""), tokenSecret),
		"RS256 relabeled":            rs256(`{"alg":"RS512"}`, claims("")),
		"kid is a path":              hs256(`{"alg":"HS256","kid":"../../../../../../dev/null"}`, claims(""), ""),
		"kid is SQL":                 hs256(`{"alg":"HS256","kid":"x' UNION SELECT 'k'--"}`, claims(""), "k"),
		"kid is a command":           hs256(`{"alg":"HS256","kid":"|sleep 60"}`, claims(""), ""),
		"kid is a URL":               rs256(`{"alg":"RS256","kid":"`+trap.URL+`"}`, claims("")[1:]),
		"jku":                        hs256(`{"alg":"HS256","jku":"`+trap.URL+`"}`, claims(""), "k"),
		"x5u":                        hs256(`{"alg":"HS256","x5u":"`+trap.URL+`"}`, claims(""), "k"),
		"jwk":                        hs256(`{"alg":"HS256","jwk":{"kty":"oct","k":"aw"}}`, claims(""), "k"),
		"crit":                       rs256(`{"alg":"RS256","crit":["x"],"x":1}`, claims("")),
		"crit empty":                 rs256(`{"alg":"RS256","crit":[]}`, claims("")),
		"b64 false":                  rs256(`{"alg":"RS256","b64":false,"crit":["b64"]}`, claims("")),
		"nested":                     rs256(`{"alg":"RS256","cty":"JWT"}`, good),
		"a token in a token":         rs256(rs, good),
		"claims twice":               rs256(rs, claims(`,"fanfare":{"subscribe":["**"]}`)),
		"exp twice":                  rs256(rs, claims(`,"exp":9999999999`)),
		"claims of another case":     rs256(rs, strings.Replace(claims(""), `"fanfare"`, `"Fanfare"`, 1)),
		"issuer of another":          rs256(rs, strings.Replace(claims(""), issuer, issuer+".evil.example", 1)),
		"for an audience":            rs256(rs, claims(`,"aud":"another"`)),
		"a changed payload":          parts[0] + "." + b64([]byte(claims(`,"x":1`))) + "." + parts[2],
		"a changed signature":        good[:len(good)-8] + "AAAAAAAA",
		"no signature":               parts[0] + "." + parts[1] + ".",
		"two parts":                  parts[0] + "." + parts[1],
		"five parts":                 good + ".x.y",
		"padding":                    good + "==",
		"standard base64":            strings.NewReplacer("-", "+", "_", "/").Replace(good) + "=",
		"a line end inside":          good[:20] + "%0A" + good[20:],
		"of the other kind":          hs256(`{"alg":"HS256"}`, claims(""), tokenSecret),
		"huge":                       good + strings.Repeat("A", 9000),
		"deep":                       rs256(rs, claims(`,"x":`+strings.Repeat("[", 2000)+strings.Repeat("]", 2000))),
		"nothing":                    "",
		"a publish token":            publishToken,
	} {
		if status := subscribeStatus(t, v, "connectKey=secret", token); status != http.StatusUnauthorized && status != http.StatusForbidden {
			t.Errorf("%s: %d", name, status)
		}
	}
	// A subscriber's token is nothing for the publish API.
	for _, token := range []string{good, tokenSecret, "", strings.TrimSuffix(publishToken, "s")} {
		answer := exchange(t, v.admin, wiretest.Request("POST", "/publish?key=bystander", "Content-Type: text/plain", "Content-Length: 1", "Connection: close", "Authorization: Bearer "+token)+"x")
		if status(answer) != "401" {
			t.Errorf("publishing with the token of a subscriber: %q", answer)
		}
	}
	if len(asked) > 0 {
		t.Error("the server has fetched what a token names")
	}
}

func tokenTimes(t *testing.T, v *victim) {
	at := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	with := func(exp, more string) string {
		return rs256(rs, fmt.Sprintf(`{"iss":%q%s,"fanfare":{"subscribe":["secret"]}%s}`, issuer, exp, more))
	}
	for name, token := range map[string]string{
		"expired":           with(fmt.Sprintf(`,"exp":%d`, at(-time.Minute)), ""),
		"expired long ago":  with(`,"exp":1`, ""),
		"no exp":            with("", ""),
		"exp 0":             with(`,"exp":0`, ""),
		"exp negative":      with(`,"exp":-1`, ""),
		"exp a text":        with(`,"exp":"9999999999"`, ""),
		"exp beyond int64":  with(`,"exp":9223372036854775808`, ""),
		"exp infinite":      with(`,"exp":1e400`, ""),
		"exp null":          with(`,"exp":null`, ""),
		"in the future":     with(fmt.Sprintf(`,"exp":%d`, at(2*time.Hour)), fmt.Sprintf(`,"nbf":%d`, at(time.Hour))),
		"nbf beyond int64":  with(fmt.Sprintf(`,"exp":%d`, at(time.Hour)), `,"nbf":1e30`),
		"nbf a text":        with(fmt.Sprintf(`,"exp":%d`, at(time.Hour)), `,"nbf":"0"`),
		"in milliseconds 0": with(`,"exp":0.5`, ""),
	} {
		if status := subscribeStatus(t, v, "connectKey=secret", token); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, status)
		}
	}
	// One that expires soon ends its stream.
	e := wiretest.Subscribe(t, v.stream, "/stream?connectKey=secret", "Authorization: Bearer "+with(fmt.Sprintf(`,"exp":%d`, at(-27*time.Second)), "")) // the leeway is 30 s
	if m := e.Next(); m.Type != "expired" {
		t.Errorf("%s", m)
	}
	e.ExpectEnd()
}

// patternTraversal asks with a token for user.42.* and public.* for what lies beside it.
func patternTraversal(t *testing.T, v *victim) {
	answer := v.mint(t, `{"keys":["user.42.*"],"subject":"u42"}`)
	if status := subscribeStatus(t, v, "connectKey=user.42.mail&connectKey=public.news", answer); status != 200 {
		t.Fatalf("a good token: %d, so nothing is tested", status)
	}
	for _, key := range []string{
		"user.42", "user.4", "user.43.mail", "user.42x.mail", "xuser.42.mail", "user.*.mail", "user.42/mail", "User.42.mail", "user..42.mail", "user.43.mail/../../user.42.mail", "USER.42.MAIL",
		"*", "**", "user.**", "", "@sse/count", "secret", "../user.42.mail", "user.42\x00.mail", "u\u0455er.42.mail", "user.\uff14\uff12.mail", " user.42.mail", "\ufeffuser.42.mail", "user%2e42%2email", "public", "publicx.a",
	} {
		q := url.Values{"connectKey": {key}}.Encode()
		for name, query := range map[string]string{
			"alone": q, "after a good one": "connectKey=user.42.mail&" + q, "before a good one": q + "&connectKey=user.42.mail", "with an escaped name": "%63onnectKey=" + url.QueryEscape(key) + "&connectKey=public.a",
			"after a semicolon": "connectKey=public.a;x&" + q, "with the good one as a fragment": q + "&connectKey=public.a%23", "with the token as a key": q + "&connectKey=public.a&token=" + answer,
		} {
			if status := subscribeStatus(t, v, query, answer); status == 200 {
				t.Errorf("%q %s: %d", key, name, status)
			}
		}
	}
}

func (v *victim) mint(t *testing.T, body string) (token string) {
	t.Helper()
	status, text := v.Do(http.MethodPost, "/token", "application/json", body)
	var a struct{ Token string }
	if err := json.Unmarshal([]byte(text), &a); err != nil || status != 200 || a.Token == "" {
		t.Fatalf("%d %s %v", status, text, err)
	}
	return a.Token
}

// tokenFlood verifies many tokens that are worth nothing, and opens and leaves streams with good ones.
func tokenFlood(t *testing.T, v *victim) {
	good := v.mint(t, `{"keys":["flood.*"],"subject":"flood"}`)
	bad := rs256(rs, claims(""))
	bad = bad[:len(bad)-6] + "AAAAAA"
	flood(t, sized(1500, 30_000), 30, func(i int) error {
		c, err := local(i).Dial("tcp", v.stream)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute * 2))
		token, want := bad, " 401 "
		if i%3 == 0 {
			token, want = good, " 200 "
		}
		_, _ = fmt.Fprint(c, wiretest.Request("GET", fmt.Sprintf("/stream?connectKey=flood.%d", i), "Authorization: Bearer "+token))
		b := make([]byte, 300)
		n, err := c.Read(b)
		if err != nil || !strings.Contains(string(b[:n]), want) {
			return fmt.Errorf("%d: %q, want %s; %w", i, b[:n], want, err)
		}
		return nil
	})
}

// troubleAttacks are servers that Fanfare asks, and that answer badly.
var troubleAttacks = group{
	name:  "trouble",
	start: startTrouble,
	attacks: []attack{
		{name: "jwks-troubles", run: jwksTroubles},
		{name: "callback-troubles", run: callbackTroubles},
	},
}

// trouble is what the servers that Fanfare asks do, by the path.
var trouble struct {
	keys, callback atomic.Pointer[http.HandlerFunc]
	asked          atomic.Int64
}

func startTrouble(t *testing.T) *victim {
	bomb() // takes a while
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		trouble.asked.Add(1)
		at := &trouble.callback
		if r.URL.Path == "/keys" {
			at = &trouble.keys
		}
		if h := at.Load(); h != nil {
			(*h)(w, r)
		}
	}))
	t.Cleanup(func() { app.CloseClientConnections(); app.Close() })
	return startVictim(t, "--jwks-url", app.URL+"/keys", "--jwt-issuer", issuer, "--auth-callback", app.URL+"/may", "--anonymous-keys", "bystander")
}

// troubles are bad answers.
var troubles = map[string]http.HandlerFunc{
	"hangs": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	"byte by byte": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for r.Context().Err() == nil {
			_, _ = w.Write([]byte(" "))
			_ = http.NewResponseController(w).Flush()
			time.Sleep(50 * time.Millisecond)
		}
	},
	"huge": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		b := []byte(strings.Repeat(" ", 64<<10))
		for range 1000 {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	},
	"a huge head": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 4<<20)) },
	"a gzip bomb": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(bomb())
	},
	"redirects to itself": func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	},
	"redirects to a secret": func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
	},
	"lies": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"keys":["**"],"keys":[],"subject":"a\r\nb","ttl":"-1h"}`))
	},
	"breaks off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	"status 500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
	"not HTTP": func(w http.ResponseWriter, _ *http.Request) {
		if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
			_, _ = c.Write([]byte("\x16\x03\x01nonsense\r\n\r\n"))
			_ = c.Close()
		}
	},
}

// under opens streams while a server misbehaves. None of them may get a key, and each gets an answer.
func under(t *testing.T, v *victim, name string, n int, request func(i int) string) {
	t.Helper()
	flood(t, n, n, func(i int) error {
		c, err := local(i).Dial("tcp", v.stream)
		if err != nil {
			return err
		}
		w := wiretest.New(t, c)
		defer w.Close()
		w.Send(request(i))
		text, err := w.TryHead()
		if err != nil {
			return fmt.Errorf("%s: %q, %w", name, text, err)
		}
		switch w.Status {
		case http.StatusUnauthorized, http.StatusForbidden:
			return nil
		case http.StatusOK:
			if body := w.Rest(); strings.HasPrefix(body, "retry: ") && !strings.Contains(body, "event:") {
				return nil
			}
		}
		return fmt.Errorf("%s: status %d", name, w.Status)
	})
}

func jwksTroubles(t *testing.T, v *victim) {
	for name, h := range troubles {
		trouble.keys.Store(&h)
		under(t, v, name, 30, func(i int) string {
			return wiretest.Request("GET", "/stream?connectKey=secret", "Authorization: Bearer "+rs256(fmt.Sprintf(`{"alg":"RS256","kid":"unknown-%s-%d"}`, b64([]byte(name)), i), claims("")))
		})
	}
	if n := trouble.asked.Load(); n > 10 {
		t.Errorf("unknown kids made the server fetch its keys %d times", n)
	}
}

func callbackTroubles(t *testing.T, v *victim) {
	for name, h := range troubles {
		trouble.callback.Store(&h)
		under(t, v, name, sized(60, 500), func(i int) string {
			return wiretest.Request("GET", fmt.Sprintf("/stream?connectKey=secret-%d", i%50), fmt.Sprintf("Cookie: session=cookie-of-the-tests-%d", i))
		})
	}
	// Once it is well again, it counts.
	well := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	trouble.callback.Store(&well)
	w := wiretest.Open(t, v.stream, "/stream?connectKey=secret", "Cookie: session=x")
	w.Close()
}
