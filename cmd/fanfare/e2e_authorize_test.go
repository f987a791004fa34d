package main_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
	"fanfare/internal/test/wiretest"
)

// token asks the server for a token.
func token(t *testing.T, s server, body string) (status int, text string) {
	t.Helper()
	resp, err := http.Post(s.Admin+"/token", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Token, Error string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer.Token + answer.Error
}

func openStatus(t *testing.T, s server, query string, header ...string) int {
	t.Helper()
	w := wiretest.Dial(t, strings.TrimPrefix(s.Stream, "http://"))
	defer w.Close()
	w.Send(wiretest.Request("GET", "/stream?"+query, header...))
	w.ReadHead()
	return w.Status
}

// TestTokens: an application gets a token by POST /token, a browser subscribes with it to what it grants and to nothing else, and
// POST /disconnect ends its streams.
func TestTokens(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	s := startWith(proctest.Server{T: t, Args: []string{"--anonymous-keys", "public.*"}, Env: []string{"FANFARE_TOKEN_SECRET=" + secret}})
	status, text := token(t, s, `{"keys":["news","user.42.*"],"subject":"u42","ttl":"1h"}`)
	if status != 200 || strings.Count(text, ".") != 2 {
		t.Fatalf("%d %s", status, text)
	}
	for query, want := range map[string]int{
		"connectKey=news": 401, "connectKey=public.a": 200, "connectKey=public.a&connectKey=news": 401,
		"connectKey=news&token=" + text: 200, "connectKey=user.42.x&token=" + text: 200, "connectKey=user.43.x&token=" + text: 403,
		"connectKey=news&token=" + text + "x": 401,
	} {
		if got := openStatus(t, s, query); got != want {
			t.Errorf("%s: %d, want %d", strings.ReplaceAll(query, text, "TOKEN"), got, want)
		}
	}
	if got := openStatus(t, s, "connectKey=news", "Cookie: fanfare="+text); got != 200 {
		t.Errorf("by a cookie: %d", got)
	}
	l := listen(t, "curl", "-sSN", "-H", "Authorization: Bearer "+text, s.URL("user.42.page")) // a key of its own: the streams above may not have left theirs
	s.AwaitCount("user.42.page", 1)
	if status, body := s.Get("/presence?key=user.42.page"); status != 200 || body != `{"subscribers":1,"subjects":[{"subject":"u42","streams":1}]}`+"\n" {
		t.Errorf("%d %s", status, body)
	}
	resp, err := http.Post(s.Admin+"/disconnect?subject=u42", "", nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v %v", resp, err)
	}
	resp.Body.Close()
	l.end()
	for body, field := range map[string]string{
		`{"keys":[]}`: "keys is empty", `{"keys":["a"],"ttl":"1"}`: "ttl", `{"keys":["a"],"sub":"x"}`: `"sub" is unknown`, `{"keys":"a"}`: "keys has the wrong type",
		`[`: "not a JSON object", `{"keys":["["]}`: "pattern",
		`{"keys":["a"],"keys":["**"]}`: `"keys" is given twice`, `{"keys":["a"],"key\u0073":["**"]}`: `"keys" is given twice`, `{"keys":["a"]}{}`: "not a JSON object",
		"{\"keys\":[\"a\"],\"subject\":\"\xff\"}": "not a JSON object",
		`{"keys":["a"],"ttl":"48h"}`:              "out of range",
	} {
		if status, text := token(t, s, body); status != 400 || !strings.Contains(text, field) {
			t.Errorf("%s: %d %s", body, status, text)
		}
	}
	if log := s.Log.String(); strings.Contains(log, text) || strings.Contains(log, secret) {
		t.Error("the log has a credential")
	}
}

// TestAuthCallback: the application is asked once per stream; what it says counts; while it is away clients are told to come
// back; and a reload changes who decides.
func TestAuthCallback(t *testing.T) {
	var asked atomic.Int32
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch r.Header.Get("Cookie") {
		case "session=alice":
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"subject":"alice"}`))
		case "session=broken":
			w.WriteHeader(http.StatusBadGateway)
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer app.Close()
	file := filepath.Join(t.TempDir(), "fanfare.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("authCallback: " + app.URL + "\n")
	s := startWith(proctest.Server{T: t, Args: []string{"--config", file}})
	for cookie, want := range map[string]int{"session=alice": 200, "session=bob": 403, "session=broken": 200} {
		if got := openStatus(t, s, "connectKey=k", "Cookie: "+cookie); got != want {
			t.Errorf("%s: %d, want %d", cookie, got, want)
		}
	}
	if asked.Load() != 3 {
		t.Errorf("asked %d times", asked.Load())
	}
	write("anonymousKeys: [k]\n")
	eventually.True(t, "the reload", func() bool { return openStatus(t, s, "connectKey=k") == 200 })
	if got := openStatus(t, s, "connectKey=other", "Cookie: session=alice"); got != 401 {
		t.Errorf("after the reload: %d", got)
	}
	write("jwtKeys: [/nowhere]\n")
	eventually.True(t, "the refused reload", func() bool { return strings.Contains(s.Log.String(), "not reloaded") })
	if got := openStatus(t, s, "connectKey=other"); got != 401 {
		t.Errorf("after the refused reload: %d", got)
	}
	write("anonymousKeys: ['**']\n")
	eventually.True(t, "everybody may subscribe", func() bool { return openStatus(t, s, "connectKey=other") == 200 })
}

// TestReloadDoesNotRemoveProtection: a file that is being written is empty or short for a moment, and valid. It must neither let
// everybody subscribe nor let everybody publish.
func TestReloadDoesNotRemoveProtection(t *testing.T) {
	const secret, token = "tokenSecret: 0123456789abcdef0123456789abcdef\n", "publishToken: t0ken-of-16-bytes\n"
	for name, texts := range map[string][2]string{
		"authorization": {secret, ""}, "jwtCookie alone": {secret, "jwtCookie: session\n"},
		"publishToken": {token, ""}, "both": {secret + token, "# to be written\n"}, "the second half": {token + secret, token},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "fanfare.yaml")
			write := func(text string) {
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(texts[0])
			s := startWith(proctest.Server{T: t, Args: []string{"--config", file}})
			publishes := func() int {
				status, _ := s.Call(http.MethodPost, "/publish?key=k", "application/json", `"x"`)
				return status
			}
			subscribed, published := openStatus(t, s, "connectKey=k"), publishes()
			write(texts[1])
			s.Signal(syscall.SIGHUP)
			eventually.True(t, "the refused reload", func() bool { return strings.Contains(s.Log.String(), "configuration not reloaded") })
			if now := openStatus(t, s, "connectKey=k"); now != subscribed {
				t.Errorf("subscribing: %d, and %d before", now, subscribed)
			}
			if now := publishes(); now != published {
				t.Errorf("publishing: %d, and %d before", now, published)
			}
			if subscribed == 200 && published == 200 {
				t.Error("nothing was protected")
			}
		})
	}
}
