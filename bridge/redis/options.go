package redis

import (
	"cmp"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"fanfare/bridge/payload"
	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/redisconn"
)

// Options says where Redis is and what to read from it. URL, Names, Engine, and Publish or Fleet are required.
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

	// Fleet, unless it is nil, says that other servers read the same channels and streams, and is used in place of Publish.
	Fleet *Fleet

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

// CheckURL reports what is wrong with a URL. The error never contains any part of the URL, which may hold a password.
// redisconn.ParseURL has its forms.
func CheckURL(text string) error {
	_, err := redisconn.ParseURL(text)
	return err
}

// client returns the options of each connection. Its timeouts are the bridge's own, whatever the URL says.
func (o Options) client() (rueidis.ClientOption, error) {
	c, err := redisconn.ParseURL(o.URL)
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
