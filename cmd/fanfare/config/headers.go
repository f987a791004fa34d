package config

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// fixedHeaders are the headers of a stream that may not be set, each with its reason.
var fixedHeaders = map[string]string{
	"transfer-encoding": "the stream has no transfer coding and ends with its connection (RFC 9112 6.3); clients refuse a value such as \"off\"",
	"content-length":    "a stream has no length (RFC 9112 6.2)",
	"date":              "every response has its own (RFC 9110 6.6.1)",
	"content-type":      "an EventSource accepts only text/event-stream (WHATWG HTML 9.2)",
	"content-encoding":  "events are sent as they are, so clients would fail to decode the stream (RFC 9110 8.4)",
	"content-range":     "the answer is never a part of something (RFC 9110 14.4)",
	"trailer":           "a stream has no trailer fields (RFC 9110 6.6.2)",
	"upgrade":           connectionHeader,
	"te":                connectionHeader,
	"keep-alive":        connectionHeader,
	"proxy-connection":  connectionHeader,
}

// connectionHeader is the reason why fields that describe a connection may not be set.
const connectionHeader = "it is about the connection, which belongs to the server (RFC 9110 7.6.1)"

// checkConnection checks the Connection header of a stream, of which only some values make sense.
func checkConnection(c *Config, at place) {
	for name, value := range c.Headers {
		if strings.EqualFold(name, "Connection") && value != "" && !strings.EqualFold(value, "close") && !strings.EqualFold(value, "keep-alive") {
			at.part(name).fail("%s is not a value that a stream can have: write close or keep-alive, or nothing to remove the header", quoteShort(value))
		}
	}
}

// checkHeaders checks names by RFC 9110 5.6.2 (token) and values by RFC 9110 5.5 (no CR, LF, NUL or other control
// characters). fixed are the names that may not be set, in lower case, each with its reason.
func checkHeaders(headers, fixed map[string]string, at place) {
	seen := make(map[string]string, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		field, value, lower := at.part(name), headers[name], strings.ToLower(name)
		if why, ok := fixed[lower]; ok {
			field.fail("must not be set: %s", why)
			continue
		}
		if other, twice := seen[lower]; twice {
			field.fail("is given twice: upper and lower case make no difference in header names (%s)", other)
		}
		seen[lower] = name
		if name == "" {
			at.fail("a header has an empty name")
		} else if i := strings.IndexFunc(name, notTokenChar); i >= 0 {
			bad, _ := utf8.DecodeRuneInString(name[i:])
			field.fail("%q is not allowed in a header's name (RFC 9110 5.6.2: letters, digits and !#$%%&'*+-.^_`|~)", bad)
		}
		if i := strings.IndexFunc(value, isControlChar); i >= 0 {
			field.fail("the value has the control character %q, which would end or break the header (RFC 9110 5.5)", value[i])
		}
		if !utf8.ValidString(value) {
			field.fail("the value is not UTF-8")
		}
		if strings.Trim(value, " \t") != value {
			field.fail("the value must not begin or end with a space or tab (RFC 9110 5.5)")
		}
	}
}

func notTokenChar(r rune) bool {
	return !isAlphanumeric(r) && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

func isControlChar(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

func isAlphanumeric(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}
