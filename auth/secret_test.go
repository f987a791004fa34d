package auth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"fanfare/auth"
)

// TestNothingOfACredentialShows formats, logs and marshals everything that has to do with credentials.
func TestNothingOfACredentialShows(t *testing.T) {
	const mark = "hunter2hunter2hunter2hunter2hunter2"
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(io.MultiWriter(&log, io.Discard), &slog.HandlerOptions{Level: slog.LevelDebug}))
	check := func(what, text string) {
		t.Helper()
		for _, shown := range []string{mark, fmt.Sprintf("%x", mark), fmt.Sprintf("%X", mark), strings.Trim(fmt.Sprint([]byte(mark)), "[]"), "68, 0x75"} {
			if strings.Contains(text, shown) {
				t.Errorf("%s shows a credential: %.300s", what, text)
			}
		}
	}
	app := newApplication(t, func(w http.ResponseWriter, r *http.Request) { // an application that repeats what it gets
		for _, name := range []string{"Cookie", "Authorization"} {
			fmt.Fprint(w, r.Header.Get(name))
		}
	})
	echo := hijack("HTTP/1.1 " + mark + "\r\n\r\n")
	p := newProvider(t)
	p.answers(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"keys":[{"k":%q}], %q`, mark, mark) })
	o := auth.Options{
		Logger: logger, TokenSecrets: []auth.Secret{mark}, PublishJWT: true,
		JWT:           auth.JWT{Keys: []auth.KeySource{{ID: "one", Algorithm: "HS256", Data: mark}}, JWKSURL: p.URL + "/?secret=" + mark, Issuer: "i"},
		Callback:      auth.Callback{URL: app.URL + "/?secret=" + mark},
		PublishTokens: []auth.PublishToken{{Name: "a", Token: mark, Keys: []string{"*"}}},
	}
	a := newAuthorizer(t, o)
	root := auth.Publisher{Rights: auth.AllRights, Keys: []string{"**"}}
	minted, err := a.Mint(root, auth.TokenRequest{Keys: []string{"k"}})
	if err != nil {
		t.Fatal(err)
	}
	o.JWT.JWKSURL, o.Callback.URL = "", "" // plain texts for their owner
	requests := []auth.Request{
		{Authorization: "Bearer " + mark, Cookie: "sid=" + mark, Token: mark},
		{Authorization: "Basic " + mark},
		{Cookie: "fanfare=" + mark},
		{Cookie: "fanfare=" + mark + "\n"},
		{Token: minted.Text + mark},
		{Token: signed(t, jwt.SigningMethodHS256, []byte(mark), `{"alg":"HS256","kid":"`+mark+`"}`, `{}`)},
		{Token: signed(t, jwt.SigningMethodHS256, []byte(mark), `{"alg":"`+mark+`","kid":"one"}`, `{"`+mark+`":1}`)},
		{Token: signed(t, jwt.SigningMethodHS256, []byte(mark), `{"alg":"HS256","kid":"one"}`, `{"exp":"`+mark+`"}`)},
		{Token: signed(t, jwt.SigningMethodHS256, []byte(mark), `{"alg":"HS256","kid":"one"}`, `{"exp":9999999999,"iss":"`+mark+`"}`)},
		{Token: signed(t, jwt.SigningMethodHS256, []byte(mark), `{"alg":"HS256","kid":"one"}`, `{"exp":9999999999,"iss":"i","fanfare":{"subscribe":["`+mark+`["]}}`)},
		{Token: signed(t, jwt.SigningMethodHS256, []byte(mark), `{"alg":"HS256","kid":"one"}`, `{"exp":9999999999,"iss":"i","sub":["`+mark+`"]}`)},
	}
	values := map[string]any{"Options": o, "KeySource": o.JWT.Keys, "PublishToken": o.PublishTokens, "Secret": auth.Secret(mark), "Secrets": o.TokenSecrets,
		"pointer to Options": &o, "Authorizer": a, "Token": minted, "Request": requests}
	for _, answer := range []http.HandlerFunc{nil, echo} {
		if answer != nil {
			app.answer.Store(answer)
		}
		for i, r := range requests {
			r.Keys = []string{"news"}
			g, err := a.Authorize(context.Background(), r)
			if err == nil {
				t.Errorf("request %d is allowed: %v", i, g)
				continue
			}
			values[fmt.Sprint("error of request ", i)] = err
			logger.Error("refused", "error", err, "request", r, "token", r.Token)
			field := "Bearer " + r.Token + r.Authorization + "x"
			p, err := a.AuthorizePublish(context.Background(), auth.PublishRequest{Authorization: field}, auth.RightPublish, "news")
			if err == nil {
				t.Errorf("request %d may publish: %v", i, p)
			}
			values[fmt.Sprint("publish error of request ", i)] = err
		}
	}
	// Neither the URLs, when nothing listens there.
	app.Close()
	p.Close()
	gone := newAuthorizer(t, auth.Options{Logger: logger, JWT: auth.JWT{JWKSURL: p.URL + "/?secret=" + mark, Issuer: "i"}, Callback: auth.Callback{URL: app.URL + "/?secret=" + mark}})
	for _, r := range requests {
		r.Keys = []string{"news"}
		if _, err := gone.Authorize(context.Background(), r); err == nil {
			t.Error("allowed by nobody")
		}
	}
	for name, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%U", "%5.3v", "%T"} {
			check(name+" by "+verb, fmt.Sprintf(verb, v))
		}
		if text, err := json.Marshal(v); err == nil {
			check(name+" in JSON", string(text))
		}
		logger.Info("value", "value", v)
	}
	check("the log", log.String())
	for _, want := range []string{"jwksURL", "authCallback", "redacted"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log says nothing of %s:\n%s", want, log.String())
		}
	}
	if s := auth.Secret(""); s.String() != "" || fmt.Sprintf("%q", s) != `""` {
		t.Error("no secret looks like one")
	}
}

// TestRace uses everything at once, for the race detector.
func TestRace(t *testing.T) {
	c, p := newClock(), newProvider(t)
	p.sets(jwkOf(ecKey(), "one"))
	app := newApplication(t, body(`{"subject":"u42","cache":"1s"}`))
	a := newAuthorizer(t, auth.Options{Now: c.Now, Logger: quiet(), TokenSecrets: []auth.Secret{secret}, Callback: auth.Callback{URL: app.URL, MaxCached: 3},
		JWT: auth.JWT{JWKSURL: p.URL, Issuer: "i"}, PublishTokens: []auth.PublishToken{{Name: "a", Token: hashed, Keys: []string{"*"}, Rights: auth.AllRights}}})
	token := tokenOf(t, c, jwt.SigningMethodES256, ecKey(), "one")
	done := make(chan struct{})
	for i := range 8 {
		go func() {
			defer func() { done <- struct{}{} }()
			for j := range 50 {
				ctx := context.Background()
				if _, err := ask(a, token, "news"); err != nil {
					t.Error(err)
				}
				if _, err := a.Authorize(ctx, auth.Request{Keys: []string{"news"}, Cookie: auth.Secret(fmt.Sprint("sid=", j%5))}); err != nil {
					t.Error(err)
				}
				publisher, err := a.AuthorizePublish(ctx, auth.PublishRequest{Authorization: "Bearer 0123456789abcdef"}, auth.RightMint, "x")
				if err != nil {
					t.Error(err)
				}
				if _, err := a.Mint(publisher, auth.TokenRequest{Keys: []string{"x"}}); err != nil {
					t.Error(err)
				}
				switch i {
				case 0:
					c.add(time.Minute)
				case 1:
					a.Purge("u42")
				}
			}
		}()
	}
	for range 8 {
		<-done
	}
}
