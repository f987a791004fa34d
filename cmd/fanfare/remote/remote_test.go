package remote

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
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
	if _, err := http.Get("http://127.0.0.1:1/"); err == nil || Explain(err) != "connection refused: nothing listens there" {
		t.Error(err)
	}
	for want, err := range map[string]error{
		`the host "nowhere" is unknown`:                &net.DNSError{Name: "nowhere", Err: "no such host", IsNotFound: true},
		`the host "later" can't be looked up: timeout`: &net.DNSError{Name: "later", Err: "timeout"},
	} {
		if got := Explain(&url.Error{Op: "Get", URL: "http://x", Err: err}); got != want {
			t.Error(got)
		}
	}
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:1/", nil)
	if _, err := http.DefaultClient.Do(req); err == nil || Explain(err) != "no answer in time" {
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
	for text, want := range map[string]string{
		"http://a:1": "", "https://a/b?c=d": "", "a:1": "no URL", "": "no URL", "ftp://a": "no URL", "http://": "no URL", "http://a/#b": "fragment", "http://a\x7f": "no URL",
	} {
		_, err := ParseURL("--server", text)
		if (want == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--server")) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
