package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"fanfare/auth/pattern"
)

const fuzzSecret = "a secret of the fuzz tests, which has 32 bytes"

// FuzzToken sends any header and claims with a valid signature, as an issuer could that is mistaken or that lets its users have a
// say, and any text as it is.
func FuzzToken(f *testing.F) {
	for _, s := range [][2]string{
		{`{"alg":"HS256"}`, `{"exp":2000003600,"sub":"u","fanfare":{"subscribe":["news","**"],"publish":["x"]}}`},
		{`{"alg":"HS256","kid":"k","typ":"fanfare+jwt"}`, `{"exp":1e300,"nbf":-1}`},
		{`{"alg":"none"}`, `{"exp":2000003600,"exp":1}`},
		{`{"alg":"HS256","crit":["x"]}`, `{"exp":2000003600,"aud":"x","mercure":{"subscribe":["*"]}}`},
		{`{"alg":"HS256"}`, `{"exp":2000003600,"mercure":{"subscribe":["a/{b}","{","{c}{d}"],"publish":null}}`},
	} {
		f.Add(s[0], s[1], "news", "a.b.c")
	}
	now := time.Unix(2_000_000_000, 0)
	a, err := New(Options{JWT: JWT{Keys: []KeySource{{Algorithm: "HS256", Data: fuzzSecret}}, Mercure: true}, TokenSecrets: []Secret{fuzzSecret},
		PublishJWT: true, Now: func() time.Time { return now }})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, header, claims, key, raw string) {
		b64 := base64.RawURLEncoding.EncodeToString
		text := b64([]byte(header)) + "." + b64([]byte(claims))
		mac := hmac.New(sha256.New, []byte(fuzzSecret))
		mac.Write([]byte(text))
		g, err := a.Authorize(context.Background(), Request{Keys: []string{key}, Token: Secret(text + "." + b64(mac.Sum(nil)))})
		checkDecision(t, g, err, key)
		if err == nil {
			var h map[string]any
			if json.Unmarshal([]byte(header), &h) != nil || h["alg"] != "HS256" || strings.Contains(header, `"crit"`) {
				t.Errorf("allowed with the header %q", header)
			}
			if !g.Expires.After(now) || g.Expires.Year() > 10000 {
				t.Errorf("allowed until %v by %q", g.Expires, claims)
			}
		}
		_, err = a.AuthorizePublish(context.Background(), PublishRequest{Authorization: Secret("Bearer " + text + "." + b64(mac.Sum(nil)))}, RightPublish, key)
		checkError(t, err)
		g, err = a.Authorize(context.Background(), Request{Keys: []string{key}, Token: Secret(raw), Authorization: Secret(raw), Cookie: Secret("fanfare=" + raw)})
		if err == nil {
			t.Errorf("a text without a signature is allowed: %+v", g)
		}
		checkError(t, err)
	})
}

func checkDecision(t *testing.T, g Grant, err error, key string) {
	t.Helper()
	checkError(t, err)
	if err == nil && (!g.AllowsSubscribe(key) || !subjectOK(g.Subject) || !utf8.ValidString(key)) {
		t.Errorf("allowed %q by %+v", key, g)
	}
	if err != nil && (g.Subscribe != nil || g.Publish != nil || g.Subject != "") {
		t.Errorf("a refusal comes with %+v", g)
	}
	for _, p := range g.Subscribe {
		if perr := pattern.Check(p); perr != nil {
			t.Errorf("pattern %q %v", p, perr)
		}
	}
}

// checkError checks that an error has one of the two kinds.
func checkError(t *testing.T, err error) {
	t.Helper()
	var d *Denied
	if err != nil && !errors.Is(err, ErrLater) && (!errors.As(err, &d) || d.Status != 401 && d.Status != 403 || d.Code == "" || d.Message == "") {
		t.Errorf("an error of another kind: %v", err)
	}
}

// FuzzAnswer reads any body of the callback.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{``, `{}`, `{"keys":["news","user.42.*"],"subject":"u42","ttl":"1h","cache":"30s"}`, `{"keys":null}`, `{"ttl":"1e9h"}`,
		`{"cache":"-1s"}`, `{"allowed":false}`, `{"keys":["**"],"keys":[]}`, `<html>`, `{"subject":"\u0000"}`} {
		f.Add([]byte(s), "application/json", "news")
	}
	now := time.Unix(2_000_000_000, 0)
	f.Fuzz(func(t *testing.T, body []byte, contentType, key string) {
		g, keep, problem := parseAnswer(body, contentType, []string{key}, now)
		if strings.Contains(problem, "\n") || len(problem) > 200 {
			t.Errorf("the problem is not one of ours: %q", problem)
		}
		if problem != "" {
			return
		}
		if keep < 0 || keep > maxCacheTime || !subjectOK(g.Subject) || len(g.Publish) > 0 {
			t.Errorf("%q is %+v, kept for %s", body, g, keep)
		}
		if !g.Expires.IsZero() && (!g.Expires.After(now) || g.Expires.After(now.Add(maxGrantTime))) {
			t.Errorf("%q ends at %v", body, g.Expires)
		}
		for _, p := range g.Subscribe {
			if err := pattern.Check(p); err != nil && p != pattern.Quote(key) {
				t.Errorf("%q has the pattern %q, which %v", body, p, err)
			}
		}
		if strings.TrimSpace(string(body)) == "" && utf8.ValidString(key) && key != "" && len(pattern.Quote(key)) <= pattern.MaxBytes && !g.AllowsSubscribe(key) {
			t.Errorf("an empty body does not allow %q", key)
		}
	})
}
