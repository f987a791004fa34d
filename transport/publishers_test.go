package transport

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"fanfare/auth"
	"fanfare/internal/test/wiretest"
)

// tokenOf is the token of a publisher of these tests.
func tokenOf(name string) string { return "token-of-" + name + "-0123456789" }

func bearerOf(name string) string { return "Authorization: Bearer " + tokenOf(name) }

// publishersOf makes options with publishers, each with the token of its name.
func publishersOf(t *testing.T, list ...auth.PublishToken) Options {
	t.Helper()
	for i := range list {
		if list[i].Certificate == "" {
			list[i].Token = auth.Secret(tokenOf(list[i].Name))
		}
	}
	a, err := auth.New(auth.Options{PublishTokens: list, TokenSecrets: []auth.Secret{"0123456789abcdef0123456789abcdef"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return Options{IdentifyPublisher: a.Identify, Mint: a.Mint, Pprof: true}
}

// operation is a request of the publish API.
type operation struct {
	method, target, body string
	rights               []auth.Right // one of these is needed
	keyed                bool         // for the key of the query
	all                  bool         // for all keys
}

// operations has every route of the admin listener that needs a right.
var operations = map[string]operation{
	"/publish":     {"POST", "/publish", "x", []auth.Right{auth.RightPublish}, true, false},
	"/publishAll":  {"POST", "/publishAll", "x", []auth.Right{auth.RightPublishAll}, false, true},
	"/batch":       {"POST", "/batch", "", []auth.Right{auth.RightPublish, auth.RightPublishAll, auth.RightClose, auth.RightRead}, false, false},
	"/close":       {"POST", "/close", "", []auth.Right{auth.RightClose}, true, false},
	"/closeAll":    {"POST", "/closeAll", "", []auth.Right{auth.RightClose}, false, true},
	"/count":       {"GET", "/count", "", []auth.Right{auth.RightRead}, true, false},
	"/countAll":    {"GET", "/countAll", "", []auth.Right{auth.RightRead}, false, true},
	"/presence":    {"GET", "/presence", "", []auth.Right{auth.RightRead}, true, false},
	"/history":     {"GET", "/history", "", []auth.Right{auth.RightRead}, true, false},
	"/keys":        {"GET", "/keys", "", []auth.Right{auth.RightRead}, false, false},
	"/metrics":     {"GET", "/metrics", "", []auth.Right{auth.RightRead}, false, true},
	"/disconnect":  {"POST", "/disconnect?subject=nobody", "", []auth.Right{auth.RightDisconnect}, false, true},
	"/token":       {"POST", "/token", `{"keys":["news.a"]}`, []auth.Right{auth.RightMint}, false, false},
	"/debug/pprof": {"GET", "/debug/pprof/", "", []auth.Right{auth.RightRead}, false, true},
}

// TestEveryRightOnEveryRoute: each right allows what it is for and nothing else, for its keys alone. A route that this test
// does not know is an error: write down here which right it needs.
func TestEveryRightOnEveryRoute(t *testing.T) {
	var list []auth.PublishToken
	for _, right := range auth.AllRights {
		list = append(list,
			auth.PublishToken{Name: string(right), Rights: []auth.Right{right}, Keys: []string{"**"}},
			auth.PublishToken{Name: string(right) + "-news", Rights: []auth.Right{right}, Keys: []string{"news.*"}})
	}
	list = append(list, auth.PublishToken{Name: "root", Rights: auth.AllRights, Keys: []string{"**"}}, auth.PublishToken{Name: "every-news", Rights: auth.AllRights, Keys: []string{"news.*", "*"}})
	r := startRig(t, viaFast, rigOptions{Options: publishersOf(t, list...)})

	_, names, _ := strings.Cut(r.call("GET", "/nothing", "").failed(t).Error, "use one of ")
	for name := range strings.SplitSeq(names, ", ") {
		if _, ok := operations[name]; !ok && name != "/healthz" && name != "/readyz" {
			t.Errorf("%s is not in this test", name)
		}
	}
	type answer struct {
		Error, Field, Code string
	}
	check := func(o operation, who, query string, status int, code string) {
		t.Helper()
		target := o.target
		if query != "" {
			target += "?" + query
		}
		a := r.call(o.method, target, o.body, bearerOf(who), "Content-Type: text/plain")
		var f answer
		if a.status != 200 {
			a.decode(t, &f)
		}
		if a.status != status || f.Code != code {
			t.Errorf("%s %s by %s: %d %q, want %d %q", o.method, target, who, a.status, f.Code, status, code)
		}
		challenge := map[int]string{401: `Bearer error="invalid_token"`, 403: `Bearer error="insufficient_scope"`}[status]
		if got := a.header.Get("WWW-Authenticate"); got != challenge {
			t.Errorf("%s %s by %s: the challenge is %q, want %q", o.method, target, who, got, challenge)
		}
		if status != 200 && (f.Error == "" || f.Field == "") {
			t.Errorf("%s %s by %s: %s", o.method, target, who, a.body)
		}
	}
	for _, o := range operations {
		for _, right := range auth.AllRights {
			who := string(right)
			if !slices.Contains(o.rights, right) {
				check(o, who, "", 403, auth.CodeRight)
				check(o, who+"-news", "", 403, auth.CodeRight)
				continue
			}
			check(o, who, "", 200, "")
			switch {
			case o.all:
				check(o, who+"-news", "", 403, auth.CodeKey)
			case o.keyed:
				for query, status := range map[string]int{
					"key=news.a": 200, "key=%6Eews.a": 200, "%6Bey=news.a": 200,
					"key=secret": 403, "key=news.a/b": 403, "key=news": 403, "": 403, "key=": 403, "%6Bey=secret": 403, "key=news.a%00": 200,
				} {
					check(o, who+"-news", query, status, map[int]string{403: auth.CodeKey}[status])
				}
			default:
				check(o, who+"-news", "", 200, "")
			}
		}
		check(o, "root", "", 200, "")
		if o.all {
			check(o, "every-news", "", 403, auth.CodeKey) // "*" is not all keys
		}
		check(o, "unknown", "", 401, auth.CodeInvalid)
		a := r.call(o.method, o.target, o.body, "Content-Type: text/plain")
		if f := a.failed(t); a.status != 401 || f.Field != "Authorization" || a.header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s without a credential: %d %s", o.target, a.status, a.body)
		}
		if a := r.call("OPTIONS", o.target, ""); a.status != 204 {
			t.Errorf("OPTIONS %s: %d", o.target, a.status)
		}
	}
	// The command line may have a token among its flags.
	cmdline := operation{method: "GET", target: "/debug/pprof/cmdline"}
	check(cmdline, "read", "", 403, auth.CodeRight)
	check(cmdline, "root", "", 200, "")
	for _, path := range []string{"/healthz", "/readyz"} {
		if a := r.call("GET", path, ""); a.status != 200 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	log := r.log.String()
	if strings.Contains(log, "token-of") {
		t.Error("the log has a token")
	}
	if !strings.Contains(log, "publisher ") {
		t.Error("the log does not say who was refused")
	}
	metrics := r.call("GET", "/metrics", "", bearerOf("root")).body
	for _, want := range []string{fmt.Sprintf(`reason="credential-invalid"} %d`, len(operations)), fmt.Sprintf(`reason="credential-missing"} %d`, len(operations)), `reason="later"} 0`} {
		if !strings.Contains(metrics, "fanfare_publish_denied_total{"+want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	if strings.Contains(metrics, "token-of") {
		t.Error("the metrics have a token")
	}
}

// TestBatchByRights: a line to which the sender has no right is refused, and no other.
func TestBatchByRights(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: publishersOf(t,
		auth.PublishToken{Name: "news", Rights: []auth.Right{auth.RightPublish, auth.RightRead}, Keys: []string{"news.*"}},
		auth.PublishToken{Name: "close", Rights: []auth.Right{auth.RightClose}, Keys: []string{"**"}})})
	e, secret := r.subscribe("connectKey=news.a"), r.subscribe("connectKey=secret")
	lines := []struct{ command, want string }{
		{`{"key":"news.a","data":"1"}`, `"subscribers":1`},
		{`{"key":"secret","data":"2"}`, `"field":"key","code":"key-denied","line":2`},
		{`{"data":"of the default key"}`, `"code":"key-denied"`},
		{`{"op":"publishAll","data":"3"}`, `"code":"right-denied"`},
		{`{"op":"close","key":"news.a"}`, `"code":"right-denied"`},
		{`{"op":"closeAll"}`, `"code":"right-denied"`},
		{`{"op":"count","key":"news.a"}`, `"count":1`},
		{`{"op":"count","key":"secret"}`, `"code":"key-denied"`},
		{`{"op":"countAll"}`, `"code":"key-denied"`},
		{`{"op":"disconnect","key":"news.a"}`, `"field":"op"`},
		{`{"op":"mint"}`, `"field":"key","code":"key-denied"`}, // the default key, before the op
		{`{"key":"secret","key":"news.a","data":"4"}`, `"subscribers":1`},
		{`{"key":"news.a","key":"secret","data":"5"}`, `"code":"key-denied"`},
		{`{"key":"secret","frame":"data: 6\n\n"}`, `"code":"key-denied"`},
		{`{"key":"news.a","frame":"data: 7\n\n"}`, `"subscribers":1`},
	}
	var body strings.Builder
	for _, l := range lines {
		body.WriteString(l.command + "\n")
	}
	a := r.call("POST", "/batch", body.String(), bearerOf("news"))
	answers := strings.Split(strings.TrimSpace(a.body), "\n")
	if a.status != 200 || len(answers) != len(lines) {
		t.Fatalf("%d, %d answers: %s", a.status, len(answers), a.body)
	}
	for i, l := range lines {
		if !strings.Contains(answers[i], l.want) {
			t.Errorf("%s: %s, want %s", l.command, answers[i], l.want)
		}
	}
	for _, want := range []string{"1", "4", "7"} {
		e.WantData(want)
	}
	if a := r.call("POST", "/batch", `{"op":"close","key":"secret"}`, bearerOf("close")); a.status != 200 || !strings.Contains(a.body, `"closed":1`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	secret.Ended()
	if a := r.call("POST", "/batch", `{"key":"news.a","data":"8"}`, bearerOf("close")); a.status != 200 || !strings.Contains(a.body, "right-denied") {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestRightsDecideByTheHead: the body of a request that is refused is not waited for.
func TestRightsDecideByTheHead(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: publishersOf(t, auth.PublishToken{Name: "news", Keys: []string{"news.*"}})})
	for target, status := range map[string]int{"/publish?key=secret": 403, "/publish": 403, "/publishAll": 403, "/token": 403, "/publish?key=news.a": 100, "/batch": 100} {
		for _, length := range []string{"Content-Length: 1000", "Transfer-Encoding: chunked"} {
			w := wiretest.Dial(t, r.admin)
			w.Send(wiretest.Request("POST", target, bearerOf("news"), "Content-Type: text/plain", "Expect: 100-continue", length))
			if w.ReadHead(); w.Status != status {
				t.Errorf("%s: %d, want %d", target, w.Status, status)
			}
			w.Close()
		}
	}
	if n := r.eng.Stats().Keys; n != 0 {
		t.Errorf("%d keys", n)
	}
}

// TestMintByPatterns: nobody makes a token for what they do not have themselves.
func TestMintByPatterns(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: publishersOf(t,
		auth.PublishToken{Name: "news", Rights: []auth.Right{auth.RightMint}, Keys: []string{"news.*"}},
		auth.PublishToken{Name: "root", Rights: []auth.Right{auth.RightMint}, Keys: []string{"**"}})})
	for body, status := range map[string]int{
		`{"keys":["news.a"]}`: 200, `{"keys":["news.*","news.a.*"]}`: 200, `{"keys":["news.?"]}`: 200,
		`{"keys":["secret"]}`: 403, `{"keys":["**"]}`: 403, `{"keys":["*"]}`: 403, `{"keys":["news.a","secret"]}`: 403, `{"keys":["news*"]}`: 403, `{"keys":["news.[^a]"]}`: 403,
		`{"keys":[]}`: 400,
	} {
		a := r.call("POST", "/token", body, bearerOf("news"))
		if a.status != status || (status == 403) != strings.Contains(a.body, auth.CodeKey) {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
		if a := r.call("POST", "/token", body, bearerOf("root")); status == 403 && a.status != 200 {
			t.Errorf("%s by root: %d %s", body, a.status, a.body)
		}
	}
}

// TestKeysOfAReader: a list of keys has those that its reader may read.
func TestKeysOfAReader(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: publishersOf(t,
		auth.PublishToken{Name: "news", Rights: []auth.Right{auth.RightRead}, Keys: []string{"news.*"}},
		auth.PublishToken{Name: "root", Rights: auth.AllRights, Keys: []string{"**"}})})
	for i := range 30 { // more than the list has
		r.subscribe(fmt.Sprintf("connectKey=secret.%d", i))
	}
	r.subscribe("connectKey=news.a")
	for who, want := range map[string]keysAnswer{"news": {Keys: 1}, "root": {Keys: 31}} {
		var got keysAnswer
		a := r.call("GET", "/keys", "", bearerOf(who))
		a.decode(t, &got)
		if got.Keys != want.Keys || len(got.Top) != int(min(want.Keys, 20)) || who == "news" && (got.Top[0].Key != "news.a" || strings.Contains(a.body, "secret")) {
			t.Errorf("%s: %s", who, a.body)
		}
	}
}

// TestPublishTokenBesidePublishers: both work, and a reload counts for the next request of an open connection.
func TestPublishTokenBesidePublishers(t *testing.T) {
	o := publishersOf(t, auth.PublishToken{Name: "a", Keys: []string{"**"}}, auth.PublishToken{Name: "b", Keys: []string{"**"}})
	o.PublishToken = "short"
	r := startRig(t, viaFast, rigOptions{Options: o})
	w := wiretest.Dial(t, r.admin) // one connection for all
	defer w.Close()
	status := func(token string) int {
		t.Helper()
		w.Send(wiretest.Request("POST", "/publish?key=k", "Authorization: Bearer "+token, "Content-Type: text/plain", "Content-Length: 0"))
		w.ReadHead()
		w.Rest()
		return w.Status
	}
	is := func(want map[string]int) {
		t.Helper()
		for token, want := range want {
			if got := status(token); got != want {
				t.Errorf("%s: %d, want %d", token, got, want)
			}
		}
	}
	is(map[string]int{"short": 200, tokenOf("a"): 200, tokenOf("b"): 200, tokenOf("c"): 401})
	next := publishersOf(t, auth.PublishToken{Name: "b", Keys: []string{"**"}})
	next.PublishToken = "short"
	if err := r.reconfigure(next); err != nil {
		t.Fatal(err)
	}
	is(map[string]int{"short": 200, tokenOf("a"): 401, tokenOf("b"): 200})
	next.PublishToken = ""
	if err := r.reconfigure(next); err != nil {
		t.Fatal(err)
	}
	is(map[string]int{"short": 401, tokenOf("b"): 200})
}

// TestNobodyCanDecide: whoever sends it again may be allowed, and a panic allows nothing.
func TestNobodyCanDecide(t *testing.T) {
	for name, identify := range map[string]func(context.Context, auth.PublishRequest) (auth.Publisher, error){
		"later": func(context.Context, auth.PublishRequest) (auth.Publisher, error) {
			return auth.Publisher{}, auth.ErrLater
		},
		"panic": func(context.Context, auth.PublishRequest) (auth.Publisher, error) { panic("x") },
		"other": func(context.Context, auth.PublishRequest) (auth.Publisher, error) {
			return auth.Publisher{Rights: auth.AllRights, Keys: []string{"**"}}, errors.New("no")
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRig(t, viaFast, rigOptions{Options: Options{IdentifyPublisher: identify}})
			a := r.call("POST", "/publish?key=k", "x", "Content-Type: text/plain")
			if f := a.failed(t); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") != "1" || f.Field != "Authorization" {
				t.Errorf("%d %v %s", a.status, a.header, a.body)
			}
		})
	}
	r := startRig(t, viaFast, rigOptions{Options: Options{IdentifyPublisher: func(context.Context, auth.PublishRequest) (auth.Publisher, error) {
		return auth.Publisher{Name: "zero"}, nil
	}}})
	if a := r.call("POST", "/publish?key=k", "x", "Content-Type: text/plain"); a.status != http.StatusForbidden {
		t.Errorf("a publisher without rights: %d %s", a.status, a.body)
	}
}

