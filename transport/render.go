package transport

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/goccy/go-json"

	"fanfare/engine"
)

// pingFrame is the heartbeat: a comment, which clients skip.
var pingFrame = []byte(": ping\n\n")

// idField is what codec writes in front of an id.
const idField = "id: "

// appendOpening appends what a stream begins with: the reconnection time if one
// is set, and the position, so that a client that loses its connection before
// the first event resumes too. A block without data sets the client's last
// event id and dispatches nothing (WHATWG HTML 9.2.6). A stream with a gap to
// tell of has no position here: the client keeps its id until the gap itself has
// arrived, and if the connection is lost before, it comes back to the gap.
func appendOpening(dst []byte, o *settings, sub *engine.Subscriber, resumed engine.Resumed) []byte {
	start := len(dst)
	if o.Retry > 0 {
		dst = appendRetryLine(dst, o.Retry)
	}
	if !o.PlainIDs && resumed != engine.ResumedGap {
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

// appendEvent appends an event for a subscriber of several keys: the frame with
// its own id line replaced by the positions of all keys.
func appendEvent(dst []byte, ev *engine.Event, sub *engine.Subscriber) []byte {
	b := ev.Bytes()
	at, n := ev.ID()
	if at < 0 {
		return append(dst, b...)
	}
	dst = append(dst, b[:at]...)
	dst = sub.Positions(dst)
	return append(dst, b[at+n:]...)
}

// splitEvent is appendEvent in two parts: the second, which is all behind the id,
// is shared with the other subscribers.
func splitEvent(ev *engine.Event, sub *engine.Subscriber) (own, shared []byte) {
	b := ev.Bytes()
	at, n := ev.ID()
	if at < 0 {
		return b, nil
	}
	own = append(make([]byte, 0, at+n+64), b[:at]...)
	return sub.Positions(own), b[at+n:]
}

// appendGap appends the event that tells a client what it misses. Its id is the
// position that the stream goes on from.
func appendGap(dst []byte, g *engine.Gap, o *settings, sub *engine.Subscriber) []byte {
	next := g.Next.String()
	dst = append(dst, "event: gap\n"...)
	if !o.PlainIDs {
		dst = append(dst, idField...)
		dst = sub.Positions(dst)
		dst = append(dst, '\n')
	}
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
	dst = appendJSON(dst, next)
	return append(dst, "}\n\n"...)
}

// appendJSON appends s as a JSON string on one line.
func appendJSON(dst []byte, s string) []byte {
	b, err := json.Marshal(s)
	if err != nil { // never for a string
		b = []byte(`""`)
	}
	return append(dst, b...)
}
