package auth

import (
	"slices"
	"time"

	"fanfare/auth/pattern"
)

// Request is what a client that wants a stream brings.
type Request struct {
	// Keys are the keys that the stream would have: what the server understood, not the text of the query, so that a default
	// key and a percent-encoded "connectKey" count.
	Keys []string
	// Authorization and Cookie are the values of these header fields, whole. Several Cookie fields are joined by "; ".
	Authorization, Cookie Secret
	// Token is a token from the query, "" if there is none.
	Token Secret
	// Origin is the header field of browsers, "" if there is none. It is passed on to the callback.
	Origin string
	// ForeignOrigin says that the page of Origin may not read streams with the cookies of its visitors. Then cookies do not
	// count, since a browser sends them for every page.
	ForeignOrigin bool
	// Address is the client's address without a port, "" if it is unknown. It is passed on to the callback.
	Address string
	// Host, Scheme ("http" or "https") and UserAgent are those of the client's request, "" if unknown. They are passed on to
	// the callback: middlewares look at them, for example to redirect from http.
	Host, Scheme, UserAgent string
}

// Grant says what somebody may do. The zero Grant allows nothing. A server of your own may make one without an Authorizer.
type Grant struct {
	// Subscribe and Publish are patterns of keys, see package pattern.
	Subscribe, Publish []string
	// Subject is who it is, "" if that is unknown. POST /disconnect names it.
	Subject string
	// Expires is when a stream must end, zero for never.
	Expires time.Time
	// Way is what decided: WayJWT, WayToken, WayCallback, WayAnonymous or WayOpen.
	Way string

	// Selectors of Mercure that no pattern expresses.
	subscribeTemplates, publishTemplates templates
}

// Ways are the values of Grant.Way.
const (
	WayJWT       = "jwt"
	WayToken     = "token"
	WayCallback  = "callback"
	WayAnonymous = "anonymous"
	WayOpen      = "open" // nothing is configured: everybody may subscribe
)

// AllowsSubscribe reports whether a stream may have the key.
func (g Grant) AllowsSubscribe(key string) bool {
	return pattern.List(g.Subscribe).Match(key) || g.subscribeTemplates.match(key)
}

// AllowsPublish reports whether an event for the key is accepted.
func (g Grant) AllowsPublish(key string) bool {
	return pattern.List(g.Publish).Match(key) || g.publishTemplates.match(key)
}

// check returns the refusal for the first key that a stream may not have.
func (g Grant) check(keys []string) error {
	for _, key := range keys {
		if !g.AllowsSubscribe(key) {
			return keyDenied(key, g.Way)
		}
	}
	return nil
}

// clone makes a copy that shares nothing that a caller can change.
func (g Grant) clone() Grant {
	g.Subscribe, g.Publish = slices.Clone(g.Subscribe), slices.Clone(g.Publish)
	return g
}
