package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	b := Backoff{First: time.Second, Max: 10 * time.Second}
	check := func(wants ...time.Duration) {
		t.Helper()
		for _, want := range wants {
			if got := b.Next(); got < want || got > want+want/4 {
				t.Errorf("%s, want %s and up to a quarter more", got, want)
			}
		}
	}
	check(time.Second, 2*time.Second, 4*time.Second, 8*time.Second, 10*time.Second, 10*time.Second)
	b.Reset()
	check(time.Second, 2*time.Second)
	b = Backoff{First: time.Hour}
	check(time.Hour, time.Hour)
	b = Backoff{}
	check(100*time.Millisecond, 200*time.Millisecond)
}

func TestExplain(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if _, err := http.Get("http://127.0.0.1:1/"); err == nil || Explain(err) != "connection refused: no server is listening there" {
		t.Error(err)
	}
	for want, err := range map[string]error{
		`the host "nowhere" is unknown: check its spelling`: &net.DNSError{Name: "nowhere", Err: "no such host", IsNotFound: true},
		`the host "later" cannot be looked up: timeout`:     &net.DNSError{Name: "later", Err: "timeout"},
	} {
		if got := Explain(&url.Error{Op: "Get", URL: "http://x", Err: err}); got != want {
			t.Error(got)
		}
	}
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:1/", nil)
	if _, err := http.DefaultClient.Do(req); err == nil || Explain(err) != "no answer in time" {
		t.Error(err)
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	if _, err := http.Get("https://" + plain.Listener.Addr().String()); err == nil || Explain(err) != "the server speaks http, not https: write http://" {
		t.Error(err)
	}
	if got := Explain(errors.New("x")); got != "x" {
		t.Error(got)
	}
}

func TestIsTerminal(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for _, stream := range []any{null, r, w, new(bytes.Buffer), strings.NewReader("")} {
		if IsTerminal(stream) {
			t.Errorf("%T %v is a terminal", stream, stream)
		}
	}
}

func TestParseURL(t *testing.T) {
	const example = "http://127.0.0.1:8080/stream"
	for text, want := range map[string]string{ // "": it is a URL; else what the error says behind the text
		"http://a:1": "", "https://a/b?c=d": "", "http://[::1]:8080/stream": "",
		"127.0.0.1:9000":      "is not a valid URL: write http://127.0.0.1:9000/stream",
		"localhost:9000":      "is not a valid URL: write http://localhost:9000/stream",
		"localhost":           "is not a valid URL: write http://localhost:8080/stream",
		"events.example.com":  "is not a valid URL: write http://events.example.com:8080/stream",
		"[::1]:9000":          "is not a valid URL: write http://[::1]:9000/stream",
		"::1":                 "is not a valid URL: write http://[::1]:8080/stream",
		"[::1]":               "is not a valid URL: write http://[::1]:8080/stream",
		":9000":               "is not a valid URL: write http://127.0.0.1:9000/stream",
		"//a:9000":            "is not a valid URL: write http://a:9000/stream",
		"localhost:9000/sse":  "is not a valid URL: write http://localhost:9000/sse",
		"":                    "is not a valid URL: write one such as " + example,
		"a:b":                 "is not a valid URL: write one such as " + example,
		"a:99999":             "is not a valid URL: write one such as " + example,
		"ftp://a":             "is not a valid URL: write one such as " + example,
		"http://":             "is not a valid URL: write one such as " + example,
		"http://a\x7f":        "is not a valid URL: write one such as " + example,
		"two words":           "is not a valid URL: write one such as " + example,
		"/stream":             "is not a valid URL: write one such as " + example,
		"http://:9000/stream": "has no host: write http://127.0.0.1:9000/stream",
		"http://a:99999":      "has no valid port: write 1 to 65535, as in http://127.0.0.1:8080/stream, or none for the default of http",
		"https://a:/x":        "has no valid port: write 1 to 65535, as in http://127.0.0.1:8080/stream, or none for the default of https",
		"http://a/#b":         "must not have a fragment: remove the # and what follows it",
	} {
		_, err := ParseURL("--url", text, example)
		if want != "" {
			want = fmt.Sprintf("--url %q %s", strings.Replace(text, "#b", "…", 1), want)
		}
		if (want == "") != (err == nil) || err != nil && err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestURLsWithoutSecrets: a URL may hold a password, or a token in its query, and no message repeats them.
func TestURLsWithoutSecrets(t *testing.T) {
	for _, text := range []string{
		"http://user:s3cret@a:99999", "http://user:s3cret@:9000", "user:s3cret@a:9000", "ftp://user:s3cret@a", "http://user:s3@cret@a b", "http://a/x#s3cret",
		"http://a b/?token=s3cret", "a:9000/x?token=s3cret", "http://a:x/?token=s3cret", "http://s3cret@:1", "a?s3cret",
	} {
		if _, err := ParseURL("--url", text, "http://127.0.0.1:8080/stream"); err == nil || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "cret@") {
			t.Errorf("%s: %v", text, err)
		}
	}
	u, err := url.Parse("http://user:s3cret@a/stream?connectKey=news&token=s3cret&s3cret&lastEventId=1-2#s3cret")
	if err != nil {
		t.Fatal(err)
	}
	if got := Show(u); got != "http://…@a/stream?connectKey=news&token=…&…&lastEventId=1-2" {
		t.Error(got)
	}
}
