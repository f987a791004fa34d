package transport

import (
	"sync/atomic"

	"fanfare/transport/internal/stream"
)

// authorizing counts the requests for streams that wait in Options.Authorize. Each has a
// connection and a goroutine, and is neither a stream nor a connection without a request.
type authorizing struct{ n atomic.Int64 }

// limitAuthorizing is the label of streams that are refused because too many wait to be
// authorized.
const limitAuthorizing = "maxAuthorizing"

// enter counts a request, until leave, or returns the limit that refuses it. One that
// would be refused for maxConnections if it were granted is refused before anybody is
// asked: so streams, the requests that wait, and idle connections (see Server.maxIdle)
// have no more descriptors than maxConnections.
func (a *authorizing) enter(open int, o *settings) (limit string) {
	switch n := int(a.n.Add(1)); {
	case n > o.MaxAuthorizing:
		limit = limitAuthorizing
	case open+n > o.MaxConnections:
		limit = stream.LimitConnections
	default:
		return ""
	}
	a.leave()
	return limit
}

func (a *authorizing) leave() { a.n.Add(-1) }

// len returns how many requests wait.
func (a *authorizing) len() int { return int(a.n.Load()) }
