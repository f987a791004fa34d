package redis

import (
	"strings"
	"testing"
)

func TestRules(t *testing.T) {
	for _, test := range []struct{ rules, name, key string }{
		{"", "news", "news"},
		{"app:* -> *", "app:news", "news"},
		{"app:* -> *", "news", ""},
		{"app:* -> *", "app:", ""},
		{"app:*:out -> *", "app:a:b:out", "a:b"},
		{"app:*:out -> *", "app:out", ""},
		{"* -> redis/*", "news", "redis/news"},
		{"alarm.* -> alarms", "alarm.fire", "alarms"},
		{"a -> b", "a", "b"},
		{"a -> b", "ab", ""},
		{"vip:* -> *|* -> all/*", "vip:x", "x"},
		{"vip:* -> *|* -> all/*", "x", "all/x"},
		{" a  ->  b c ", "a", "b c"},
	} {
		var rules []string
		if test.rules != "" {
			rules = strings.Split(test.rules, "|")
		}
		n, err := NewNames([]string{"*"}, nil, rules)
		if err != nil {
			t.Fatal(err)
		}
		key, ok := n.key(test.name)
		if key != test.key || ok != (test.key != "") {
			t.Errorf("%s: the key of %s is %q, %v; want %q", test.rules, test.name, key, ok, test.key)
		}
		if ok && !n.origins(key, n.channels.covers) {
			t.Errorf("%s: nobody knows that %s comes from %s", test.rules, key, test.name)
		}
	}
}

func TestOrigins(t *testing.T) {
	n, err := NewNames([]string{"app:news", "app:t.*", "vip:*"}, []string{"app:orders"}, []string{"app:* -> *", "vip:x -> y", "vip:* -> vips", "* -> rest/*"})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string][2]bool{ // channel, stream
		"news":          {true, false},
		"t.1":           {true, false},
		"orders":        {false, true},
		"weather":       {false, false},
		"app:news":      {false, false},
		"vips":          {true, true}, // of many names, of which nobody knows
		"y":             {true, false},
		"rest/news":     {false, false}, // the channel news is not subscribed to
		"rest/app:news": {false, false}, // an earlier rule takes app:news
	} {
		if got := n.origins(key, n.channels.covers); got != want[0] {
			t.Errorf("channels: %s: %v", key, got)
		}
		if got := n.Streamed(key); got != want[1] {
			t.Errorf("streams: %s: %v", key, got)
		}
	}
}

func TestNewNamesRefuses(t *testing.T) {
	for _, test := range []struct{ channel, stream, rule, want string }{
		{"a[", "", "", `"a[": has a [ without a ]`},
		{"", `a\`, "", `"a\\": ends with a \`},
		{"\xff", "", "", "is not UTF-8"},
		{"", "", "a", `"a": must be "NAME -> KEY"`},
		{"", "", "a -> b -> c", "must be"},
		{"", "", "a*b*c -> d", "more than one *"},
		{"", "", " -> d", "one side of the -> is empty"},
		{"", "", "d -> ", "one side of the -> is empty"},
		{"", "", "d -> *", "the name has none"},
	} {
		list := func(s string) []string {
			if s == "" {
				return nil
			}
			return []string{s}
		}
		if _, err := NewNames(list(test.channel), list(test.stream), list(test.rule)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test, err)
		}
	}
	if CheckPattern("") == nil {
		t.Error("an empty name")
	}
}

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "", true}, {"*", "a/b", true}, {"a*", "b", false}, {"a*b*c", "aXbYc", true}, {"a*b*c", "aXbY", false},
		{"a*bc", "abcbc", true}, {"?", "", false}, {"?", "a", true}, {"h[ae]llo", "hello", true}, {"h[^e]llo", "hello", false},
		{"h[^e]llo", "hallo", true}, {"[a-c]", "b", true}, {"[c-a]", "b", true}, {"[a-c]", "d", false}, {`\*`, "*", true},
		{`\*`, "a", false}, {`[\]]`, "]", true}, {`[^-x]`, "-", false}, {"[]a", "a", false}, {"a**b", "ab", true}, {"ticker.*", "ticker.", true},
	} {
		if got := matches(test.pattern, test.name); got != test.want {
			t.Errorf("matches(%q, %q) = %v", test.pattern, test.name, got)
		}
	}
}

// FuzzMatches compares with Redis' own function, written again from its C.
func FuzzMatches(f *testing.F) {
	for _, p := range []string{"*", "a*b?c", `[a-c]\*`, "[^-x]*", "h[ae]llo", "**a**", `[\]a-]x]`, "[z-a]"} {
		f.Add(p, "hello a*b-]")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if CheckPattern(pattern) != nil || name == "" || len(pattern) > 40 || len(name) > 40 {
			return // Redis matches nothing to an empty name; no channel has one
		}
		if got, want := matches(pattern, name), redisMatches(pattern, name); got != want {
			t.Errorf("matches(%q, %q) = %v", pattern, name, got)
		}
	})
}

// redisMatches is stringmatchlen_impl of Redis 7's util.c for patterns that are well formed.
func redisMatches(p, s string) bool {
	for len(p) > 0 && len(s) > 0 {
		switch p[0] {
		case '*':
			for len(p) > 1 && p[1] == '*' {
				p = p[1:]
			}
			if len(p) == 1 {
				return true
			}
			for ; len(s) > 0; s = s[1:] {
				if redisMatches(p[1:], s) {
					return true
				}
			}
			return false
		case '?':
		case '[':
			p = p[1:]
			not := p[0] == '^'
			if not {
				p = p[1:]
			}
			match := false
			for ; p[0] != ']'; p = p[1:] {
				switch {
				case p[0] == '\\':
					p = p[1:]
					match = match || p[0] == s[0]
				case len(p) >= 3 && p[1] == '-':
					match = match || min(p[0], p[2]) <= s[0] && s[0] <= max(p[0], p[2])
					p = p[2:]
				default:
					match = match || p[0] == s[0]
				}
			}
			if match == not {
				return false
			}
		case '\\':
			p = p[1:]
			fallthrough
		default:
			if p[0] != s[0] {
				return false
			}
		}
		p, s = p[1:], s[1:]
		if s == "" {
			for p != "" && p[0] == '*' {
				p = p[1:]
			}
			break
		}
	}
	return p == "" && s == ""
}

// TestMatchesAsRedis asks the real one, by KEYS.
func TestMatchesAsRedis(t *testing.T) {
	r := startRedis(t)
	names := []string{"a", "ab", "abc", "-", "]", "^", "a]", "*", `\`, "news.1", "news/1", "é", "a-b", "[x]"}
	for _, n := range names {
		r.do("SET", n, "1")
	}
	for _, p := range []string{"*", "?", "??", "a*", "*b*", "[a-c]*", "[^a]", "[^-x]", `[\]]`, `\*`, `\\`, "[]a", "news.*", "é", "??b", "a[]-]", "[[]x]", `a\-b`, "[a-]]"} {
		if CheckPattern(p) != nil {
			t.Errorf("%s is refused", p)
			continue
		}
		keys, err := r.do("KEYS", p).AsStrSlice()
		if err != nil {
			t.Fatal(err)
		}
		theirs := map[string]bool{}
		for _, k := range keys {
			theirs[k] = true
		}
		for _, n := range names {
			if matches(p, n) != theirs[n] {
				t.Errorf("pattern %q, name %q: redis says %v", p, n, theirs[n])
			}
		}
	}
}
