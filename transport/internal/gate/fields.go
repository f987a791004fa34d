package gate

import (
	"bytes"

	"github.com/valyala/fasthttp"
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
			if !token[b] {
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

// token has the bytes of a token (RFC 9110, 5.6.2).
var token = func() (t [256]bool) {
	for _, b := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[b] = true
	}
	return t
}()
