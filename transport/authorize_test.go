package transport

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/auth"
	"fanfare/codec"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// door is an Options.Authorize: the token is "SUBJECT:PATTERN[:LIFE]", "later", "panic", or anything else, which is denied.
func door(_ context.Context, r auth.Request) (auth.Grant, error) {
	token := string(r.Token)
	if token == "" {
		token = strings.TrimPrefix(string(r.Authorization), "Bearer ")
	}
	if _, value, ok := strings.Cut(string(r.Cookie), "t="); ok && token == "" && !r.ForeignOrigin {
		token, _, _ = strings.Cut(value, ";")
	}
	switch token {
	case "":
		return auth.Grant{}, &auth.Denied{Status: 401, Code: auth.CodeMissing, Message: "a token is needed"}
	case "later":
		return auth.Grant{}, errors.New("the application does not answer")
	case "panic":
		panic("a bug of whoever decides")
	}
	subject, pattern, _ := strings.Cut(token, ":")
	pattern, life, _ := strings.Cut(pattern, ":")
	g := auth.Grant{Subject: subject, Subscribe: []string{pattern}}
	if d, err := time.ParseDuration(life); err == nil {
		g.Expires = time.Now().Add(d)
	}
	return g, nil
}

// TestAuthorize: a stream begins only if all of its keys are granted, whatever the text of the query; a denial is final and has a
// reason, CORS fields and no credential in the log; what cannot be decided makes the client come back.
func TestAuthorize(t *testing.T) {
	o := Options{Authorize: door, AllowedOrigins: []string{"https://app.example"}, AllowCredentials: true, MaxKeysPerConnection: 4, CacheKey: "pool"}
	onBoth(t, rigOptions{Options: o}, func(t *testing.T, r *rig) {
		for _, test := range []struct {
			query  string
			header []string
			status int
			has    string
		}{
			{"connectKey=news", nil, 401, `"code":"credential-missing"`},
			{"connectKey=news&token=u1:news", nil, 200, "event: position"},
			{"connectKey=news&token=bad&token=u1:news", nil, 200, "event: position"},
			{"connectKey=news&token=u1:other", nil, 403, `"code":"key-denied"`},
			{"connectKey=news&connectKey=secret&token=u1:news", nil, 403, `"code":"key-denied"`},
			{"connectKey=news&%63onnectKey=secret&token=u1:news", nil, 403, `"code":"key-denied"`},
			{"token=u1:news", nil, 403, `"code":"key-denied"`}, // the default key
			{"token=u1:pool", nil, 200, "event: position"},
			{"connectKey=&token=u1:news", nil, 403, `"code":"key-denied"`},
			{"connectKey=user.42.a&token=u1:user.42.*", nil, 200, "event: position"},
			{"connectKey=user.42.a/b&token=u1:user.42.*", nil, 403, `"code":"key-denied"`},
			{"connectKey=news", []string{"Authorization: Bearer u1:news"}, 200, "event: position"},
			{"connectKey=news", []string{"Cookie: t=u1:news"}, 200, "event: position"},
			{"connectKey=news", []string{"Cookie: t=u1:news", "Origin: https://app.example"}, 200, "event: position"},
			{"connectKey=news", []string{"Cookie: t=u1:news", "Origin: http://127.0.0.1"}, 200, "event: position"}, // its own page: the Host
			{"connectKey=news", []string{"Cookie: t=u1:news", "Origin: https://evil.example"}, 401, "credential-missing"},
			{"connectKey=news", []string{"Cookie: t=u1:news", "Origin: null"}, 401, "credential-missing"},
			{"connectKey=news", []string{"Cookie: t=u1:news", "Sec-Fetch-Site: cross-site"}, 401, "credential-missing"},
			{"connectKey=news&token=u1:news", []string{"Origin: https://evil.example"}, 200, "event: position"}, // no cookie: the page has the token
			{"connectKey=news&token=later", nil, 200, "retry: "},
			{"connectKey=news&token=panic", nil, 200, "retry: "},
		} {
			w := r.dial()
			w.Send(r.get(test.query, append(test.header, "Connection: close")...))
			w.ReadHead()
			body := w.Read(len(test.has))
			if w.Status != test.status || test.status == 200 && body != test.has || test.status != 200 && !strings.Contains(body+w.Rest(), test.has) {
				t.Errorf("%s %q: %d %q", test.query, test.header, w.Status, body)
			}
			if test.status != 200 && (w.Header.Get("Vary") != "Origin" || w.Header.Get("Cache-Control") != "no-store" || (test.status == 401) != (w.Header.Get("WWW-Authenticate") != "")) {
				t.Errorf("%s: %v", test.query, w.Header)
			}
			w.Close()
		}
		eventually.Equal(t, "all have gone", 0, r.srv.Open)
		if n := r.metric(`fanfare_rejected_total{limit="unauthorized"}`); n != 10 {
			t.Errorf("%v unauthorized", n)
		}
		if n := r.metric(`fanfare_rejected_total{limit="authorizeLater"}`); n != 2 {
			t.Errorf("%v later", n)
		}
		if log := r.log.String(); strings.Contains(log, "u1:") || !strings.Contains(log, "a token is needed") || !strings.Contains(log, "the application does not answer") {
			t.Errorf("the log: %s", log)
		}
	})
}

