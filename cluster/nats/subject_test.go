package nats

import (
	"strings"
	"testing"
)

func TestTokens(t *testing.T) {
	for key, want := range map[string]string{
		"news":       "news",
		"":           "=",
		"a.b":        "a=2Eb",
		"*":          "=2A",
		">":          "=3E",
		"=":          "=3D",
		"=all":       "=3Dall",
		"a b\r\n":    "a=20b=0D=0A",
		"\x00\xff":   "=00=FF",
		"ключ":       "=D0=BA=D0=BB=D1=8E=D1=87",
		"$SYS/a:b~c": "$SYS/a:b~c",
	} {
		token, hashed := appendToken(nil, key)
		if string(token) != want || hashed {
			t.Errorf("%q: token %q, want %q", key, token, want)
		}
		if got, ok := keyOf(want, ""); !ok || got != key {
			t.Errorf("%q: key %q (%v), want %q", want, got, ok, key)
		}
	}
	for _, token := range []string{broadcastToken, epochToken, "", "a=", "a=2", "=2e", "=41", "a.b", "a b", "=~", "=~x", "é", "=GG"} {
		if key, ok := keyOf(token, ""); ok {
			t.Errorf("the token %q is the key %q, want none", token, key)
		}
	}
}

func TestTokensOfEveryByte(t *testing.T) {
	seen := map[string]string{}
	for c := range 256 {
		for _, key := range []string{string([]byte{byte(c)}), string([]byte{'a', byte(c), 'b'}), string([]byte{byte(c), byte(c)})} {
			token, hashed := appendToken(nil, key)
			if hashed || strings.ContainsAny(string(token), ".*> \t\r\n\x00\x7f") || len(token) == 0 {
				t.Errorf("%q: token %q is not one of a subject", key, token)
			}
			if other, ok := seen[string(token)]; ok {
				t.Errorf("%q and %q have the same token %q", key, other, token)
			}
			seen[string(token)] = key
			if got, ok := keyOf(string(token), ""); !ok || got != key {
				t.Errorf("%q: token %q is key %q (%v)", key, token, got, ok)
			}
		}
	}
}

func TestLongTokens(t *testing.T) {
	for _, c := range []struct {
		key    string
		hashed bool
	}{
		{strings.Repeat("k", maxTokenLen), false},
		{strings.Repeat("k", maxTokenLen+1), true},
		{strings.Repeat(".", maxTokenLen/3), false},
		{strings.Repeat(".", maxTokenLen/3+1), true},
		{strings.Repeat("\x00", 60_000), true},
	} {
		token, hashed := appendToken(nil, c.key)
		if hashed != c.hashed || len(token) > maxTokenLen {
			t.Fatalf("key of %d bytes: token of %d bytes, hashed %v, want %v", len(c.key), len(token), hashed, c.hashed)
		}
		header := ""
		if hashed {
			header = string(escape(nil, c.key))
			if _, ok := keyOf(string(token), header+"x"); ok {
				t.Error("another key was accepted for a hash")
			}
			if _, ok := keyOf(string(token), ""); ok {
				t.Error("a hash was accepted without a key")
			}
		}
		if got, ok := keyOf(string(token), header); !ok || got != c.key {
			t.Errorf("key of %d bytes: another one came back (%v)", len(c.key), ok)
		}
	}
	// A key that is short enough for its token must not come as a hash: it would have two subjects.
	sum, _ := appendToken(nil, strings.Repeat("k", maxTokenLen+1))
	if key, ok := keyOf(string(sum), "news"); ok {
		t.Errorf("the hash of another key is %q", key)
	}
}

func FuzzTokens(f *testing.F) {
	for _, key := range []string{"", "news", "a.b", "=all", "=~x", "\xff\x00", strings.Repeat("é", 600)} {
		f.Add(key, key)
	}
	f.Fuzz(func(t *testing.T, key, token string) {
		made, hashed := appendToken(nil, key)
		header := ""
		if hashed {
			header = string(escape(nil, key))
		}
		if got, ok := keyOf(string(made), header); !ok || got != key {
			t.Fatalf("%q: token %q is key %q (%v)", key, made, got, ok)
		}
		// What is accepted as a token is what the key's token is.
		if key, ok := keyOf(token, header); ok {
			if again, _ := appendToken(nil, key); string(again) != token {
				t.Fatalf("the token %q is key %q, whose token is %q", token, key, again)
			}
		}
	})
}
