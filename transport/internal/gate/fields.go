package gate

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// What is wrong with the head of a request, whatever it is for: see KnownVersion, TargetOf and ClearFields.
const (
	VersionProblem = "the version of HTTP is not supported: use HTTP/1.1"
	TargetProblem  = "the target is not of the form /PATH?QUERY or http://HOST/PATH?QUERY (RFC 9112, 3.2), or has a fragment"
	FieldsProblem  = "a header field is folded, has a name with a space or a similar byte, or is a Transfer-Encoding other than chunked (RFC 9112, 5 and 6)"
)

// ClearFields reports whether every reader finds the same fields in a request, and the same end of its body. fasthttp takes three
// kinds of heads that a proxy in front may understand differently (RFC 9112, 11.2): with folded lines, which a server may refuse
// (5.2); with names that are not tokens (RFC 9110, 5.1); and with a transfer coding other than chunked, for which the status is to
// be 400 (6.3).
func ClearFields(h *fasthttp.RequestHeader) bool {
	for line := range bytes.Lines(h.RawHeaders()) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			continue
		}
		for _, b := range name { // a space or tab at the beginning continues the line before
			if !IsToken(b) {
				return false
			}
		}
		if len(name) == len(transferEncoding) && bytes.EqualFold(name, []byte(transferEncoding)) && !bytes.EqualFold(bytes.TrimSpace(value), []byte("chunked")) {
			return false
		}
	}
	return true
}

const transferEncoding = "Transfer-Encoding"

// IsToken reports whether a byte is one of a token (RFC 9110, 5.6.2).
func IsToken(b byte) bool { return token[b] }

var token = func() (t [256]bool) {
	for _, b := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[b] = true
	}
	return t
}()
