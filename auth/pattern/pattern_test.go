package pattern_test

import (
	"fmt"
	"path"
	"strings"
	"testing"

	"fanfare/auth/pattern"
)

func Example() {
	fmt.Println(pattern.Match("user.42.*", "user.42.mail"))
	fmt.Println(pattern.Match("*", "rooms/1"), pattern.Match("**", "rooms/1"))
	fmt.Println(pattern.Covers("user.*", "user.42.*"), pattern.Covers("user.42.*", "user.*"))
	// Output:
	// true
	// false true
	// true false
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, key string
		want         bool
	}{
		{"news", "news", true},
		{"news", "News", false},
		{"news", "news ", false},
		{"*", "", true},
		{"*", "a/b", false},
		{"news.*", "news.a/b", false},
		{"news.*", "news./../secret", false},
		{"news/*", "news/../secret", false},
		{"news/*", "news/..", true}, // a key is not a path: ".." is a name like any other
		{"news/*", "secret", false},
		{"?", "/", false},
		{"a[^b]c", "a/c", true}, // what path.Match does, and what the package comment warns of
		{"a[^b/]c", "a/c", false},
		{"**", "", true},
		{"**", "a/b/c", true},
		{"a/**", "a/b", false},
		{"[", "[", false},
		{"", "", false},
		{"*", "a\xff", false},
		{"**", "a\xff", false},
		{"?", "\xff", false},
		{"?", "ä", true},
		{`a\*`, "a*", true},
		{`a\*`, "ab", false},
		{"news*", "news\x00secret", true},
	} {
		if got := pattern.Match(c.pattern, c.key); got != c.want {
			t.Errorf("Match(%q, %q) = %v, want %v", c.pattern, c.key, got, c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, p := range []string{"", "[", "a[]", `a\`, "a**", "***", "[a]**", "a\xff", strings.Repeat("a", pattern.MaxBytes+1)} {
		if pattern.Check(p) == nil {
			t.Errorf("Check(%.20q) accepts it", p)
		}
	}
	for _, p := range []string{"**", "*", `a\**`, `\**`, "[**]*", "a*b*", "[a-z]", strings.Repeat("a", pattern.MaxBytes)} {
		if err := pattern.Check(p); err != nil {
			t.Errorf("Check(%.20q): %v", p, err)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		outer, inner string
		want         bool
	}{
		{"news.*", "news.a", true},
		{"news.*", "news.*", true},
		{"news.*", "news.a*b?", true},
		{"news.*", "news.[a-z]", true},
		{"news.*", "news.[^a]", false}, // matches news./
		{"news.*", "news.[^a/]", true},
		{"news.*", "news.a/b", false},
		{"news.*", "news*", false},
		{"news.*", "*", false},
		{"news.*", "**", false},
		{"news.*", "secret", false},
		{"news.*", `news.\*`, true},
		{`news.\*`, "news.*", false},
		{"*", "**", false},
		{"*", "*", true},
		{"*", "a*b", true},
		{"*", "a/b", false},
		{"*/*", "a/*", true},
		{"*/*", "a/*/b", false},
		{"**", "**", true},
		{"**", "a/*", true},
		{"a?c", "a?c", true},
		{"a?c", "abc", true},
		{"a?c", "a*c", false},
		{"*a*", "?a", true},
		{"*a*", "**", false},
		{"*a*b", "xaxb", true},
		{"[ab]*", "a*", true},
		{"[ab]*", "c*", false},
		{"[ab]*", "[ab]x*", true},
		{"[ab]*", "[ba]*", false}, // the same keys, but not seen
		{"[^q]*", "[^q]*", true},
		{"[^q]*", "a*", false}, // likewise
		{"[^q]*", "a", true},
		{"a", "[", false},
		{"[", "[", false},
		{"ä?", "äö", true},
	} {
		if got := pattern.Covers(c.outer, c.inner); got != c.want {
			t.Errorf("Covers(%q, %q) = %v, want %v", c.outer, c.inner, got, c.want)
		}
	}
}

func TestQuote(t *testing.T) {
	for _, key := range []string{"news", "a*", "[x]", `a\b`, "?", "**", "ä*"} {
		q := pattern.Quote(key)
		if !pattern.Match(q, key) || pattern.Match(q, key+"x") || pattern.Match(q, "a") {
			t.Errorf("Quote(%q) = %q does not match exactly the key", key, q)
		}
	}
}

// FuzzCovers checks that what is passed on never exceeds what was granted.
func FuzzCovers(f *testing.F) {
	for _, s := range [][3]string{
		{"news.*", "news.a*", "news.ab"}, {"*a*b", "?a*b", "xayb"}, {"[^q]*", "a*", "a/"}, {"*[^q]*", "a?b", "a/b"},
		{"**", "a/*", "a/b"}, {`\**`, `\*a`, "*a"}, {"a?*", "a*?", "aä"}, {"*", "[^a]", "/"}, {"*/*", "*/*", "a/b"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, outer, inner, key string) {
		if pattern.Covers(outer, inner) && pattern.Match(inner, key) && !pattern.Match(outer, key) {
			t.Errorf("%q covers %q, which matches %q, but does not match it", outer, inner, key)
		}
		if ok, err := path.Match(outer, key); pattern.Match(outer, key) && outer != pattern.All && (!ok || err != nil) {
			t.Errorf("%q matches %q, but not for path.Match", outer, key)
		}
		if q := pattern.Quote(key); key != "" && pattern.Check(q) == nil && !pattern.Match(q, key) {
			t.Errorf("Quote(%q) = %q does not match it", key, q)
		}
	})
}
