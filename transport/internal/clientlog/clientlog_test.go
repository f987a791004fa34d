package clientlog

import (
	"strings"
	"testing"
)

// TestKeys: a log line is bounded, however many keys a stream has.
func TestKeys(t *testing.T) {
	many := make([]string, 1000)
	for i := range many {
		many[i] = strings.Repeat("你", 300)
	}
	for _, test := range []struct {
		keys []string
		want string
	}{
		{[]string{"a"}, "a"}, {[]string{"a", "b"}, "a,b"}, {many[:1], strings.Repeat("你", 21) + "…"},
	} {
		if got := Keys(test.keys); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
	if got := Keys(many); len(got) > maxKeys+100 || !strings.HasSuffix(got, "… 996 more") {
		t.Errorf("%d bytes, %q", len(got), got)
	}
}

// TestMasks: what may be a credential is masked, and the words that help are kept.
func TestMasks(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "key": "key", "/stream": "/stream", "/stream/x": "/stream/x", "connectKey": "connectKey", "s3cret": "…", "/healthz/../publish": "/healthz/../publish",
		"/token/abcdefghijklmnop": "/token/…", "/a%2fb": "/…", "a b": "…", "/a?token=x": "/…", "/": "/", "//x": "//x", "/a/b/c/d/e/f/g/h/i/j": "/a/b/c/d/e/f/g/…", "é": "…", "\x1b[31m": "…",
	} {
		if got := Word(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"plain": "plain", `nothing at "/x1"`: `nothing at "/…"`, `nothing at "/x": go`: `nothing at "/x": go`, `a "b\"1" c "d" e`: `a "…" c "d" e`, `send "Authorization: Bearer TOKEN", "x1"`: `send "Authorization: Bearer TOKEN", "…"`, `cut "abc`: `cut "…`, `cut "abc\`: `cut "…`,
	} {
		if got := MaskQuoted(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
