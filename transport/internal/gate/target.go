package gate

import (
	"bytes"
	"net"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
)

// Target is what the head of a request says it is for (RFC 9112, 3.2).
type Target struct {
	// Path is as the client sent it: nothing is decoded and no dot segment removed.
	// RFC 3986, 6, allows that "/%70ublish" equals "/publish", and does not demand it.
	// A proxy that allows some paths compares the bytes that it sees, so a server
	// which understood other bytes as the same path would let requests pass by it.
	Path  string
	Query string // without "?"
	// Host is the host of the target, or else of the Host field, with its port.
	Host string
}

// TargetOf reads the target of a request. ok is false if it is in a form that no
// resource of ours has, or if it has a fragment, which no client may send.
func TargetOf(h *fasthttp.RequestHeader) (t Target, ok bool) {
	t.Host = string(h.Host())
	t.Path, t.Query, _ = strings.Cut(string(h.RequestURI()), "?")
	if strings.Contains(t.Path, "#") || strings.Contains(t.Query, "#") {
		return t, false
	}
	if strings.HasPrefix(t.Path, "/") {
		return t, true
	}
	scheme, rest, absolute := strings.Cut(t.Path, "://")
	if !absolute || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return t, false
	}
	slash := strings.IndexByte(rest, '/')
	if slash < 0 {
		t.Host, t.Path = rest, "/"
	} else {
		t.Host, t.Path = rest[:slash], rest[slash:]
	}
	return t, t.Host != ""
}

// HostName is the host of HOST[:PORT], without the brackets of an IPv6 address. ok
// is false for any other form, such as one with a user's name in it.
func HostName(authority string) (name string, ok bool) {
	name, port, err := net.SplitHostPort(authority)
	if err != nil {
		name, port = authority, ""
		if strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") {
			name = name[1 : len(name)-1]
		} else if strings.Contains(name, ":") && net.ParseIP(name) == nil {
			return "", false
		}
	}
	return name, !strings.ContainsAny(name, "@/\\[]") && strings.Trim(port, "0123456789") == ""
}

// skippedField marks a request whose body was skipped. A listener decides about a request by its head (fasthttp:
// HeaderReceived). The body of one that it refuses is neither awaited nor read. Only SkipBody sets the field, see HasBody.
const skippedField = "Fanfare-Body-Skipped"

// HasBody reports whether a body follows a head that has just arrived. It also
// removes a field from the head that only SkipBody may set.
func HasBody(h *fasthttp.RequestHeader) bool {
	h.Del(skippedField)
	length := h.ContentLength()
	return length > 0 || length == -1 // -1: chunked
}

// SkipBody makes fasthttp call the handler without waiting for the body, and close
// the connection after the answer. "Expect: 100-continue" then gets the answer in
// place of a 100 (RFC 9110, 10.1.1).
func SkipBody(h *fasthttp.RequestHeader) {
	length := h.ContentLength()
	h.SetContentLength(0)
	h.Del(fasthttp.HeaderExpect)
	h.SetConnectionClose()
	h.Set(skippedField, strconv.Itoa(length))
}

// Skipped reports whether the body of a request was skipped.
func Skipped(h *fasthttp.RequestHeader) bool { return len(h.Peek(skippedField)) > 0 }

// BodyLength is the length of the body that the head announces, skipped or not; it
// is negative if the head does not tell.
func BodyLength(h *fasthttp.RequestHeader) int {
	if text := h.Peek(skippedField); len(text) > 0 {
		n, _ := strconv.Atoi(string(text))
		return n
	}
	return h.ContentLength()
}

// KnownVersion reports whether a request is of HTTP/1: of 1.0, 1.1 or a later
// minor version, which a server of 1.1 understands (RFC 9110, 2.5).
func KnownVersion(h *fasthttp.RequestHeader) bool {
	return bytes.HasPrefix(h.Protocol(), []byte("HTTP/1."))
}
