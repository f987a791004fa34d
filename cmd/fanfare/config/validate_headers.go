package config

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// fixedHeaders may not be set, each for its reason.
var fixedHeaders = map[string]string{
	"transfer-encoding": "the stream has no transfer coding and ends with its connection (RFC 9112 6.3); clients refuse a value such as \"off\"",
	"content-length":    "a stream has no length (RFC 9112 6.2)",
	"content-type":      "an EventSource takes text/event-stream alone (WHATWG HTML 9.2)",
}

// headers checks names by RFC 9110 5.6.2 (token) and values by RFC 9110 5.5 (no CR, LF, NUL or other control); fixed
// are the names that may not be set.
func (v *validator) headers(path string, headers, fixed map[string]string) {
	seen := make(map[string]string, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		at, value, lower := path+"."+name, headers[name], strings.ToLower(name)
		if why, fixed := fixed[lower]; fixed {
			v.fail(at, "may not be set: %s", why)
			continue
		}
		if other, twice := seen[lower]; twice {
			v.fail(at, "is given twice: header names don't differ by case (%s)", other)
		}
		seen[lower] = name
		switch bad, isToken := notToken(name); {
		case name == "":
			v.fail(path, "a header needs a name")
		case !isToken:
			v.fail(at, "%q is not allowed in a header's name (RFC 9110 5.6.2: letters, digits and !#$%%&'*+-.^_`|~)", bad)
		}
		for _, r := range value {
			if (r < ' ' && r != '\t') || r == 0x7f {
				v.fail(at, "the value has the control character %q, which would end or break the header (RFC 9110 5.5)", r)
				break
			}
		}
		if !utf8.ValidString(value) {
			v.fail(at, "the value is not UTF-8")
		}
		if strings.Trim(value, " \t") != value {
			v.fail(at, "the value must not begin or end with a space or tab (RFC 9110 5.5)")
		}
	}
}

func notToken(name string) (bad rune, ok bool) {
	for _, r := range name {
		if !isTokenChar(r) {
			return r, false
		}
	}
	return 0, true
}

func isTokenChar(r rune) bool { return isAlphanumeric(r) || strings.ContainsRune("!#$%&'*+-.^_`|~", r) }

func isAlphanumeric(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}
