package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"fanfare/auth"
	"fanfare/cluster"
)

// Options configure a Server. The zero value of every field is its default.
// All but MaxConnections, Backplane and Logger can be changed while serving, see
// Server.Reconfigure.
type Options struct {
	// Path is where streams are. Default "/stream".
	Path string
	// Headers are added to the head of a stream, or replace its default fields
	// (Cache-Control, Connection, X-Accel-Buffering, Access-Control-Allow-Origin);
	// an empty value removes one.
	Headers map[string]string
	// CacheKey is the key of requests that do not name one. Default "@sse/count".
	CacheKey string
	// PlainIDs leaves frames as the publisher made them. By default events
	// without an id get one, from which a client resumes.
	PlainIDs bool
	// PingInterval is the longest time between two writes to a stream; a quiet
	// one gets a comment. Default 10 s.
	PingInterval time.Duration
	// WriteTimeout is how long a connection may take no byte while there is
	// something to send. Default 30 s.
	WriteTimeout time.Duration
	// MinReadRate is how many bytes per second a client must read while it is
	// behind, on average over WriteTimeout. Default 1024; 1 is no limit in effect.
	MinReadRate int
	// MaxPinnedBytes bounds the bytes of events that the history has dropped and
	// that slow clients keep in memory, since they have got a part of one. Beyond
	// it the streams at the oldest events end. Default 64 MiB.
	MaxPinnedBytes int64
	// IdleTimeout is how long a connection without a stream is kept between two
	// requests. Default 90 s. Proxies usually keep theirs for 60 s; the server must
	// not close a connection on which a proxy is sending a request.
	IdleTimeout time.Duration
	// Retry is the reconnection time that streams begin with. Default none.
	Retry time.Duration
	// RetryMin and RetryMax bound the random reconnection time that clients get
	// when they are refused for now or when the server drains. Default 1 s, 5 s.
	RetryMin, RetryMax time.Duration
	// OverLimit is the answer to a subscriber that a limit refuses. Default
	// RefuseRetry.
	OverLimit OverLimit

	// MaxConnections bounds the streams open at once. Default 100,000; cmd/fanfare
	// derives it from RLIMIT_NOFILE.
	MaxConnections int
	// MaxConnectionsPerAddress bounds the streams of one client address, of an IPv6
	// network of 64 bits. Behind a proxy it needs TrustedProxies. Default no limit.
	MaxConnectionsPerAddress int
	// MaxConnectionsPerSubject bounds the streams of one subject, see auth.Grant. A new
	// stream is refused, and the older ones go on. Streams without a subject are not
	// limited. Default no limit.
	MaxConnectionsPerSubject int
	// MaxConnectRate bounds the requests for streams per second, in total, and
	// MaxConnectRatePerAddress those of a client address, as MaxConnectionsPerAddress
	// counts it. After a quiet second as many may come at once. Requests count before
	// Authorize is asked about them. A client that is refused is told to come back at a
	// time of its own, within a minute, so that all together stay under the rate; if
	// Retry is 0 and one of these is set, streams begin with RetryMax, so that the client
	// does not keep that time. Default no limit.
	MaxConnectRate, MaxConnectRatePerAddress int
	// MaxAuthorizing bounds the requests that wait for Authorize. One more is told to come
	// back, whatever OverLimit says. Default 4096.
	MaxAuthorizing int
	// MaxLife is the longest life of a stream, give or take a tenth; then the client
	// gets a reconnection time and comes back, perhaps to another server. Default
	// no limit.
	MaxLife time.Duration
	// MaxIdleConnections bounds the connections to stream listeners that have not
	// sent a request; streams take their place when there are MaxConnections in
	// all. The one that has been without a request for the longest time is closed
	// first. Default 4096. On Linux only.
	MaxIdleConnections int
	// MaxStreamsPerConnection bounds the streams that a client of HTTP/2 opens on one
	// connection (RFC 9113, 5.1.2). A browser has one connection for all its tabs.
	// Default 250. What it says when the first such connection begins counts.
	MaxStreamsPerConnection int
	// MaxKeysPerConnection bounds the keys of one stream. Default 16.
	MaxKeysPerConnection int
	// MaxKeyBytes bounds the length of a key. Default 1024.
	MaxKeyBytes int
	// MaxRewindEvents bounds the past events of a key that a new stream may begin with, by
	// the parameter rewind. Default 10,000.
	MaxRewindEvents int
	// MaxOlderBytes bounds the bytes of the events that were fetched from the log of the
	// Backplane for streams that have not read them yet. Beyond it such a stream gets a gap. One
	// fetch should return much less: see cluster.Options.OlderBytes.
	// Default 256 MiB.
	MaxOlderBytes int64
	// MaxEventBytes bounds one finished frame. Default 2 MiB.
	MaxEventBytes int
	// MaxIDBytes bounds a publisher's own id, at most 4096: clients come back with
	// it in a header field. Default 1024.
	MaxIDBytes int
	// RefuseReserved refuses events named error, open, gap, position or expired,
	// which clients mistake for something else. By default the log has a warning.
	RefuseReserved bool
	// MaxBodyBytes bounds a request body on the admin listener. Default 16 MiB.
	MaxBodyBytes int
	// MaxBodyTotalBytes bounds what the bodies of all requests on the admin listener
	// take at once, until they are published. Default four times MaxBodyBytes.
	MaxBodyTotalBytes int
	// MaxBatchLines bounds the lines of a batch, and the events of a body of
	// text/event-stream. Default 100,000.
	MaxBatchLines int
	// MaxAdminConnections bounds the connections on the admin listener. One more
	// takes the place of the one that has waited longest without a request that is
	// allowed. Default 1000.
	MaxAdminConnections int
	// MaxHeadBytes bounds the line and the header fields of a request. The default
	// has room for MaxKeysPerConnection keys of MaxKeyBytes, percent-encoded, and for
	// the positions of as many keys, but is at most 64 KiB for the keys. What it says
	// when Serve and ServeAdmin are called counts.
	MaxHeadBytes int

	// DrainDelay is the time between turning readiness off and ending the first
	// stream. Default 0.
	DrainDelay time.Duration
	// DrainRate is how many streams per second a drain ends, more if DrainTimeout
	// needs it. Default 1000.
	DrainRate int
	// DrainTimeout is when a drain ends the last stream. Default 10 s.
	DrainTimeout time.Duration

	// TLS makes the listeners of Serve take TLS connections, and those of HTTP/2 by
	// ALPN. Certificates come from it as from any tls.Config; NextProtos and, if it
	// is 0, MinVersion (TLS 1.2) are the server's. A new one, by Reconfigure, is for
	// new connections. Default nil: plain HTTP.
	TLS *tls.Config
	// NoHTTP2 switches off HTTP/2 on the listeners of Serve: by ALPN with TLS, and
	// without TLS for clients that begin with its preface (RFC 9113, 3.3).
	NoHTTP2 bool
	// AdminTLS does the same for ServeAdmin, without HTTP/2. If it requires and verifies
	// client certificates, and there is neither PublishToken nor IdentifyPublisher, a
	// client with a certificate may do everything.
	AdminTLS *tls.Config

	// NoPage switches off the built-in page at "/".
	NoPage bool
	// PublishToken is what requests to the admin listener must bring as
	// "Authorization: Bearer …". Whoever has it may do everything. Default none: then
	// only loopback may be bound, unless IdentifyPublisher or client certificates
	// protect the listener.
	PublishToken string
	// IdentifyPublisher finds out who sends a request to the admin listener: it gets
	// the Authorization field and the client's verified certificate, and returns what
	// the sender may do, an *auth.Denied, or another error, after which the request may
	// be sent again. (*auth.Authorizer).Identify is one. It runs up to twice per
	// request, in its goroutine. A request with PublishToken is not asked about.
	// Default nil: without PublishToken, everybody may do everything.
	IdentifyPublisher func(context.Context, auth.PublishRequest) (auth.Publisher, error)
	// MaxPublishRate bounds the events per second of one publisher, unless
	// auth.Publisher.MaxRate has another value. A publisher can be one second ahead.
	// Default no limit.
	MaxPublishRate int
	// DuplicateWindow is how long a message ID (Idempotency-Key) is remembered: a
	// repetition within that time is not published again. Default 30 s. With a Backplane
	// the log remembers, for a time of its own.
	DuplicateWindow time.Duration
	// MaxIdempotencyKeys bounds the events with a message ID within DuplicateWindow. One
	// more is refused. Default 100,000, which take about 20 MB. Not with a Backplane.
	MaxIdempotencyKeys int
	// AdminOrigins are the browser origins ("https://example.com") that may call
	// the admin listener, besides that of the built-in page; "*" is any, and needs a
	// PublishToken or IdentifyPublisher, and no client certificates, which a browser
	// sends for every page.
	AdminOrigins []string
	// AllowedOrigins are the browser origins whose pages may read streams:
	// "https://app.example", or "https://*.example.com" for those below it. The
	// request's origin is echoed if it is one of them. Default: every origin.
	AllowedOrigins []string
	// AllowCredentials lets those pages send cookies (withCredentials). It needs
	// AllowedOrigins without "*".
	AllowCredentials bool
	// TrustedProxies are the addresses of proxies that are believed about the address
	// of a client, for the log, the limits and Authorize. They write it into
	// ClientAddressField, or send it by ProxyProtocol. Default none: any client can
	// send such a field.
	TrustedProxies []netip.Prefix
	// TrustUnixSockets makes every peer on a Unix socket a trusted proxy.
	TrustUnixSockets bool
	// ClientAddressField is the field in which trusted proxies write the address of a
	// client, "X-Forwarded-For" or "Forwarded" (RFC 7239). The other one is ignored: a
	// proxy passes on what a client has written there. Default "X-Forwarded-For".
	ClientAddressField string
	// ProxyProtocol makes a connection of a trusted proxy to a listener of Serve begin
	// with a header of the PROXY protocol, version 1 or 2, which has the address of the
	// client. A connection without one is closed. It needs trusted proxies: their
	// connections alone have a header.
	ProxyProtocol bool
	// Pprof serves /debug/pprof/ on the admin listener.
	Pprof bool
	// AccessLog logs each stream when it ends: the reason, the client's address,
	// keys, user agent, events and bytes written, events still waiting, seconds. It
	// costs some 300 bytes more for each stream.
	AccessLog bool
	// Authorize decides who may subscribe: it gets the keys of a stream and what the
	// request brings, and returns a grant, an *auth.Denied, or another error, after
	// which the client is told to come back. (*auth.Authorizer).Authorize is one. It
	// runs once per stream, in the request's goroutine, before the stream subscribes,
	// and may wait. When the grant expires the stream ends with "event: expired".
	// Default nil: everybody may subscribe.
	Authorize func(context.Context, auth.Request) (auth.Grant, error)
	// Forget is called by Disconnect before the streams of a subject end: an
	// Authorize that caches must ask anew about it.
	Forget func(subject string)
	// Mint makes a token for POST /token: one with which Authorize grants the keys to a
	// subscriber. It gets who asks for it, and must refuse keys that these do not have
	// auth.RightMint for; (*auth.Authorizer).Mint is one. Errors that wrap
	// auth.ErrBadToken are answered by 400, and an *auth.Denied by its status. Default
	// nil: there is no POST /token.
	Mint func(auth.Publisher, auth.TokenRequest) (auth.Token, error)
	// OnConnect is called when a stream begins, before its first event, and
	// OnDisconnect when it has ended, with the reason and how long it lasted. Close and
	// Drain return when OnDisconnect has returned for all streams, or after a second:
	// it may call them itself. Both must
	// return soon and may be called from many goroutines at once.
	OnConnect    func(Info)
	OnDisconnect func(info Info, reason string, lasted time.Duration)
	// Backplane connects this server to others: events are published to its log, and
	// the engine, which must be that of the node, gets them from there. Questions about
	// streams are asked of all nodes. Make the node, then the server, then call the
	// node's Start, wait for Settled, and open the listeners; in the end close the server,
	// the node, and the engine. Default nil: this server alone.
	Backplane *cluster.Node
	// Starting, unless it is "", is why the server is not ready yet, such as "starting: the log is being read". Until
	// Server.Started only health checks and /metrics are answered; other requests to the admin listener get 503 with
	// Retry-After. Serve streams after Started.
	Starting string
	// ReadyNeedsBroker makes /readyz fail while the broker of the Backplane cannot be
	// reached. By default it does not: the streams stay open, and a load balancer that
	// refuses clients ends their EventSource for good.
	ReadyNeedsBroker bool
	// Logger is where the server logs. Default slog.Default().
	Logger *slog.Logger
}

// OverLimit is how a subscriber is refused that a limit does not admit.
type OverLimit uint8

const (
	// RefuseRetry answers 200 with a reconnection time and ends: an EventSource
	// comes back after it.
	RefuseRetry OverLimit = iota
	// Refuse503 answers 503 with Retry-After (RFC 9110, 10.2.3), after which an
	// EventSource gives up.
	Refuse503
	// Refuse204 answers 204, as egg-sse does, after which an EventSource gives up.
	Refuse204
)

// ParseOverLimit reads "retry", "503" or "204".
func ParseOverLimit(s string) (OverLimit, error) {
	switch s {
	case "retry":
		return RefuseRetry, nil
	case "503":
		return Refuse503, nil
	case "204":
		return Refuse204, nil
	}
	return 0, fmt.Errorf("overLimit %q is unknown: use retry, 503 or 204", s)
}