// TestMaxPublishRate: a request over the rate is refused as a whole, so that nothing of it is lost or published twice when it is
// sent again. Publishers do not wait for each other.
func TestMaxPublishRate(t *testing.T) {
	o := publishersOf(t,
		auth.PublishToken{Name: "slow", Rights: []auth.Right{auth.RightPublish, auth.RightPublishAll}, Keys: []string{"**"}, MaxRate: 1},
		auth.PublishToken{Name: "fast", Keys: []string{"**"}, MaxRate: 1_000_000},
		auth.PublishToken{Name: "other", Keys: []string{"**"}})
	o.MaxPublishRate = 2
	r := startRig(t, viaFast, rigOptions{Options: o})
	batch := strings.Repeat("{\"key\":\"k\",\"data\":\"x\"}\n", 3600)
	for _, who := range []string{"slow", "fast", "other"} { // a bucket that is full admits more than it holds
		if a := r.call("POST", "/batch", batch, bearerOf(who)); a.status != 200 || strings.Count(a.body, `"subscribers"`) != 3600 {
			t.Fatalf("%s: %d %.200s", who, a.status, a.body)
		}
	}
	if a := r.call("POST", "/batch", batch, bearerOf("fast")); a.status != 200 {
		t.Errorf("another publisher's rate counts: %d %s", a.status, a.body)
	}
	events := r.eng.Top(1)[0].Events
	for _, request := range []struct{ target, contentType, body string }{
		{"/publish?key=k", "text/plain", "x"}, {"/publish?key=k", "application/json", `"x"`}, {"/publish?key=k", "text/event-stream", "data: x\n\ndata: y\n\n"},
		{"/publish?key=k", "text/plain", strings.Repeat("x", 1<<20)}, {"/publishAll", "text/plain", "x"}, {"/batch", "", batch},
	} {
		a := r.call("POST", request.target, request.body, "Content-Type: "+request.contentType, bearerOf("slow"))
		f := a.failed(t)
		if a.status != http.StatusTooManyRequests || f.Field != "maxPublishRate" || !strings.Contains(f.Error, "1 events per second") {
			t.Errorf("%s %s: %d %s", request.target, request.contentType, a.status, a.body)
		}
		// 3600 events at one per second take an hour, less what the test has taken.
		if after := a.header.Get("Retry-After"); len(after) != 4 {
			t.Errorf("%s: Retry-After %q", request.target, after)
		}
	}
	if got := r.eng.Top(1)[0].Events; got != events {
		t.Errorf("refused requests have published %d events", got-events)
	}
	if a := r.call("POST", "/publish?key=k", "x", "Content-Type: text/plain", bearerOf("other")); a.status != http.StatusTooManyRequests || len(a.header.Get("Retry-After")) != 4 {
		t.Errorf("the rate of everybody: %d %v", a.status, a.header)
	}
	o.Pprof = false
	metrics := func() string {
		root := publishersOf(t, auth.PublishToken{Name: "root", Rights: auth.AllRights, Keys: []string{"**"}})
		if err := r.reconfigure(root); err != nil {
			t.Fatal(err)
		}
		return r.call("GET", "/metrics", "", bearerOf("root")).body
	}()
	if !strings.Contains(metrics, `fanfare_rejected_total{limit="maxPublishRate"} 7`) {
		t.Error("the refusals are not counted")
	}
}