// TestGrantExpires: the stream ends when its grant does, after the events that came before, by an event that tells the page.
func TestGrantExpires(t *testing.T) {
	onBoth(t, rigOptions{Options: Options{Authorize: door}}, func(t *testing.T, r *rig) {
		w := r.stream("connectKey=k&token=u1:k:1500ms")
		stays := r.stream("connectKey=k&token=u1:k")
		defer stays.Close()
		r.waitCount("k", 2)
		r.must("k", codec.Event{Data: []byte("before")})
		rest := w.Rest()
		before, after, _ := strings.Cut(rest, "event: expired\n")
		if !strings.Contains(before, "data: before\n") || !strings.HasPrefix(after, "data: {\"reason\":") || !strings.HasSuffix(after, "\n\n") {
			t.Errorf("%q", rest)
		}
		r.waitCount("k", 1)
		eventually.Equal(t, "it is counted", 1, func() float64 { return r.metric(`fanfare_connections_closed_total{reason="expired"}`) })
	})
}

// TestDisconnect: all streams of a subject end, and only those, also one that was authorized before and begins after.
func TestDisconnect(t *testing.T) {
	held, release := make(chan struct{}), make(chan struct{})
	var hold atomic.Bool
	o := Options{Authorize: func(ctx context.Context, r auth.Request) (auth.Grant, error) {
		g, err := door(ctx, r)
		if hold.Load() && g.Subject == "u1" {
			close(held)
			<-release
		}
		return g, err
	}}
	r := startRig(t, viaFast, rigOptions{Options: o})
	var ones, others []*wiretest.Conn
	for i := range 10 {
		ones = append(ones, r.stream(fmt.Sprintf("connectKey=k%d&token=u1:*", i%3)))
		others = append(others, r.stream(fmt.Sprintf("connectKey=k%d&token=u2:*", i%3)))
	}
	anonymous := r.stream("connectKey=k0&token=:*")
	r.waitOpen(21)
	var present struct {
		Subscribers int
		Subjects    []struct {
			Subject string
			Streams int
		}
	}
	eventually.True(t, "they are present", func() bool {
		r.call("GET", "/presence?key=k0", "").decode(t, &present)
		return present.Subscribers == 9 && fmt.Sprint(present.Subjects) == "[{u1 4} {u2 4}]"
	})
	hold.Store(true)
	late := r.dial()
	late.Send(r.get("connectKey=k0&token=u1:*"))
	<-held
	var answer struct{ Disconnected int }
	r.call("POST", "/disconnect?subject=u1", "").decode(t, &answer)
	if answer.Disconnected != 10 {
		t.Errorf("%d were disconnected", answer.Disconnected)
	}
	close(release)
	late.ReadHead()
	late.Rest()
	for _, w := range ones {
		w.Rest()
	}
	hold.Store(false)
	r.waitOpen(11)
	eventually.Equal(t, "they are counted", 11, func() float64 { return r.metric(`fanfare_connections_closed_total{reason="disconnected"}`) })
	again := r.stream("connectKey=k0&token=u1:*") // by a grant of its own
	r.must("k0", codec.Event{Data: []byte("still here")})
	for _, w := range []*wiretest.Conn{others[0], anonymous, again} {
		e := wiretest.NewEvents(w)
		e.AwaitPosition()
		e.WantData("still here")
	}
	for _, w := range others {
		w.Close()
	}
	anonymous.Close()
	again.Close()
	r.waitOpen(0)
	if p := r.srv.Presence("k0"); len(p) != 0 {
		t.Errorf("%v are left", p)
	}
	for target, field := range map[string]string{"/disconnect": "subject", "/disconnect?subject=": "subject", "/disconnect?subject=%ff": "subject", "/presence?subject=u1": "subject"} {
		method := "POST"
		if strings.HasPrefix(target, "/presence") {
			method = "GET"
		}
		if a := r.call(method, target, ""); a.status != 400 || a.failed(t).Field != field {
			t.Errorf("%s: %d %s", target, a.status, a.body)
		}
	}
}

