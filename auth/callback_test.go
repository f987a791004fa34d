package auth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/auth"
	"fanfare/internal/test/eventually"
)

// application answers callbacks as a test wants it to.
type application struct {
	*httptest.Server
	asked  atomic.Int32
	answer atomic.Value // of http.HandlerFunc
}

func newApplication(t testing.TB, answer http.HandlerFunc) *application {
	app := &application{}
	app.answer.Store(answer)
	app.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		app.asked.Add(1)
		app.answer.Load().(http.HandlerFunc)(w, r)
	}))
	t.Cleanup(app.Close)
	return app
}

func body(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		io.WriteString(w, text)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// asking has a callback to the application.
func asking(t testing.TB, app *application, c *clock, change func(*auth.Options)) *auth.Authorizer {
	o := auth.Options{Callback: auth.Callback{URL: app.URL + "/may?x=1", Timeout: 10 * time.Second}, Now: c.Now, Logger: quiet()}
	if change != nil {
		change(&o)
	}
	return newAuthorizer(t, o)
}

func TestCallbackRequest(t *testing.T) {
	seen := make(chan *http.Request, 1)
	app := newApplication(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r })
	a := asking(t, app, newClock(), nil)
	r := auth.Request{
		Keys: []string{"news", "a&b=c", "ä/../x#y"}, Authorization: "Basic dTpw", Cookie: "sid=1; b=2", Origin: "https://app.example",
		Address: "192.0.2.7", Token: "query-token", Host: "live.example.com", Scheme: "https", UserAgent: "Browser/1",
	}
	g, err := a.Authorize(context.Background(), r)
	if err != nil || g.Way != auth.WayCallback || !g.Expires.IsZero() || !slices.Equal(g.Subscribe, r.Keys) {
		t.Fatalf("%+v, %v", g, err)
	}
	got := <-seen
	if got.Method != "GET" || got.URL.Path != "/may" || got.URL.Query().Get("x") != "1" || !slices.Equal(got.URL.Query()["connectKey"], r.Keys) {
		t.Errorf("asked %s %s", got.Method, got.URL)
	}
	for name, want := range map[string]string{"Authorization": "Basic dTpw", "Cookie": "sid=1; b=2", "Origin": "https://app.example", "X-Forwarded-For": "192.0.2.7",
		"X-Forwarded-Host": "live.example.com", "X-Forwarded-Proto": "https", "User-Agent": "Browser/1"} {
		if got.Header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.Header.Get(name), want)
		}
	}
	r.Authorization, r.ForeignOrigin = "", true
	if _, err := a.Authorize(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	if got := <-seen; got.Header.Get("Authorization") != "Bearer query-token" || got.Header.Get("Cookie") != "" {
		t.Errorf("token from the query, cookie of a foreign page: %v", got.Header)
	}
	// A field with a line end never leaves.
	for _, bad := range []auth.Request{{Cookie: "a=1\r\nX: y"}, {Origin: "x\ny"}, {Authorization: "Basic a\x00"}, {Token: "a\r\nb"}} {
		bad.Keys = []string{"news"}
		_, err := a.Authorize(context.Background(), bad)
		wantDenied(t, err, http.StatusUnauthorized, auth.CodeInvalid, "control characters")
	}
	if n := app.asked.Load(); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
}

