package transport

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/valyala/fasthttp"
)

// request is what a client asks for, from whichever HTTP server.
type request struct {
	keys   []string
	lastID string
	remote string
	// close is set if the client asked for "Connection: close".
	close bool
}

// parse reads a request's query and Last-Event-ID header. problem is what to
// tell the client if it cannot be served.
func (st *settings) parse(query *fasthttp.Args, header string) (req request, problem string) {
	var values []string
	for _, v := range query.PeekMulti("connectKey") {
		values = append(values, string(v))
	}
	req.keys, problem = st.checkKeys(values)
	req.lastID = lastEventID(header, string(query.Peek("lastEventId")))
	return req, problem
}

// checkKeys returns the keys of a stream: the values of connectKey, each once,
// in their order; an empty one, or none, means the pool of Options.CacheKey. The
// result is an error text for the client if they cannot be served.
func (st *settings) checkKeys(values []string) (keys []string, problem string) {
	if len(values) == 0 {
		return []string{st.CacheKey}, ""
	}
	for _, v := range values {
		if v == "" {
			v = st.CacheKey
		}
		if problem := st.checkKey(v); problem != "" {
			return nil, "connectKey " + problem
		}
		if !slices.Contains(keys, v) {
			keys = append(keys, v)
		}
		if len(keys) > st.MaxKeysPerConnection {
			return nil, fmt.Sprintf("connectKey is given more than %d times (maxKeysPerConnection): open several streams, or raise the limit", st.MaxKeysPerConnection)
		}
	}
	return keys, ""
}

// checkKey says what is wrong with a key, or "".
func (st *settings) checkKey(key string) string {
	switch {
	case len(key) > st.MaxKeyBytes:
		return fmt.Sprintf("has %d bytes, more than %d (maxKeyBytes): use a shorter key", len(key), st.MaxKeyBytes)
	case !utf8.ValidString(key):
		return "is not valid UTF-8: percent-encode its UTF-8 bytes"
	}
	return ""
}

// maxLastID bounds the ids that clients send: longer ones cannot be ours, and a
// publisher's own id is compared with every event kept.
const maxLastID = 4096

// lastEventID chooses between the header, which browsers send, and the query's
// lastEventId, which polyfills do. What is no id (WHATWG HTML 9.2.6: it has no
// NUL, LF or CR) counts as an id that nobody knows.
func lastEventID(header, query string) string {
	id := header
	if id == "" {
		id = query
	}
	if len(id) > maxLastID {
		id = id[:maxLastID]
	}
	return strings.ToValidUTF8(id, "\uFFFD")
}