// TestHooks: each stream begins and ends once for the hooks, in both servers.
func TestHooks(t *testing.T) {
	var mu sync.Mutex
	begun, ended := map[string]int{}, map[string]int{}
	o := Options{
		Authorize: door,
		OnConnect: func(i Info) {
			mu.Lock()
			defer mu.Unlock()
			begun[i.Subject+" "+strings.Join(i.Keys, ",")]++
		},
		OnDisconnect: func(i Info, reason string, lasted time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			ended[i.Subject+" "+strings.Join(i.Keys, ",")+" "+reason]++
			if lasted < 0 || lasted > time.Hour {
				t.Errorf("it lasted %s", lasted)
			}
		},
	}
	onBoth(t, rigOptions{Options: o}, func(t *testing.T, r *rig) {
		mu.Lock()
		clear(begun)
		clear(ended)
		mu.Unlock()
		r.stream("connectKey=a&connectKey=b&token=u1:*").Close()
		w := r.stream("connectKey=a&token=u2:*")
		r.waitCount("a", 1)
		r.eng.CloseKey("a")
		w.Rest()
		eventually.True(t, "both have ended", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return fmt.Sprint(begun) == "map[u1 a,b:1 u2 a:1]" && fmt.Sprint(ended) == "map[u1 a,b gone:1 u2 a closed:1]"
		})
	})
}

// TestPanicInHook: a hook that panics costs neither the stream nor Close.
func TestPanicInHook(t *testing.T) {
	o := Options{
		OnConnect:    func(Info) { panic("OnConnect") },
		OnDisconnect: func(Info, string, time.Duration) { panic("OnDisconnect") },
	}
	onBoth(t, rigOptions{Options: o}, func(t *testing.T, r *rig) {
		w := r.stream("connectKey=a")
		e := wiretest.NewEvents(w)
		e.AwaitPosition()
		r.must("a", codec.Event{Data: []byte("hello")})
		e.WantData("hello")
		w.Close()
		r.waitOpen(0)
		eventually.Equal(t, "panics counted", 2, func() float64 { return r.metric("fanfare_panics_total") })

		r.stream("connectKey=a")
		r.waitOpen(1)
		closed := make(chan struct{})
		go func() {
			r.srv.Close()
			close(closed)
		}()
		select {
		case <-closed:
		case <-time.After(eventually.Patience):
			t.Fatal("Close waits for a stream that nobody ends")
		}
	})
}

// TestAuthorizeSeesTheRequest: who decides learns by which host, scheme and browser the client has come, and a scheme that a
// proxy tells counts only from a trusted one.
func TestAuthorizeSeesTheRequest(t *testing.T) {
	plainOnly(t)
	seen := make(chan auth.Request, 1)
	o := Options{Authorize: func(_ context.Context, r auth.Request) (auth.Grant, error) {
		seen <- r
		return auth.Grant{Subscribe: []string{"**"}}, nil
	}}
	check := func(t *testing.T, r *rig, want string, header ...string) {
		t.Helper()
		r.stream("connectKey=k", append(header, "User-Agent: Browser/1")...)
		if got := <-seen; got.Host != "127.0.0.1" || got.UserAgent != "Browser/1" || got.Scheme != want {
			t.Errorf("host %q, agent %q, scheme %q, want %q", got.Host, got.UserAgent, got.Scheme, want)
		}
	}
	onBoth(t, rigOptions{Options: o}, func(t *testing.T, r *rig) {
		check(t, r, "http")
		check(t, r, "http", "X-Forwarded-Proto: https")
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		if err := r.reconfigure(o); err != nil {
			t.Fatal(err)
		}
		check(t, r, "https", "X-Forwarded-Proto: https")
		check(t, r, "http", "X-Forwarded-Proto: gopher")
		o.TrustedProxies = nil
	})
	check(t, startTLS(t, rigOptions{Options: o}), "https")
}
