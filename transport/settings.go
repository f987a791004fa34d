package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"fanfare/transport/internal/api"
	"fanfare/transport/internal/gate"
	"fanfare/transport/internal/stream"
)

// settings are Options with their defaults, and what follows from them. They are
// immutable.
type settings struct {
	Options
	keys    gate.Keys
	origins gate.Origins
	proxies gate.Proxies
	stream  *stream.Config
	// fields are the head's header fields, Connection apart.
	fields [][2]string
	// head is the response head without Date, Connection and the empty line.
	head []byte
	// connection is the Connection field: "close", since the body ends with the
	// connection, unless Headers has another value, which said holds.
	connection, said string
	// tls and adminTLS are Options.TLS and AdminTLS with what is the server's.
	tls, adminTLS *tls.Config
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Check returns the error that NewServer would return for the options.
func (o Options) Check() error {
	_, err := newSettings(o)
	return err
}

func newSettings(o Options) (*settings, error) {
	// Before the defaults, of which some depend on other options: the error names the option that is negative.
	if err := o.checkSigns(); err != nil {
		return nil, err
	}
	setDefault(&o.Path, "/stream")
	setDefault(&o.CacheKey, "@sse/count")
	setDefault(&o.PingInterval, 10*time.Second)
	setDefault(&o.WriteTimeout, 30*time.Second)
	setDefault(&o.IdleTimeout, 90*time.Second)
	setDefault(&o.MinReadRate, 1024)
	setDefault(&o.MaxPinnedBytes, 64<<20)
	setDefault(&o.RetryMin, time.Second)
	setDefault(&o.RetryMax, max(5*time.Second, o.RetryMin))
	setDefault(&o.MaxConnections, 100_000)
	setDefault(&o.MaxIdleConnections, 4096)
	setDefault(&o.MaxAuthorizing, 4096)
	setDefault(&o.MaxKeysPerConnection, 16)
	setDefault(&o.MaxStreamsPerConnection, 250)
	setDefault(&o.MaxKeyBytes, 1024)
	setDefault(&o.MaxRewindEvents, 10_000)
	setDefault(&o.MaxOlderBytes, 256<<20)
	setDefault(&o.MaxEventBytes, 2<<20)
	setDefault(&o.MaxBodyBytes, 16<<20)
	setDefault(&o.MaxBodyTotalBytes, max(4*o.MaxBodyBytes, o.MaxBodyBytes))
	setDefault(&o.MaxBatchLines, 100_000)
	setDefault(&o.MaxAdminConnections, 1000)
	setDefault(&o.MaxIDBytes, 1024)
	setDefault(&o.DuplicateWindow, 30*time.Second)
	setDefault(&o.MaxIdempotencyKeys, 100_000)
	setDefault(&o.DrainRate, 1000)
	setDefault(&o.DrainTimeout, 10*time.Second)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if !strings.HasPrefix(o.Path, "/") || strings.ContainsAny(o.Path, "?# ") {
		return nil, fmt.Errorf("path %q: must begin with / and have no ?, # or space", o.Path)
	}
	if o.Path == "/healthz" || o.Path == "/readyz" {
		return nil, fmt.Errorf("path %q: is that of a health check, which the stream would hide: choose another", o.Path)
	}
	if o.Path == "/" && !o.NoPage {
		return nil, errors.New(`path "/": is that of the built-in page: choose another, or set NoPage`)
	}
	if o.MaxBodyTotalBytes > 0 && o.MaxBodyTotalBytes < o.MaxBodyBytes {
		return nil, fmt.Errorf("maxBodyTotalBytes %d: must not be less than maxBodyBytes %d", o.MaxBodyTotalBytes, o.MaxBodyBytes)
	}
	if o.MaxIDBytes > maxLastID {
		return nil, fmt.Errorf("maxIdBytes %d: must not be more than %d, the longest id that a client may come back with", o.MaxIDBytes, maxLastID)
	}
	if o.RetryMin > o.RetryMax {
		return nil, fmt.Errorf("retryMin %s: must not be more than retryMax %s", o.RetryMin, o.RetryMax)
	}
	if err := o.checkAdminOrigins(); err != nil {
		return nil, err
	}
	origins := gate.Origins{Allowed: o.AllowedOrigins, Credentials: o.AllowCredentials}
	if err := origins.Check(); err != nil {
		return nil, err
	}
	proxies, err := o.trusted()
	if err != nil {
		return nil, err
	}
	for name := range o.Headers {
		if len(o.AllowedOrigins) > 0 && strings.EqualFold(name, "Access-Control-Allow-Origin") {
			return nil, errors.New("headers: Access-Control-Allow-Origin and allowedOrigins are both set: leave one of them out")
		}
		if o.AllowCredentials && strings.EqualFold(name, "Access-Control-Allow-Credentials") {
			return nil, errors.New("headers: Access-Control-Allow-Credentials and allowCredentials are both set: leave the header out")
		}
	}
	set := &settings{
		Options:  o,
		tls:      serverTLS(o.TLS, !o.NoHTTP2),
		adminTLS: serverTLS(o.AdminTLS, false),
		keys:     gate.Keys{Default: o.CacheKey, MaxBytes: o.MaxKeyBytes, MaxCount: o.MaxKeysPerConnection},
		origins:  origins,
		proxies:  proxies,
		stream: &stream.Config{
			PlainIDs:      o.PlainIDs,
			MaxOlderBytes: o.MaxOlderBytes,
			PingInterval:  o.PingInterval,
			WriteTimeout:  o.WriteTimeout,
			MaxLife:       o.MaxLife,
			MaxPerAddress: o.MaxConnectionsPerAddress,
			MaxPerSubject: o.MaxConnectionsPerSubject,

			MaxConnectRate: o.MaxConnectRate, MaxConnectRatePerAddress: o.MaxConnectRatePerAddress,

			MinReadRate:    o.MinReadRate,
			MaxPinnedBytes: o.MaxPinnedBytes,
			Retry:          o.Retry,
			RetryMin:       o.RetryMin,
			RetryMax:       o.RetryMax,
			OnConnect:      onConnect(o.OnConnect),
			OnDisconnect:   onDisconnect(o.OnDisconnect),
			AccessLog:      o.AccessLog,
		},
	}
	if set.stream.Retry == 0 && (o.MaxConnectRate > 0 || o.MaxConnectRatePerAddress > 0) {
		set.stream.Retry = o.RetryMax // or a client would keep the time for which it was sent away
	}
	return set, set.makeHead()
}

// trusted are the proxies that are believed.
func (o *Options) trusted() (gate.Proxies, error) {
	p := gate.Proxies{Prefixes: o.TrustedProxies, Unix: o.TrustUnixSockets, Field: o.ClientAddressField}
	switch o.ClientAddressField {
	case "", gate.XForwardedFor, gate.Forwarded:
	default:
		return p, fmt.Errorf("clientAddressField %q: is unknown: use %s or %s", o.ClientAddressField, gate.XForwardedFor, gate.Forwarded)
	}
	if o.ProxyProtocol && p.None() {
		return p, errors.New("proxyProtocol: needs trustedProxies, the addresses from which connections begin with a PROXY header: set them")
	}
	return p, nil
}

// api are the settings of package api.
func (o *settings) api() *api.Config {
	return &api.Config{
		Path:               o.Path,
		Keys:               o.keys,
		PlainIDs:           o.PlainIDs,
		MaxEventBytes:      o.MaxEventBytes,
		MaxIDBytes:         o.MaxIDBytes,
		RefuseReserved:     o.RefuseReserved,
		MaxBodyBytes:       o.MaxBodyBytes,
		MaxBodyTotalBytes:  o.MaxBodyTotalBytes,
		MaxBatchLines:      o.MaxBatchLines,
		StreamTLS:          o.TLS != nil,
		AdminTLS:           o.AdminTLS != nil,
		PublishToken:       o.PublishToken,
		Identify:           o.IdentifyPublisher,
		NeedsCertificate:   o.AdminTLS != nil && o.AdminTLS.ClientAuth == tls.RequireAndVerifyClientCert,
		MaxPublishRate:     o.MaxPublishRate,
		DuplicateWindow:    o.DuplicateWindow,
		MaxIdempotencyKeys: o.MaxIdempotencyKeys,
		ReadyNeedsBroker:   o.ReadyNeedsBroker,
		AdminOrigins:       o.AdminOrigins,
		Proxies:            o.proxies,
		NoPage:             o.NoPage,
		Mint:               o.Mint,
		Pprof:              o.Pprof,
	}
}

// checkSigns refuses negative numbers and times.
func (o *Options) checkSigns() error {
	for name, v := range map[string]int64{
		"pingInterval": int64(o.PingInterval), "writeTimeout": int64(o.WriteTimeout), "retry": int64(o.Retry),
		"retryMin": int64(o.RetryMin), "retryMax": int64(o.RetryMax), "maxConnections": int64(o.MaxConnections), "minReadRate": int64(o.MinReadRate), "maxLife": int64(o.MaxLife), "maxConnectionsPerAddress": int64(o.MaxConnectionsPerAddress), "maxConnectionsPerSubject": int64(o.MaxConnectionsPerSubject), "maxConnectRate": int64(o.MaxConnectRate), "maxConnectRatePerAddress": int64(o.MaxConnectRatePerAddress), "maxAuthorizing": int64(o.MaxAuthorizing), "maxPinnedBytes": o.MaxPinnedBytes, "maxIdleConnections": int64(o.MaxIdleConnections),
		"maxKeysPerConnection": int64(o.MaxKeysPerConnection), "maxStreamsPerConnection": int64(o.MaxStreamsPerConnection), "maxKeyBytes": int64(o.MaxKeyBytes),
		"maxEventBytes": int64(o.MaxEventBytes), "maxBodyBytes": int64(o.MaxBodyBytes), "drainDelay": int64(o.DrainDelay),
		"drainRate": int64(o.DrainRate), "drainTimeout": int64(o.DrainTimeout), "maxIdBytes": int64(o.MaxIDBytes), "idleTimeout": int64(o.IdleTimeout),
		"maxPublishRate": int64(o.MaxPublishRate), "maxBodyTotalBytes": int64(o.MaxBodyTotalBytes), "maxBatchLines": int64(o.MaxBatchLines), "maxAdminConnections": int64(o.MaxAdminConnections), "maxHeadBytes": int64(o.MaxHeadBytes),
		"duplicateWindow": int64(o.DuplicateWindow), "maxIdempotencyKeys": int64(o.MaxIdempotencyKeys), "maxRewindEvents": int64(o.MaxRewindEvents), "maxOlderBytes": o.MaxOlderBytes,
	} {
		if v < 0 {
			return fmt.Errorf("%s %d: must not be negative; 0 means its default", name, v)
		}
	}
	return nil
}

// makeHead prepares the header fields of a stream, changed as Options.Headers
// says. They are those of egg-sse, except "Transfer-Encoding: off", which HTTP
// clients rightly refuse.
func (o *settings) makeHead() error {
	fields := [][2]string{
		{"Content-Type", "text/event-stream"},
		{"Cache-Control", "no-cache, no-transform"},
		{"Connection", "close"},
		{"X-Accel-Buffering", "no"},
		{"Access-Control-Allow-Origin", "*"},
	}
	if o.origins.Echoed() {
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
// or that would break the stream's framing.
func checkField(name, value string) error {
	for i := range len(name) {
		if c := name[i]; !gate.IsToken(c) {
			return fmt.Errorf("headers: the name %q has the character %q, which RFC 9110 does not allow", name, c)
		}
	}
	if name == "" || strings.ContainsAny(value, "\r\n\x00") {
		return fmt.Errorf("headers: %q needs a name, and a value without CR, LF and NUL", name)
	}
	switch name {
	case "Content-Type", "Content-Length", "Content-Encoding", "Content-Range", "Transfer-Encoding", "Trailer", "Date":
		return fmt.Errorf("headers: %s cannot be set: the stream's framing, coding and type depend on it", name)
	case "Upgrade", "Te", "Keep-Alive", "Proxy-Connection":
		return fmt.Errorf("headers: %s cannot be set: it is about the connection, which belongs to the server (RFC 9110, 7.6.1)", name)
	case "Connection":
		if value != "" && !strings.EqualFold(value, "close") && !strings.EqualFold(value, "keep-alive") {
			return fmt.Errorf("headers: Connection cannot be %q: use close, keep-alive, or nothing to remove the field", value)
		}
	}
	return nil
}

// cors are the fields of an answer that let pages of other origins see it.
func (o *settings) cors(origin string) (fields [][2]string) {
	for _, f := range o.fields {
		if strings.HasPrefix(f[0], "Access-Control-") || f[0] == "Vary" {
			fields = append(fields, f)
		}
	}
	return append(fields, o.origins.Fields(origin)...)
}
