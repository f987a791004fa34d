package stream

import (
	"strconv"
	"time"

	"github.com/goccy/go-json"

	"fanfare/engine"
)

// The heartbeats are comments, which clients skip. With ids it is a comment line
// without an empty line after it, since some clients take that for a message;
// without ids it has egg-sse's bytes.
var (
	pingFrame = []byte(":\n")
	plainPing = []byte(": ping\n\n")
)

func (c *Config) ping() []byte {
	if c.PlainIDs {
		return plainPing
	}
	return pingFrame
}

// idField is what codec writes before an id.
const idField = "id: "

// appendOpening appends what a stream begins with: the reconnection time if one
// is set, and the position, from which a client resumes that loses its
// connection before the first event. The position is an event with a name of its
// own and empty data, so that no page's onmessage sees it. By WHATWG HTML 9.2.6
// an id alone would do, but Firefox and Safari keep an id only if its block has
// data, and several other clients pass such a block on as a message.
//
// A stream with a gap to report has no position here. The client keeps the id
// that it came with until the gap itself has arrived; if the connection is lost
// earlier, it comes back to the gap. Nor has one that waits for events from the
// log: it gets the position when they are there.
func (st *Stream) appendOpening(dst []byte) []byte {
	start, c := len(dst), st.hub.config.Load()
	if c.Retry > 0 {
		dst = AppendRetry(dst, c.Retry)
	}
	if !c.PlainIDs && st.resumed != engine.ResumedGap && !st.waiting() {
		return st.appendPosition(dst)
	}
	if len(dst) == start {
		return dst
	}
	return append(dst, '\n')
}

// appendPosition appends the event that gives the client an id without an event of its keys.
func (st *Stream) appendPosition(dst []byte) []byte {
	if st.follows() {
		st.more.lastID = st.hub.clock.Load()
	}
	dst = append(dst, "event: position\ndata:\n"...)
	dst = append(dst, idField...)
	dst = st.sub.Positions(dst)
	return append(dst, "\n\n"...)
}

// AppendRetry appends the line that sets a client's reconnection time (WHATWG
// HTML 9.2.6).
func AppendRetry(dst []byte, d time.Duration) []byte {
	dst = append(dst, "retry: "...)
	dst = strconv.AppendInt(dst, d.Milliseconds(), 10)
	return append(dst, '\n')
}

// rendering is what a stream writes of an event in addition to the bytes that
// all subscribers share: the zero value is nothing.
type rendering struct {
	// replaceMade says that the positions of the stream replace an id that the engine has made, unless the
	// engine says that this is the stream's id already, and replaceOwn that they replace a publisher's own.
	replaceMade, replaceOwn bool
	// envelopes has for each key the data line that names it; nil if the client did
	// not ask for them.
	envelopes [][]byte
	// pending are the parts that follow Stream.pending; owner only.
	pending [][]byte
}

// newRendering is that of a request; nil for nothing. shared is engine.Subscriber.SharedIDs.
func newRendering(req Request, c *Config, shared bool) *rendering {
	r := rendering{replaceMade: !shared && !c.PlainIDs, replaceOwn: len(req.Keys) > 1 && !c.PlainIDs}
	if req.Envelope {
		for _, key := range req.Keys {
			r.envelopes = append(r.envelopes, append(appendJSON([]byte(`data: {"key":`), key), "}\n"...))
		}
	}
	if !r.replaceMade && !r.replaceOwn && r.envelopes == nil {
		return nil
	}
	return &r
}

// envelopeLine is the line before an event or a gap. It is a data line, and so
// the first line of the event's data; an event without data gets none.
func (r *rendering) envelopeLine(it engine.Item) []byte {
	if r == nil || r.envelopes == nil || it.Event != nil && it.Event.Silent() {
		return nil
	}
	return r.envelopes[it.Key]
}

// split returns the event's frame before and after its id. Without an id to
// replace, front is all of it.
func (r *rendering) split(ev *engine.Event) (front, end []byte, id bool) {
	b := ev.Bytes()
	at, n := ev.ID()
	replace := r.replaceMade
	if r.replaceMade != r.replaceOwn && ev.OwnID() {
		replace = r.replaceOwn
	}
	if at < 0 || !replace {
		return b, nil, false
	}
	return b[:at], b[at+n:], true
}

// append appends the event that Next has just returned.
func (r *rendering) append(dst []byte, it engine.Item, sub *engine.Subscriber) []byte {
	dst = append(dst, r.envelopeLine(it)...)
	front, end, id := r.split(it.Event)
	dst = append(dst, front...)
	if id {
		dst = sub.Positions(dst)
	}
	return append(dst, end...)
}

// parts is append without a copy of what is shared: only the id is the stream's.
func (r *rendering) parts(it engine.Item, sub *engine.Subscriber) [][]byte {
	front, end, id := r.split(it.Event)
	if !id {
		return r.join(it, front, nil, end)
	}
	return r.join(it, front, sub.Positions(make([]byte, 0, 64)), end)
}

// remainder is parts for an event that has been rendered and of which n bytes
// have been written.
func (r *rendering) remainder(it engine.Item, rendered []byte, n int) [][]byte {
	front, end, id := r.split(it.Event)
	var own []byte
	if id {
		at := len(r.envelopeLine(it)) + len(front)
		own = append(own, rendered[at:len(rendered)-len(end)]...)
	}
	parts := r.join(it, front, own, end)
	for n > 0 {
		k := min(n, len(parts[0]))
		n -= k
		if parts[0] = parts[0][k:]; len(parts[0]) == 0 {
			parts = parts[1:]
		}
	}
	return parts
}

func (r *rendering) join(it engine.Item, front, id, end []byte) [][]byte {
	parts := make([][]byte, 0, 4)
	if line := r.envelopeLine(it); line != nil {
		parts = append(parts, line)
	}
	parts = append(parts, front)
	if id != nil {
		parts = append(parts, id, end)
	}
	return parts
}

// appendGap appends the event that reports to a client what it has missed. Its id
// is the position from which the stream goes on.
func appendGap(dst []byte, g *engine.Gap, envelopeLine []byte, c *Config, sub *engine.Subscriber) []byte {
	dst = append(dst, "event: gap\n"...)
	dst = append(dst, envelopeLine...)
	dst = append(dst, `data: {"key":`...)
	dst = appendJSON(dst, g.Key)
	dst = append(dst, `,"reason":"`...)
	dst = append(dst, g.Reason.String()...)
	dst = append(dst, `","missed":`...)
	if g.Missed < 0 {
		dst = append(dst, "null"...)
	} else {
		dst = strconv.AppendInt(dst, g.Missed, 10)
	}
	dst = append(dst, `,"after":`...)
	dst = appendJSON(dst, g.After)
	dst = append(dst, `,"next":`...)
	dst = appendJSON(dst, g.Next.String())
	dst = append(dst, "}\n"...)
	if !c.PlainIDs {
		dst = append(dst, idField...)
		dst = sub.Positions(dst)
		dst = append(dst, '\n')
	}
	return append(dst, '\n')
}

// appendJSON appends s as a JSON string on one line.
func appendJSON(dst []byte, s string) []byte {
	b, err := json.Marshal(s)
	if err != nil { // never for a string
		b = []byte(`""`)
	}
	return append(dst, b...)
}
