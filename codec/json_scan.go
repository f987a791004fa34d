package codec

import (
	"bytes"

	"github.com/goccy/go-json/jsontext"
)

// unquote returns the text of a valid JSON string. The text is a part of raw if the string has no escapes.
func unquote(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	// The only possible error is an escaped lone surrogate, which becomes U+FFFD.
	text, _ := jsontext.AppendUnquote(make([]byte, 0, len(raw)), raw)
	return text
}

// skipJSONSpace returns the offset of the first byte at or after i that is not white space (RFC 8259, section 2).
func skipJSONSpace(b []byte, i int) int {
	for i < len(b) && isJSONSpace(b[i]) {
		i++
	}
	return i
}

func isJSONSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// stringEnd returns the offset after the valid JSON string that begins at i.
func stringEnd(b []byte, i int) int {
	for i++; ; i++ {
		i = indexFrom(b, i, '"')
		escapes := 0
		for b[i-1-escapes] == '\\' { // the loop ends at the opening quote at the latest
			escapes++
		}
		if escapes%2 == 0 {
			return i + 1
		}
	}
}

// valueEnd returns the offset after the valid JSON value that begins at i, and whether there is white space between its
// tokens.
func valueEnd(b []byte, i int) (end int, spaced bool) {
	for depth := 0; ; {
		switch c := b[i]; {
		case c == '"':
			i = stringEnd(b, i)
		case c == '{' || c == '[':
			depth++
			i++
		case c == '}' || c == ']':
			depth--
			i++
		case isJSONSpace(c):
			spaced = true
			i++
		default: // a number, a literal, a comma or a colon
			for i++; !endsToken(b[i]); i++ {
			}
		}
		if depth == 0 {
			return i, spaced
		}
	}
}

// endsToken reports whether c ends a run of bytes that valueEnd can skip: it opens, closes or separates something. A
// member is always followed by such a byte, because the object's closing brace comes last.
func endsToken(c byte) bool {
	switch c {
	case '"', '{', '}', '[', ']', ',', ' ', '\n', '\r', '\t':
		return true
	}
	return false
}