func TestCallbackAnswers(t *testing.T) {
	c := newClock()
	app := newApplication(t, status(200))
	a := asking(t, app, c, func(o *auth.Options) { o.AnonymousKeys = []string{"public"} })
	r := auth.Request{Keys: []string{"news", "public"}, Cookie: "sid=1"}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   auth.Grant
		ttl    time.Duration
	}{
		"200":       {status(200), auth.Grant{Subscribe: []string{"news", "public", "public"}}, 0},
		"204":       {status(204), auth.Grant{Subscribe: []string{"news", "public", "public"}}, 0},
		"spaces":    {body(" \n"), auth.Grant{Subscribe: []string{"news", "public", "public"}}, 0},
		"no fields": {body("{}"), auth.Grant{Subscribe: []string{"news", "public", "public"}}, 0},
		"all fields": {body(`{"keys":["n*"],"subject":"u42","ttl":"90s","cache":"1ms"}`),
			auth.Grant{Subscribe: []string{"n*", "public"}, Subject: "u42"}, 90 * time.Second},
	} {
		app.answer.Store(test.answer)
		if test.ttl > 0 {
			test.want.Expires = c.Now().Add(test.ttl)
		}
		g, err := a.Authorize(context.Background(), r)
		if err != nil || !slices.Equal(g.Subscribe, test.want.Subscribe) || g.Subject != test.want.Subject || !g.Expires.Equal(test.want.Expires) {
			t.Errorf("%s: %+v, %v", name, g, err)
		}
		c.add(time.Second)
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		status int // 0 is ErrLater
		code   string
	}{
		"401":                     {status(401), 401, auth.CodeDenied},
		"403":                     {status(403), 403, auth.CodeDenied},
		"other keys":              {body(`{"keys":["sport"]}`), 403, auth.CodeKey},
		"no keys":                 {body(`{"keys":[]}`), 403, auth.CodeKey},
		"404":                     {status(404), 0, ""},
		"400":                     {status(400), 0, ""},
		"429":                     {status(429), 0, ""},
		"500":                     {status(500), 0, ""},
		"a redirect to a login":   {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) }, 0, ""},
		"304":                     {status(304), 0, ""},
		"a login page":            {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>log in</html>") }, 0, ""},
		"JSON as text":            {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"keys":["news"]}`) }, 0, ""},
		"allowed false":           {body(`{"allowed":false}`), 0, ""},
		"Keys":                    {body(`{"Keys":["news"]}`), 0, ""},
		"keys twice":              {body(`{"keys":[],"keys":["**"]}`), 0, ""},
		"keys null":               {body(`{"keys":null}`), 0, ""},
		"keys a text":             {body(`{"keys":"news"}`), 0, ""},
		"a bad pattern":           {body(`{"keys":["news","["]}`), 0, ""},
		"null":                    {body(`null`), 0, ""},
		"false":                   {body(`false`), 0, ""},
		"a list":                  {body(`[]`), 0, ""},
		"not UTF-8":               {body("{\"subject\":\"\xff\"}"), 0, ""},
		"subject with a line end": {body(`{"subject":"a\nb"}`), 0, ""},
		"subject a number":        {body(`{"subject":42}`), 0, ""},
		"subject very long":       {body(`{"subject":"` + strings.Repeat("u", 257) + `"}`), 0, ""},
		"ttl a number":            {body(`{"ttl":3600}`), 0, ""},
		"ttl 0":                   {body(`{"ttl":"0s"}`), 0, ""},
		"ttl negative":            {body(`{"ttl":"-1h"}`), 0, ""},
		"ttl huge":                {body(`{"ttl":"999999h"}`), 0, ""},
		"ttl beyond a duration":   {body(`{"ttl":"99999999999h"}`), 0, ""},
		"cache for a day":         {body(`{"cache":"24h"}`), 0, ""},
		"two values":              {body(`{}{}`), 0, ""},
		"huge":                    {body(`{"subject":"` + strings.Repeat(" ", 100_000) + `"}`), 0, ""},
		"a huge head":             {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 200_000)) }, 0, ""},
		"the connection breaks":   {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, ""},
		"the body breaks off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			io.WriteString(w, "{}")
		}, 0, ""},
		"not HTTP":                  {hijack("sid=1 is what you sent\r\n\r\n"), 0, ""},
		"an endless informational":  {hijack(strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100)), 0, ""},
		"switching protocols":       {hijack("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), 0, ""},
		"status 299 with a bad end": {hijack("HTTP/1.1 299 Fine\r\nContent-Length: 5\r\n\r\n{"), 0, ""},
	} {
		app.answer.Store(test.answer)
		g, err := a.Authorize(context.Background(), r)
		switch {
		case test.status == 0 && !errors.Is(err, auth.ErrLater):
			t.Errorf("%s: %+v, %v, want ErrLater", name, g, err)
		case test.status != 0:
			wantDenied(t, err, test.status, test.code, "")
		}
		// A key that needs nothing does not depend on the application.
		before := app.asked.Load()
		if g, err := a.Authorize(context.Background(), auth.Request{Keys: []string{"public"}, Cookie: "sid=1"}); err != nil || g.Way != auth.WayAnonymous || app.asked.Load() != before {
			t.Errorf("%s: an anonymous key: %+v, %v", name, g, err)
		}
	}
	app.Close()
	if g, err := a.Authorize(context.Background(), r); !errors.Is(err, auth.ErrLater) {
		t.Errorf("no application: %+v, %v", g, err)
	}
}

func hijack(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			io.WriteString(conn, text)
			conn.Close()
		}
	}
}

func TestCallbackHangs(t *testing.T) {
	app := newApplication(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	var log bytes.Buffer
	a := asking(t, app, newClock(), func(o *auth.Options) {
		o.Callback.Timeout, o.Callback.MaxInFlight = 200*time.Millisecond, 2 // most do not even get a slot
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if g, err := a.Authorize(context.Background(), auth.Request{Keys: []string{"news"}, Cookie: auth.Secret(fmt.Sprint("sid=", i))}); !errors.Is(err, auth.ErrLater) {
				t.Errorf("%+v, %v", g, err)
			}
		})
	}
	wg.Wait()
	if !strings.Contains(log.String(), "authCallback") || strings.Contains(log.String(), "sid=") {
		t.Errorf("log: %s", log.String())
	}
}

func TestCallbackInFlight(t *testing.T) {
	var now, beyond atomic.Int32
	release := make(chan struct{})
	app := newApplication(t, func(http.ResponseWriter, *http.Request) {
		if now.Add(1) > 2 {
			beyond.Add(1)
		}
		<-release
		now.Add(-1)
	})
	a := asking(t, app, newClock(), func(o *auth.Options) { o.Callback.Timeout, o.Callback.MaxInFlight = time.Minute, 2 })
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := a.Authorize(context.Background(), auth.Request{Keys: []string{"news"}, Cookie: auth.Secret(fmt.Sprint("sid=", i))}); err != nil {
				t.Error(err)
			}
		})
	}
	eventually.True(t, "two requests are in flight", func() bool { return now.Load() == 2 })
	for range 20 {
		release <- struct{}{}
	}
	wg.Wait()
	if n := beyond.Load(); n > 0 {
		t.Errorf("%d requests came while two were in flight", n)
	}
}

func TestCallbackCache(t *testing.T) {
	c := newClock()
	app := newApplication(t, body(`{"subject":"u42","ttl":"1h","cache":"1m"}`))
	a := asking(t, app, c, func(o *auth.Options) { o.Callback.MaxCached = 40 })
	r := auth.Request{Keys: []string{"news", "sport"}, Cookie: "sid=1", Address: "192.0.2.7"}
	// want asks and checks how often the application has been asked altogether.
	want := func(what string, r auth.Request, asked int32) auth.Grant {
		t.Helper()
		g, err := a.Authorize(context.Background(), r)
		if err != nil || g.Subject == "" || app.asked.Load() != asked {
			t.Fatalf("%s: %+v, %v, asked %d times, want %d", what, g, err, app.asked.Load(), asked)
		}
		return g
	}
	end := want("the first", r, 1).Expires
	g := want("the second", r, 1)
	if !g.Expires.Equal(end) {
		t.Errorf("a kept grant ends at %v, not %v", g.Expires, end)
	}
	g.Subscribe[0] = "**" // what a caller does to its grant is not seen by others
	if g := want("a changed grant", r, 1); g.AllowsSubscribe("secret") {
		t.Error("callers share a grant")
	}
	other := r
	other.Keys = []string{"sport", "news"}
	want("keys in another order", other, 1)
	for i, change := range []func(*auth.Request){
		func(r *auth.Request) { r.Cookie = "sid=2" },
		func(r *auth.Request) { r.Keys = []string{"news"} },
		func(r *auth.Request) { r.Keys = []string{"new", "ssport"} },
		func(r *auth.Request) { r.Keys = []string{"news", "sport", "secret"} },
		func(r *auth.Request) { r.Authorization, r.Cookie = "sid=1", "" },
		func(r *auth.Request) { r.Token, r.Cookie = "sid=1", "" },
		func(r *auth.Request) { r.Origin = "https://app.example" },
		func(r *auth.Request) { r.Address = "192.0.2.8" },
		func(r *auth.Request) { r.ForeignOrigin = true },
	} {
		other := r
		change(&other)
		want("another question", other, int32(i+2))
	}
	// The order of keys does not make a grant for keys that were not asked for.
	c.add(59 * time.Second)
	want("just before the end", r, 10)
	c.add(time.Second)
	want("at the end", r, 11)
	c.add(-time.Second)
	want("with the clock set back", r, 12)
	a.Purge("u43")
	want("after a purge of somebody else", r, 12)
	a.Purge("u42")
	want("after a purge", r, 13)
	a.PurgeAll()
	want("after a purge of all", r, 14)
	app.answer.Store(body(`{"subject":"u42","ttl":"1s","cache":"1m"}`))
	a.PurgeAll()
	want("a short grant", r, 15)
	c.add(time.Second)
	want("after its end", r, 16)

	// Many grants push others out, and never more than 40 are kept.
	app.answer.Store(body(`{"subject":"u42","cache":"1m"}`))
	a.PurgeAll()
	for i := range 200 {
		r.Cookie = auth.Secret(fmt.Sprint("sid=", i))
		want("many", r, int32(17+i))
	}
	asked := app.asked.Load()
	for i := range 200 {
		r.Cookie = auth.Secret(fmt.Sprint("sid=", i))
		if _, err := a.Authorize(context.Background(), r); err != nil {
			t.Fatal(err)
		}
	}
	if n := app.asked.Load() - asked; n < 160 {
		t.Errorf("%d of 200 grants were kept, more than 40", 200-n)
	}

	// Refusals and answers without "cache" are not kept.
	a.PurgeAll()
	for _, answer := range []http.HandlerFunc{body(`{"subject":"u42"}`), status(403), status(500)} {
		app.answer.Store(answer)
		asked := app.asked.Load()
		for range 3 {
			_, _ = a.Authorize(context.Background(), r)
		}
		if n := app.asked.Load() - asked; n != 3 {
			t.Errorf("asked %d times, want 3", n)
		}
	}
}

// TestCallbackOneFlight: those who ask the same wait for one answer, and a purge meanwhile makes them ask again.
func TestCallbackOneFlight(t *testing.T) {
	release := make(chan string)
	app := newApplication(t, func(w http.ResponseWriter, r *http.Request) { body(<-release)(w, r) })
	a := asking(t, app, newClock(), func(o *auth.Options) { o.Callback.Timeout = time.Minute })
	r := auth.Request{Keys: []string{"news"}, Cookie: "sid=1"}
	const callers = 20
	subjects := make(chan string, callers)
	var started atomic.Int32
	for range callers {
		go func() {
			started.Add(1)
			g, err := a.Authorize(context.Background(), r)
			subjects <- fmt.Sprint(g.Subject, err)
		}()
	}
	eventually.True(t, "all have started", func() bool { return started.Load() == callers && app.asked.Load() == 1 })
	a.Purge("u42") // logged out: the answer that is under way may be from before
	release <- `{"subject":"u42","cache":"1m"}`
	eventually.True(t, "it is asked again", func() bool { return app.asked.Load() == 2 })
	release <- `{"subject":"u43","cache":"1m"}`
	for range callers {
		if got := <-subjects; got != "u43<nil>" {
			t.Errorf("got %s, want the answer from after the purge", got)
		}
	}
	if n := app.asked.Load(); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
	// A caller that goes away leaves the flight to the others.
	r.Cookie = "sid=2"
	ctx, cancel := context.WithCancel(context.Background())
	first := make(chan error, 1)
	go func() { _, err := a.Authorize(ctx, r); first <- err }()
	eventually.True(t, "it is asked", func() bool { return app.asked.Load() == 3 })
	go func() { g, err := a.Authorize(context.Background(), r); subjects <- fmt.Sprint(g.Subject, err) }()
	cancel()
	if err := <-first; !errors.Is(err, auth.ErrLater) {
		t.Error(err)
	}
	release <- `{"subject":"u44","cache":"1m"}`
	if got := <-subjects; got != "u44<nil>" {
		t.Error(got)
	}
	// Close ends it for all.
	r.Cookie = "sid=3"
	go func() { _, err := a.Authorize(context.Background(), r); first <- err }()
	eventually.True(t, "it is asked", func() bool { return app.asked.Load() == 4 })
	a.Close()
	if err := <-first; !errors.Is(err, auth.ErrLater) {
		t.Error(err)
	}
	close(release)
}
