package transport

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
	"time"
)

// Options configure a Server. The zero value of every field is its default.
// All but MaxConnections and Logger can be changed while serving, see
// Server.Reconfigure.
type Options struct {
	// Path is where streams are. Default "/stream".
	Path string
	// Headers are added to the head of a stream, or replace one of its defaults
	// (Cache-Control, Connection, X-Accel-Buffering, Access-Control-Allow-Origin);
	// an empty value removes one.
	Headers map[string]string
	// CacheKey is the key of requests that name none. Default "@sse/count".
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
	// IdleTimeout is how long a connection without a stream is kept between two
	// requests. Default 90 s: longer than the 60 s for which proxies keep theirs,
	// so that it is not the server that closes under a request.
	IdleTimeout time.Duration
	// Retry is the reconnection time that streams begin with. Default none.
	Retry time.Duration
	// RetryMin and RetryMax bound the random reconnection time that clients get
	// when they are refused for now or when the server drains. Default 1 s, 5 s.
	RetryMin, RetryMax time.Duration
	// OverLimit is the answer to a subscriber that a limit refuses.
	OverLimit OverLimit

	// MaxConnections bounds the streams open at once. Default 100,000; cmd/fanfare
	// derives it from RLIMIT_NOFILE.
	MaxConnections int
	// MaxKeysPerConnection bounds the keys of one stream. Default 16.
	MaxKeysPerConnection int
	// MaxKeyBytes bounds the length of a key. Default 1024.
	MaxKeyBytes int
	// MaxEventBytes bounds one finished frame. Default 2 MiB.
	MaxEventBytes int
	// MaxIDBytes bounds a publisher's own id, at most 4096: clients come back with
	// it in a header field. Default 1024.
	MaxIDBytes int
	// RefuseReserved refuses events named error, open, gap or position, which
	// clients take for something else. Default: a warning in the log.
	RefuseReserved bool
	// MaxBodyBytes bounds a request body on the admin listener. Default 16 MiB.
	MaxBodyBytes int

	// DrainDelay is the time between turning readiness off and ending the first
	// stream. Default 0.
	DrainDelay time.Duration
	// DrainRate is how many streams per second a drain ends, more if DrainTimeout
	// needs it. Default 1000.
	DrainRate int
	// DrainTimeout is when a drain ends the last stream. Default 10 s.
	DrainTimeout time.Duration

	// NoPage switches off the built-in page at "/".
	NoPage bool
	// PublishToken is what requests to the admin listener must bring as
	// "Authorization: Bearer …". Default none: then only loopback may be bound.
	PublishToken string
	// AdminOrigins are the browser origins ("https://example.com") that may call
	// the admin listener, besides that of the built-in page; "*" is any, and
	// needs a PublishToken.
	AdminOrigins []string
	// AllowedOrigins are the browser origins whose pages may read streams:
	// "https://app.example", or "https://*.example.com" for those below it. The
	// request's origin is echoed if it is one of them. Default: every origin.
	AllowedOrigins []string
	// AllowCredentials lets those pages send cookies (withCredentials). It needs
	// AllowedOrigins without "*".
	AllowCredentials bool
	// TrustedProxies are the addresses of proxies
	// whose X-Forwarded-For tells the client's address in the log. Default none:
	// the field is passed over, since any client can send one.
	TrustedProxies []netip.Prefix
	// Pprof serves /debug/pprof/ on the admin listener.
	Pprof bool
	// AccessLog logs each stream when it ends: why, the client's address, keys,
	// user agent, events and bytes written, events still waiting, seconds. It costs
	// some 300 bytes more for each stream.
	AccessLog bool
	// Logger gets what the server has to say. Default slog.Default().
	Logger *slog.Logger
}

// OverLimit is how a subscriber is refused that is over a limit.
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

