package redis

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"fanfare/bridge/payload"
	"fanfare/codec"
	"fanfare/engine"
)

// Options says where Redis is and what to read from it. URL, Names, Engine and Publish are required.
type Options struct {
	// URL is the server's address; see CheckURL for its form.
	URL string
	// Names are the channels and streams to read, and their keys.
	Names *Names
	// Payload says how messages become events.
	Payload payload.Mode
	// Timeout bounds a connection attempt, the wait for an answer, and the silence on a connection. A dead connection is
	// noticed within twice this time. Default 5 s.
	Timeout time.Duration
	// MaxStreams is how many streams are read at once. Default 1000.
	MaxStreams int
	// History returns how many of a stream's newest entries to read at the start, and at most how many bytes of them, for
	// the stream's key. Nil: none.
	History func(key string) (entries int, bytes int64)

	// Engine lists the keys that exist, for reporting gaps.
	Engine *engine.Engine
	// Publish publishes an event. It must not keep the event's Data. Errors are counted by their kind: ErrTooLarge,
	// *engine.LimitError, and all others as invalid.
	Publish func(key string, ev codec.Event) error

	// Registerer registers the metrics. Nil: no metrics.
	Registerer prometheus.Registerer
	// Logger logs connections and refused messages. Nil: nothing is logged.
	Logger *slog.Logger

	backoffMin, backoffMax time.Duration // 100 ms and 5 s; tests set others
	pollInterval           time.Duration // 10 s, see streams.pollAll
}

// ErrTooLarge is what Options.Publish returns for an event that is larger than allowed.
var ErrTooLarge = errors.New("too large")

func (o Options) withDefaults() Options {
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	o.MaxStreams = cmp.Or(o.MaxStreams, 1000)
	o.backoffMin = cmp.Or(o.backoffMin, 100*time.Millisecond)
	o.backoffMax = cmp.Or(o.backoffMax, 5*time.Second)
	o.pollInterval = cmp.Or(o.pollInterval, 10*time.Second)
	if o.History == nil {
		o.History = func(string) (int, int64) { return 0, 0 }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// CheckURL reports what is wrong with a URL. The error never contains any part of the URL, which may hold a password. The
// forms are:
//
//	redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]
//	rediss://…                                        with TLS, verified by the system's certificates
//	unix://[[USER]:PASSWORD@]/PATH/TO/SOCKET[?db=DATABASE]
//	redis://…?addr=HOST2:PORT2                        more addresses, tried in turn
//	redis://HOST:26379?master_set=NAME                the master that Sentinels know by this name; Sentinels with a password are
//	                                                  not supported
func CheckURL(text string) error {
	_, err := parseURL(text)
	return err
}

func parseURL(text string) (rueidis.ClientOption, error) {
	u, err := url.Parse(text)
	if err != nil {
		return rueidis.ClientOption{}, errors.New("is not a valid URL: write redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], " +
			"with %-escapes for special characters of the password (%40 for @, %2F for /)")
	}
	switch u.Scheme {
	case "redis", "rediss", "valkey", "valkeys":
		if _, port, err := net.SplitHostPort(u.Host); err == nil {
			if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
				return rueidis.ClientOption{}, errors.New("has no valid port: write a number from 1 to 65535")
			}
		}
		if db := strings.TrimPrefix(u.Path, "/"); db != "" {
			if n, err := strconv.Atoi(db); err != nil || n < 0 {
				return rueidis.ClientOption{}, errors.New("has no valid database after the host: write a number, such as /0; " +
					"special characters of the password need %-escapes (%2F for /)")
			}
		}
		u.Path = strings.TrimSuffix(u.Path, "/")
	case "unix":
		if u.Path == "" || u.Host != "" {
			return rueidis.ClientOption{}, errors.New("has no socket path: write unix:///PATH/TO/SOCKET")
		}
	default:
		return rueidis.ClientOption{}, errors.New("must begin with redis://, rediss:// (TLS) or unix:// (a socket)")
	}
	o, err := rueidis.ParseURL(u.String())
	if err != nil {
		return rueidis.ClientOption{}, errors.New("has an invalid parameter after the ?: " +
			"db and protocol take a number, skip_verify true or false")
	}
	return o, nil
}

// client returns the options of each connection. Its timeouts are the bridge's own, whatever the URL says.
func (o Options) client() (rueidis.ClientOption, error) {
	c, err := parseURL(o.URL)
	if err != nil {
		return c, err
	}
	c.Dialer.Timeout = o.Timeout
	c.Dialer.KeepAlive = max(o.Timeout/2, 10*time.Millisecond) // and the silence after which a PING is sent
	c.ConnWriteTimeout = o.Timeout
	c.ClientName = cmp.Or(c.ClientName, "fanfare")
	c.DisableRetry, c.DisableCache = true, true
	// There is one connection at a time, and its answers are read at once. The defaults are for busier clients.
	c.PipelineMultiplex, c.RingScaleEachConn = -1, 6
	c.ReadBufferEachConn, c.WriteBufferEachConn = 64<<10, 16<<10
	if c.Sentinel.MasterSet != "" {
		c.Sentinel.Dialer, c.Sentinel.TLSConfig = c.Dialer, c.TLSConfig
		c.Sentinel.TopologyRefreshInterval = o.Timeout
	}
	return c, nil
}

// dialer returns a dial function. Its connections are closed when ctx is done, so the end of a session does not wait for a
// silent peer.
func dialer(ctx context.Context, base rueidis.ClientOption) func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	return func(attempt context.Context, addr string, d *net.Dialer, config *tls.Config) (net.Conn, error) {
		attempt, cancel := context.WithCancel(attempt)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		var conn net.Conn
		var err error
		switch {
		case base.DialCtxFn != nil: // a socket of unix://
			conn, err = base.DialCtxFn(attempt, addr, d, config)
		case config != nil:
			conn, err = (&tls.Dialer{NetDialer: d, Config: config}).DialContext(attempt, "tcp", addr)
		default:
			conn, err = d.DialContext(attempt, "tcp", addr)
		}
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		return conn, nil
	}
}
