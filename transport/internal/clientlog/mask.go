package clientlog

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
)

// maxWord is the length of the longest word of a client's that is logged. It is
// less than that of a token (at least 16 bytes, see docs/operations.md).
const maxWord = 15

const masked = "…"

// Word is a text that a client sent, for the log: a parameter's name, a path. Each
// part of it between slashes is kept if it is a short word of letters, and masked
// otherwise. A credential may stand anywhere in a request, and looks otherwise: it
// is long, or has digits.
func Word(s string) string {
	if s == "" {
		return s
	}
	parts := strings.Split(s, "/")
	for i, p := range parts {
		if len(p) > maxWord || strings.ContainsFunc(p, notInWord) {
			parts[i] = masked
		}
	}
	const most = 8
	if len(parts) > most {
		parts = append(parts[:most], masked)
	}
	return strings.Join(parts, "/")
}

func notInWord(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-' || r == '_' || r == '.')
}

// placeholder is what messages of ours quote, and say that a client should send.
const placeholder = "Authorization: Bearer TOKEN"

// MaskQuoted masks the quoted parts (%q) of a text as Word does. What a client
// sent is always quoted in an error.
func MaskQuoted(text string) string {
	var b strings.Builder
	for {
		at := strings.IndexByte(text, '"')
		if at < 0 {
			return b.String() + text
		}
		b.WriteString(text[:at])
		quoted, err := strconv.QuotedPrefix(text[at:])
		if err != nil { // cut in the middle
			return b.String() + `"` + masked
		}
		shown := quoted
		if inside, _ := strconv.Unquote(quoted); inside != placeholder {
			shown = `"` + Word(inside) + `"`
		}
		b.WriteString(shown)
		text = text[at+len(quoted):]
	}
}

// Method is a request's method for the log.
func Method(m string) string {
	switch m {
	case "", http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodConnect, http.MethodTrace:
		return m
	}
	return masked
}

// ConnError is the text of an error of a connection for the log. fasthttp's own
// errors repeat the head of the request, credentials included, so only errors of
// the socket are logged by their text.
func ConnError(err error) string {
	var network *net.OpError
	var number syscall.Errno
	switch {
	case err == nil:
		return ""
	case errors.As(err, &network):
		return network.Error()
	case errors.As(err, &number):
		return number.Error()
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed"
	}
	return "the request cannot be read as HTTP/1.1 (RFC 9112)"
}
