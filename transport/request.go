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
	remote string // the client's address, see settings.client
	agent  string // only with AccessLog
	// envelope is set if the client asked for the key of each event.
	envelope bool
	// origin is that of the page that the request comes from, "" for none.
	origin string
	// strange is a parameter that is not understood, "" if there is none.
	strange string
	// close is set if the client asked for "Connection: close".
	close bool
}

// parse reads a request's query and Last-Event-ID header. problem is what to
// tell the client if it cannot be served.
func (o *settings) parse(query *fasthttp.Args, header string) (req request, problem string) {
	var values []string
	for k, v := range query.All() {
		switch string(k) {
		case "connectKey":
			values = append(values, string(v))
		case "lastEventId", "envelope", "":
		default:
			if req.strange == "" {
				req.strange = cutText(strings.ToValidUTF8(string(k), "\uFFFD"))
			}
		}
	}
	if req.keys, problem = o.checkKeys(values); problem != "" {
		return req, problem
	}
	switch v := string(query.Peek("envelope")); v {
	case "", "key":
		req.envelope = v != ""
	default:
		return req, fmt.Sprintf("envelope %q is unknown: use envelope=key, for a first data line with the key of each event", cutText(v))
	}
	req.lastID = lastEventID(header, string(lastValue(query, "lastEventId")), len(req.keys))
	return req, problem
}

// lastValue returns the last of the parameter's values: polyfills append theirs to
// a URL that has one already.
func lastValue(query *fasthttp.Args, name string) []byte {
	values := query.PeekMulti(name)
	if len(values) == 0 {
		return nil
	}
	return values[len(values)-1]
}

// checkKeys returns the keys of a stream: the values of connectKey, each once,
// in their order; an empty one, or none, means the pool of Options.CacheKey. The
// result is an error text for the client if they cannot be served.
func (o *settings) checkKeys(values []string) (keys []string, problem string) {
	if len(values) == 0 {
		return []string{o.CacheKey}, ""
	}
	for _, v := range values {
		if v == "" {
			v = o.CacheKey
		}
		if problem := o.checkKey(v); problem != "" {
			return nil, "connectKey " + problem
		}
		if !slices.Contains(keys, v) {
			keys = append(keys, v)
		}
		if len(keys) > o.MaxKeysPerConnection {
			return nil, fmt.Sprintf("connectKey names more than %d keys (maxKeysPerConnection): open several streams, or raise the limit", o.MaxKeysPerConnection)
		}
	}
	return keys, ""
}

// checkKey says what is wrong with a key, or "".
func (o *settings) checkKey(key string) string {
	switch {
	case len(key) > o.MaxKeyBytes:
		return fmt.Sprintf("has %d bytes, more than %d (maxKeyBytes): use a shorter key", len(key), o.MaxKeyBytes)
	case !utf8.ValidString(key):
		return "is not valid UTF-8: percent-encode its UTF-8 bytes"
	}
	return ""
}

// cutText is the beginning of a text that a client gave.
func cutText(s string) string { return cut(s, 64) }

func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// maxLastID bounds the ids that clients send, since a publisher's own id is
// compared with every event kept. maxPositionText bounds the part that each key
// adds to ours: 20 digits, a hyphen, 20 digits, a tag of 8, a comma.
const (
	maxLastID       = 4096
	maxPositionText = 50
)

// maxHead bounds a request's line and header: room for the longest key,
// percent-encoded, for the positions of as many keys as a stream may have, and
// for what browsers and proxies add.
func (o *settings) maxHead() int {
	return max(minRequestHead, minRequestHead/2+3*o.MaxKeyBytes, minRequestHead/2+2*maxPositionText*o.MaxKeysPerConnection)
}

// lastEventID chooses between the header, which browsers send, and the query's
// lastEventId, which polyfills do. What can be no id of ours, since it is longer
// than any, is not UTF-8 or holds control characters, is made an id that nobody
// knows: the stream begins with a gap, and is not refused.
func lastEventID(header, query string, keys int) string {
	id := header
	if id == "" {
		id = query
	}
	if most := max(maxLastID, (keys+1)*maxPositionText); len(id) > most {
		id = id[:most] + "…" // longer than an id may be, so like none
	}
	return strings.Map(func(r rune) rune {
		if noText(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(id, "\uFFFD"))
}

// noText reports whether r is a control character that no field value may hold
// (RFC 9110, 5.5).
func noText(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
