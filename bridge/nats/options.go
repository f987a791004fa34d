package nats

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/bridge/payload"
	"fanfare/bridge/relay"
	"fanfare/engine"
)

// Options says where NATS is and what to read from it. URL, Rules, Engine and Publish are required.
type Options struct {
	// URL has the servers' addresses, see CheckURL for their form.
	URL string
	// Credentials is a .creds file. "": none.
	Credentials string
	// Rules are the subjects to subscribe to, and their keys.
	Rules Rules
	// Leads reports whether this node is the one that publishes for its fleet, which keeps the order of the messages. Only that
	// one subscribes. nil: there is no fleet.
	Leads func() bool
	// Succession passes the lead on to another node when this one is closed. nil: Close only stops.
	Succession *relay.Succession
	// Durable says that the events outlive this process, in a log. Clients then resume exactly after a restart, so the first connection
	// reports a gap to all keys, too.
	Durable bool
	// Payload says how messages become events.
	Payload payload.Mode
	// Timeout bounds a connection attempt. A dead connection is noticed within three times this time. Default 2 s.
	Timeout time.Duration

	// Engine lists the keys that exist, for reporting gaps.
	Engine *engine.Engine
	// Publish publishes messages in their order, and returns an error, or nil, for each. Errors are counted by their kind:
	// ErrTooLarge, *engine.LimitError, and all others as invalid.
	Publish func(ctx context.Context, messages []relay.Message) []error
	// Again reports whether a message that failed with the error is to be published again. nil: never.
	Again func(error) bool

	// Registerer registers the metrics. nil: no metrics.
	Registerer prometheus.Registerer
	// Logger logs connections and refused messages. nil: nothing is logged.
	Logger *slog.Logger

	backoffMin, backoffMax time.Duration // 100 ms and 5 s; tests set others
}

// ErrTooLarge is what Options.Publish returns for an event that is larger than allowed.
var ErrTooLarge = errors.New("too large")

func (o Options) withDefaults() Options {
	o.Timeout = cmp.Or(o.Timeout, 2*time.Second)
	o.backoffMin = cmp.Or(o.backoffMin, 100*time.Millisecond)
	o.backoffMax = cmp.Or(o.backoffMax, 5*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// CheckURL reports what is wrong with a list of addresses, joined by commas. The error never contains any part of it, which may
// hold a password. The forms are:
//
//	nats://[USER:PASSWORD@|TOKEN@]HOST[:PORT]
//	tls://…                                    with TLS, verified by the system's certificates
//	ws://…, wss://…                            over WebSocket
func CheckURL(text string) error {
	for one := range strings.SplitSeq(text, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil {
			return errors.New("is not a valid URL: write nats://[USER:PASSWORD@]HOST[:PORT], with %-escapes for special characters " +
				"of the password (%40 for @, %2F for /)")
		}
		if !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return errors.New("must begin with nats:// or tls:// (TLS), also each one after a comma")
		}
		if u.Hostname() == "" {
			return errors.New("has no host: write nats://HOST:PORT")
		}
		if _, port, err := net.SplitHostPort(u.Host); err == nil {
			if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
				return errors.New("has no valid port: write a number from 1 to 65535")
			}
		}
	}
	return nil
}
