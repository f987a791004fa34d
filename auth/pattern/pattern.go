// Package pattern matches keys against patterns. Rules of keys, tokens and the other grants of package auth all use it, so
// that a pattern means the same in each of them.
//
// A pattern is one of [path.Match], for the whole key:
//
//	news         the key news alone
//	user.42.*    * is any number of characters except a slash
//	room?        ? is one character except a slash
//	log[0-9]     one character of a class; [^0-9] is one outside of it
//	a\*          a backslash takes the next character literally
//	**           every key: the only pattern that crosses slashes
//
// # Caveats
//
// A class with ^ matches a slash unless it names it, as path.Match does: a[^b]c matches the key a/c with one character in
// between, so also "a/c". Write [^b/] to exclude it.
//
// Patterns are compared byte by byte: neither keys nor patterns are cleaned, folded or normalized. "a/../b" is not "b".
package pattern

import (
	"errors"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// All is the pattern that matches every key.
const All = "**"

// MaxBytes bounds a pattern. It bounds the time of Match and Covers, too.
const MaxBytes = 4096

// Check returns what is wrong with a pattern. The text continues one that begins with the pattern.
func Check(pattern string) error {
	switch {
	case pattern == "":
		return errors.New("is empty: \"*\" matches all keys without a slash, \"**\" all keys")
	case pattern == All:
		return nil
	case len(pattern) > MaxBytes:
		return errors.New("is too long for a pattern")
	case !utf8.ValidString(pattern):
		return errors.New("is not valid UTF-8")
	case hasDoubleStar(pattern):
		return errors.New("is a bad pattern: ** stands only alone, for all keys; write * for any characters except a slash")
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return errors.New("is a bad pattern: it has a [ without a ], an empty [], or a backslash at the end (syntax: * ? [a-z] and \\ before a literal)")
	}
	return nil
}

// hasDoubleStar reports whether a pattern has two stars in a row, which path.Match takes for one, and others for a star that
// crosses slashes.
func hasDoubleStar(pattern string) bool {
	star, class := false, false
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		if c == '*' && star {
			return true
		}
		star = c == '*' && !class
		switch c {
		case '\\':
			i++
		case '[':
			class = true
		case ']':
			class = false
		}
	}
	return false
}

// Match reports whether the key matches the pattern. A pattern that Check refuses matches nothing, and a key that is not
// valid UTF-8 matches nothing.
func Match(pattern, key string) bool {
	if !utf8.ValidString(key) {
		return false
	}
	if pattern == All {
		return true
	}
	if Check(pattern) != nil {
		return false
	}
	ok, err := path.Match(pattern, key)
	return ok && err == nil
}

// Quote returns the pattern that matches the key alone.
func Quote(key string) string {
	if !strings.ContainsAny(key, `*?[\`) {
		return key
	}
	var b strings.Builder
	for _, c := range []byte(key) {
		if strings.IndexByte(`*?[\`, c) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}

// List is a list of patterns.
type List []string

// Match reports whether the key matches one of the patterns.
func (l List) Match(key string) bool {
	return slices.ContainsFunc(l, func(p string) bool { return Match(p, key) })
}

// Covers reports whether one of the patterns covers p, see the function Covers.
func (l List) Covers(p string) bool {
	return slices.ContainsFunc(l, func(outer string) bool { return Covers(outer, p) })
}
