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

// Options say where Redis is and what is read from it. URL, Names, Engine and Publish are required.
type Options struct {
	// URL of the server, see CheckURL.
	URL string
	// Names are the channels and streams, and the keys that they become.
	Names *Names
	// Payload says how messages become events.
	Payload payload.Mode
	// Timeout bounds a connection attempt, an answer, and the silence of a connection: a dead one is noticed within
	// twice this time. Default 5 s.
	Timeout time.Duration
	// MaxStreams is how many streams are read at once. Default 1000.
	MaxStreams int
	// History returns how many of a stream's newest entries are read at the start, and how many bytes of them at most,
	// for its key. Nil: none are.
	History func(key string) (entries int, bytes int64)

	// Engine is asked for the keys that exist, when a gap is to be told.
	Engine *engine.Engine
	// Publish publishes an event, whose Data it must not keep. Errors are counted by their kind: ErrTooLarge,
	// *engine.LimitError, and others as invalid.
	Publish func(key string, ev codec.Event) error

	// Registerer takes the metrics. Nil: there are none.
	Registerer prometheus.Registerer
	// Logger is told of connections and of what is refused. Nil: nobody is.
	Logger *slog.Logger

	backoffMin, backoffMax time.Duration // 100 ms and 5 s; tests have others
	lookInterval           time.Duration // 10 s, see streams.look
}

// ErrTooLarge is for Options.Publish: the event is larger than is allowed.
var ErrTooLarge = errors.New("too large")

func (o Options) withDefaults() Options {
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	o.MaxStreams = cmp.Or(o.MaxStreams, 1000)
	o.backoffMin = cmp.Or(o.backoffMin, 100*time.Millisecond)
	o.backoffMax = cmp.Or(o.backoffMax, 5*time.Second)
	o.lookInterval = cmp.Or(o.lookInterval, 10*time.Second)
	if o.History == nil {
		o.History = func(string) (int, int64) { return 0, 0 }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// CheckURL says what is wrong with a URL, and never repeats any part of it: it may hold a password.
//
//	redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]
//	rediss://…                                        with TLS, by the system's certificates
//	unix://[[USER]:PASSWORD@]/PATH/TO/SOCKET[?db=DATABASE]
//	redis://…?addr=HOST2:PORT2                        more addresses, tried in turn
//	redis://HOST:26379?master_set=NAME                the master that Sentinels know by this name; they ask for no password
func CheckURL(text string) error {
	_, err := parseURL(text)
	return err
}

func parseURL(text string) (rueidis.ClientOption, error) {
	u, err := url.Parse(text)
	if err != nil {
		return rueidis.ClientOption{}, errors.New("is not a URL: write redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], " +
			"with %-escapes for special characters of the password (%40 for @, %2F for /)")
	}
	switch u.Scheme {
	case "redis", "rediss", "valkey", "valkeys":
		if _, port, err := net.SplitHostPort(u.Host); err == nil {
			if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
				return rueidis.ClientOption{}, errors.New("has no valid port: 1 to 65535")
			}
		}
		if db := strings.TrimPrefix(u.Path, "/"); db != "" {
			if n, err := strconv.Atoi(db); err != nil || n < 0 {
				return rueidis.ClientOption{}, errors.New("has no valid database after the host: a number such as /0; " +
					"special characters of the password need %-escapes (%2F for /)")
			}
		}
		u.Path = strings.TrimSuffix(u.Path, "/")
	case "unix":
		if u.Path == "" || u.Host != "" {
			return rueidis.ClientOption{}, errors.New("has no path of a socket: write unix:///PATH/TO/SOCKET")
		}
	default:
		return rueidis.ClientOption{}, errors.New("must begin with redis://, rediss:// (TLS) or unix:// (a socket)")
	}
	o, err := rueidis.ParseURL(u.String())
	if err != nil {
		return rueidis.ClientOption{}, errors.New("has a parameter after the ? that is not valid: " +
			"db and protocol take a number, skip_verify true or false")
	}
	return o, nil
}

// client is what each connection is made with. Timeouts are the bridge's own, whatever the URL says.
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
	// One connection at a time, and its answers are read at once: the defaults are for busier clients.
	c.PipelineMultiplex, c.RingScaleEachConn = -1, 6
	c.ReadBufferEachConn, c.WriteBufferEachConn = 64<<10, 16<<10
	if c.Sentinel.MasterSet != "" {
		c.Sentinel.Dialer, c.Sentinel.TLSConfig = c.Dialer, c.TLSConfig
		c.Sentinel.TopologyRefreshInterval = o.Timeout
	}
	return c, nil
}

// dialer returns a dial function whose connections are closed when ctx is done, so that nothing waits for a silent peer
// at the end of a session.
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
