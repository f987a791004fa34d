package transport

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"fanfare/engine"
	"fanfare/transport/internal/clientlog"
	"fanfare/transport/internal/stream"
)

// request is what a client asks for, through either HTTP server.
type request struct {
	stream.Request
	// origin is that of the page that the request comes from, "" for none.
	origin string
	// unknown is the first parameter that is not understood, "" if there is none.
	unknown string
	// wait is added to the reconnection time of a client that is refused.
	wait time.Duration
	// close is set if the client asked for "Connection: close".
	close bool
	// limit is the limit that parse has found the request to be over, "" for none.
	limit string
}

// parse reads a request's query and Last-Event-ID header. problem is the error
// for a client that cannot be served.
func (o *settings) parse(query *fasthttp.Args, header string) (req request, problem string) {
	var values []string
	for k, v := range query.All() {
		switch string(k) {
		case "connectKey":
			values = append(values, string(v))
		case "lastEventId", "envelope", "token", "rewind", "":
		default:
			if req.unknown == "" {
				req.unknown = clientlog.Cut(strings.ToValidUTF8(string(k), "\uFFFD"))
			}
		}
	}
	if req.Keys, problem = o.keys.OfStream(values); problem != "" {
		return req, problem
	}
	switch v := string(query.Peek("envelope")); v {
	case "", "key":
		req.Envelope = v != ""
	default:
		return req, fmt.Sprintf("envelope %q is unknown: use envelope=key, for a first data line with the key of each event", clientlog.Cut(v))
	}
	req.LastID = lastEventID(header, string(lastValue(query, "lastEventId")), len(req.Keys))
	if problem = o.parseRewind(&req, query.PeekMulti("rewind")); problem != "" {
		return req, problem
	}
	if req.LastID != "" {
		req.Rewind = engine.Rewind{} // an EventSource comes back with the URL that it began with
	}
	return req, ""
}

// rewindEarliest asks for everything that is kept.
const rewindEarliest = "earliest"

// parseRewind reads the parameter rewind: a number of events, a duration, or "earliest".
func (o *settings) parseRewind(req *request, values [][]byte) (problem string) {
	if len(values) == 0 {
		return ""
	}
	if len(values) > 1 {
		return fmt.Sprintf("rewind is given %d times: give it once", len(values))
	}
	v := string(values[0])
	if v == rewindEarliest {
		req.Rewind.Earliest = true
		return ""
	}
	if v != "" && strings.Trim(v, "0123456789") == "" {
		n, err := strconv.Atoi(v)
		switch {
		case n == 0:
			return "rewind 0 asks for no past events: leave the parameter out, or ask for one or more"
		case err != nil || n > o.MaxRewindEvents:
			req.limit = limitRewind
			return fmt.Sprintf("rewind %s is more than %d events (maxRewindEvents): ask for fewer, or raise the limit", clientlog.Cut(v), o.MaxRewindEvents)
		}
		req.Rewind.Events = n
		return ""
	}
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		v = clientlog.Cut(strings.ToValidUTF8(v, "\uFFFD"))
		return fmt.Sprintf("rewind %q is neither a number of events (rewind=10) nor a time above 0 (rewind=5m) nor rewind=%s: use one of these", v, rewindEarliest)
	}
	req.Rewind.Since = time.Now().Add(-d)
	return ""
}

// limitRewind is the limit on the events that a stream begins with.
const limitRewind = "maxRewindEvents"

// refusedBy is the limit that a request counts for which parse refuses.
func (req *request) refusedBy() string { return cmp.Or(req.limit, "request") }

// lastValue returns the last value of a parameter: polyfills append theirs to a
// URL that may have one already.
func lastValue(query *fasthttp.Args, name string) []byte {
	values := query.PeekMulti(name)
	if len(values) == 0 {
		return nil
	}
	return values[len(values)-1]
}

// maxLastID bounds the ids that clients send, since a publisher's own id is
// compared with every event kept. maxPositionText bounds the part that each key
// adds to ours: 20 digits, a hyphen, 20 digits, a tag of 8, a comma.
const (
	maxLastID       = 4096
	maxPositionText = 50
)

// maxHead bounds a request's line and header. It is MaxHeadBytes, or else has room
// for what the limits on keys allow, percent-encoded, for the positions of as many
// keys, sent back twice, and for what browsers and proxies add. Where that would be
// much, a request with many keys must have short ones, since every connection may
// take so much for a while. A request on the admin listener names one key.
func (o *settings) maxHead(streams bool) int {
	if o.MaxHeadBytes > 0 {
		return o.MaxHeadBytes
	}
	const (
		others    = 8 << 10
		parameter = len("&connectKey=")
		mostKeys  = 64 << 10
	)
	key := parameter + 3*o.MaxKeyBytes
	if !streams {
		return max(minHead, others+key)
	}
	return max(minHead, others+max(key, min(mostKeys, o.MaxKeysPerConnection*key))+2*maxPositionText*o.MaxKeysPerConnection)
}

// minHead is the least that maxHead gives, in bytes.
const minHead = 16 << 10

// maxAgent bounds the user agent in a log line, in bytes.
const maxAgent = 200

// lastEventID chooses between the header, which browsers send, and the query's
// lastEventId, which polyfills send. What cannot be an id of ours, since it is
// longer than any, is not UTF-8 or holds control characters, becomes an id that
// nobody knows: the stream begins with a gap, and is not refused.
func lastEventID(header, query string, keys int) string {
	id := header
	if id == "" {
		id = query
	}
	if most := max(maxLastID, (keys+1)*maxPositionText); len(id) > most {
		id = id[:most] + "…" // longer than an id may be, so like none
	}
	return strings.Map(func(r rune) rune {
		if notText(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(id, "\uFFFD"))
}

// notText reports whether r is a control character that no field value may hold
// (RFC 9110, 5.5).
func notText(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
