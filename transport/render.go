package transport

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/goccy/go-json"

	"fanfare/engine"
)

// The heartbeats are comments, which clients skip. With ids it is a comment line
// without the empty line behind it, which some clients take for a message; without
// ids it has egg-sse's bytes.
var (
	pingFrame = []byte(":\n")
	plainPing = []byte(": ping\n\n")
)

func (o *settings) ping() []byte {
	if o.PlainIDs {
		return plainPing
	}
	return pingFrame
}

// idField is what codec writes in front of an id.
const idField = "id: "

// appendOpening appends what a stream begins with: the reconnection time if one
// is set, and the position, so that a client that loses its connection before
// the first event resumes too. It is an event of a name of its own, with empty
// data: no page's onmessage sees it. An id alone would do by WHATWG HTML 9.2.6,
// but Firefox and Safari keep an id only if its block has data, and several other
// clients hand such a block on as a message.
//
// A stream with a gap to report has no position here: the client keeps its id
// until the gap itself has arrived, and if the connection is lost before, it comes
// back to the gap.
func appendOpening(dst []byte, o *settings, sub *engine.Subscriber, resumed engine.Resumed) []byte {
	start := len(dst)
	if o.Retry > 0 {
		dst = appendRetryLine(dst, o.Retry)
	}
	if !o.PlainIDs && resumed != engine.ResumedGap {
		dst = append(dst, "event: position\ndata:\n"...)
		dst = append(dst, idField...)
		dst = sub.Positions(dst)
		dst = append(dst, '\n')
	}
	if len(dst) == start {
		return dst
	}
	return append(dst, '\n')
}

func appendRetryLine(dst []byte, d time.Duration) []byte {
	dst = append(dst, "retry: "...)
	dst = strconv.AppendInt(dst, d.Milliseconds(), 10)
	return append(dst, '\n')
}

// jitter returns a random reconnection time.
func (o *settings) jitter() time.Duration {
	return o.RetryMin + rand.N(o.RetryMax-o.RetryMin+1)
}

// rendering is what a stream writes of an event beside the bytes that all
// subscribers share: the zero value is nothing.
type rendering struct {
	multi bool // several keys: the event's own id is replaced by the positions of all
	// envelope has, for each key, the data line that tells it; nil if the client
	// did not ask for them.
	envelope [][]byte
	// tail are the parts behind stream.rest; only the stream's owner uses it.
	tail [][]byte
}

// newRendering is that of a request; the zero one is nil.
func newRendering(req request, o *settings) *rendering {
	r := rendering{multi: len(req.keys) > 1 && !o.PlainIDs}
	if req.envelope {
		for _, key := range req.keys {
			r.envelope = append(r.envelope, append(appendJSON([]byte(`data: {"key":`), key), "}\n"...))
		}
	}
	if !r.multi && r.envelope == nil {
		return nil
	}
	return &r
}

// lead is the line in front of an event or a gap. It is a data line, and so the
// first line of the event's data: what has none gets none.
func (r *rendering) lead(it engine.Item) []byte {
	if r == nil || r.envelope == nil || it.Event != nil && it.Event.Silent() {
		return nil
	}
	return r.envelope[it.Key]
}

// cut cuts the event's frame in front of its id and behind it. Without an id to
// replace, all is in front.
func (r *rendering) cut(ev *engine.Event) (front, end []byte, id bool) {
	b := ev.Bytes()
	at, n := ev.ID()
	if at < 0 || !r.multi {
		return b, nil, false
	}
	return b[:at], b[at+n:], true
}

// append appends the event that Next has just returned.
func (r *rendering) append(dst []byte, it engine.Item, sub *engine.Subscriber) []byte {
	dst = append(dst, r.lead(it)...)
	front, end, id := r.cut(it.Event)
	dst = append(dst, front...)
	if id {
		dst = sub.Positions(dst)
	}
	return append(dst, end...)
}

// parts is append without a copy of what is shared: only the id is the stream's.
func (r *rendering) parts(it engine.Item, sub *engine.Subscriber) [][]byte {
	front, end, id := r.cut(it.Event)
	if !id {
		return r.join(it, front, nil, end)
	}
	return r.join(it, front, sub.Positions(make([]byte, 0, 64)), end)
}

// remainder is parts for an event that has been rendered and of which n bytes
// have been written.
func (r *rendering) remainder(it engine.Item, rendered []byte, n int) [][]byte {
	front, end, id := r.cut(it.Event)
	var own []byte
	if id {
		at := len(r.lead(it)) + len(front)
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
	if lead := r.lead(it); lead != nil {
		parts = append(parts, lead)
	}
	parts = append(parts, front)
	if id != nil {
		parts = append(parts, id, end)
	}
	return parts
}

// appendGap appends the event that tells a client what it misses. Its id is the
// position that the stream goes on from.
func appendGap(dst []byte, g *engine.Gap, lead []byte, o *settings, sub *engine.Subscriber) []byte {
	dst = append(dst, "event: gap\n"...)
	dst = append(dst, lead...)
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
	if !o.PlainIDs {
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