// settings are Options with defaults applied and what follows from them made
// once. They are immutable.
type settings struct {
	Options
	// fields are the head's header fields, Connection apart.
	fields [][2]string
	// head is the response head without Date, Connection and the empty line.
	head []byte
	// connection is the Connection field. The body ends with the connection, so
	// that it is "close", unless Headers say otherwise; said is what they say.
	connection, said string
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

func newSettings(o Options) (*settings, error) {
	setDefault(&o.Path, "/stream")
	setDefault(&o.CacheKey, "@sse/count")
	setDefault(&o.PingInterval, 10*time.Second)
	setDefault(&o.WriteTimeout, 30*time.Second)
	setDefault(&o.IdleTimeout, 90*time.Second)
	setDefault(&o.RetryMin, time.Second)
	setDefault(&o.RetryMax, max(5*time.Second, o.RetryMin))
	setDefault(&o.MaxConnections, 100_000)
	setDefault(&o.MaxKeysPerConnection, 16)
	setDefault(&o.MaxKeyBytes, 1024)
	setDefault(&o.MaxEventBytes, 2<<20)
	setDefault(&o.MaxBodyBytes, 16<<20)
	setDefault(&o.MaxIDBytes, 1024)
	setDefault(&o.DrainRate, 1000)
	setDefault(&o.DrainTimeout, 10*time.Second)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if !strings.HasPrefix(o.Path, "/") || strings.ContainsAny(o.Path, "?# ") {
		return nil, fmt.Errorf("path %q: must begin with / and have no ?, # or space", o.Path)
	}
	if o.MaxIDBytes > maxLastID {
		return nil, fmt.Errorf("maxIdBytes %d: must not be more than %d, the longest id that a client may come back with", o.MaxIDBytes, maxLastID)
	}
	if o.RetryMin > o.RetryMax {
		return nil, fmt.Errorf("retryMin %s: must not be more than retryMax %s", o.RetryMin, o.RetryMax)
	}
	if slices.Contains(o.AdminOrigins, anyOrigin) && o.PublishToken == "" {
		return nil, errors.New(`adminOrigins "*": every page that a browser here opens could publish: set publishToken, or name the origins`)
	}
	if err := o.checkOrigins(); err != nil {
		return nil, err
	}
	if err := o.checkSigns(); err != nil {
		return nil, err
	}
	st := &settings{Options: o}
	return st, st.makeHead()
}

// checkSigns refuses numbers and times below zero, which mean nothing.
func (o *Options) checkSigns() error {
	for name, v := range map[string]int64{
		"pingInterval": int64(o.PingInterval), "writeTimeout": int64(o.WriteTimeout), "retry": int64(o.Retry),
		"retryMin": int64(o.RetryMin), "retryMax": int64(o.RetryMax), "maxConnections": int64(o.MaxConnections),
		"maxKeysPerConnection": int64(o.MaxKeysPerConnection), "maxKeyBytes": int64(o.MaxKeyBytes),
		"maxEventBytes": int64(o.MaxEventBytes), "maxBodyBytes": int64(o.MaxBodyBytes), "drainDelay": int64(o.DrainDelay),
		"drainRate": int64(o.DrainRate), "drainTimeout": int64(o.DrainTimeout), "maxIdBytes": int64(o.MaxIDBytes), "idleTimeout": int64(o.IdleTimeout),
	} {
		if v < 0 {
			return fmt.Errorf("%s %d: must not be negative; 0 means its default", name, v)
		}
	}
	return nil
}

// makeHead prepares the header fields of a stream: egg-sse's, but for
// "Transfer-Encoding: off", which HTTP clients rightly refuse, changed as
// Options.Headers says.
func (o *settings) makeHead() error {
	fields := [][2]string{
		{"Content-Type", "text/event-stream"},
		{"Cache-Control", "no-cache, no-transform"},
		{"Connection", "close"},
		{"X-Accel-Buffering", "no"},
		{"Access-Control-Allow-Origin", "*"},
	}
	if o.echoesOrigin() {
		// Its value is the request's origin.
		fields = slices.DeleteFunc(fields, func(f [2]string) bool { return f[0] == "Access-Control-Allow-Origin" })
	}
	names := make([]string, 0, len(o.Headers))
	for name := range o.Headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		value := o.Headers[name]
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		if err := checkField(canonical, value); err != nil {
			return err
		}
		if canonical == "Connection" {
			if strings.EqualFold(value, "keep-alive") {
				continue // the default of egg-sse, whose plugin passes it on whether it is meant or not
			}
			o.said = value
		}
		i := slices.IndexFunc(fields, func(f [2]string) bool { return f[0] == canonical })
		switch {
		case i >= 0 && value == "":
			fields = slices.Delete(fields, i, i+1)
		case i >= 0:
			fields[i][1] = value
		case value != "":
			fields = append(fields, [2]string{canonical, value})
		}
	}
	o.head = []byte("HTTP/1.1 200 OK\r\n")
	for _, f := range fields {
		if f[0] == "Connection" {
			o.connection = f[1]
			continue
		}
		o.fields = append(o.fields, f)
		o.head = fmt.Appendf(o.head, "%s: %s\r\n", f[0], f[1])
	}
	return nil
}

// checkField refuses a header field that RFC 9110, 5.1 and 5.5, does not allow,
// or that would break the stream.
func checkField(name, value string) error {
	for i := range len(name) {
		if c := name[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return fmt.Errorf("headers: the name %q has the character %q, which RFC 9110 does not allow", name, c)
		}
	}
	if name == "" || strings.ContainsAny(value, "\r\n\x00") {
		return fmt.Errorf("headers: %q needs a name, and a value without CR, LF and NUL", name)
	}
	switch name {
	case "Content-Type", "Content-Length", "Transfer-Encoding", "Date":
		return fmt.Errorf("headers: %s cannot be set: the stream's framing and type depend on it", name)
	}
	return nil
}
