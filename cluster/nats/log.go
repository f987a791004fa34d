package nats

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"golang.org/x/sync/semaphore"

	"fanfare/cluster"
	"fanfare/internal/ratelog"
)

const (
	// oldestServer is the oldest server whose JetStream has what the log needs: direct reads by subject in batches, metadata
	// of streams. goodServer has the fixes for lost and stale replicas that a cluster needs.
	oldestServer = "2.11.0"
	goodServer   = "2.12.3"

	// A connection that is open but silent, because its server is paused or the network is cut, is found out after pings.
	pingInterval = 2 * time.Second
	maxPings     = 2
	writeTimeout = 5 * time.Second

	reconnectWait  = 250 * time.Millisecond
	connectTimeout = 3 * time.Second
	apiTimeout     = 5 * time.Second
	flushTimeout   = time.Second
	logInterval    = 10 * time.Second

	// headerRoom is what the headers of a message may take of max_payload: the version line, Nats-Msg-Id, the condition.
	headerRoom = 512
)

// Log is a cluster.Log in JetStream streams, and a cluster.Bus on the same connection. Make one with Open.
type Log struct {
	o        Options
	log      *slog.Logger
	limiter  *ratelog.Limiter
	nc       *natsgo.Conn
	subjects subjects

	maxBytes atomic.Int64 // see MaxBytes
	created  []atomic.Pointer[string]
	domain   atomic.Pointer[string] // of the JetStream that has the streams, as its newest STREAM.INFO says

	inbox   string // begins the subjects of acknowledgments
	flights flights
	budget  *semaphore.Weighted

	// link is closed when the connection is lost, and another takes its place when there is one again. It guards up, too.
	mu   sync.Mutex
	link chan struct{}
	up   chan struct{} // closed while the connection is there

	closeOnce sync.Once
	closed    chan struct{}
}

var (
	_ cluster.Log = (*Log)(nil)
	_ cluster.Bus = (*Log)(nil)
)

// errLost ends what waits for an answer of a connection that is gone.
var errLost = errors.New("the connection to NATS is lost")

// Open connects, checks the server, and creates or updates the streams. It tries until ctx is done while no server can be
// reached, and returns an error at once if a server refuses what is asked.
func Open(ctx context.Context, o Options) (*Log, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Log{
		o: o, log: o.Logger, limiter: ratelog.New(logInterval), subjects: subjects{o.prefix()},
		created: make([]atomic.Pointer[string], o.Partitions), inbox: natsgo.NewInbox(),
		budget: semaphore.NewWeighted(maxInFlight), link: make(chan struct{}), up: make(chan struct{}), closed: make(chan struct{}),
	}
	l.flights.init()
	l.domain.Store(new(string))
	if o.Credentials != "" { // otherwise the client's error would seem to be one of the address
		if _, err := os.ReadFile(o.Credentials); err != nil {
			return nil, fmt.Errorf("natsCredentials: cannot be read: %w: name a credentials file that this user may read", err)
		}
	}
	if err := l.connect(ctx); err != nil {
		return nil, err
	}
	if err := l.prepare(ctx); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// prepare is everything after the first connection.
func (l *Log) prepare(ctx context.Context) error {
	if err := checkVersion(l.nc.ConnectedServerVersion()); err != nil {
		return err
	}
	if !atLeast(l.nc.ConnectedServerVersion(), goodServer) {
		l.log.Warn("the NATS server is old: update it, later versions lose fewer replicas",
			"version", l.nc.ConnectedServerVersion(), "recommended", goodServer)
	}
	if _, err := l.nc.Subscribe(l.inbox+".*", l.acknowledged); err != nil {
		return err
	}
	if err := l.ensureStreams(ctx); err != nil {
		return err
	}
	if l.o.MaxEventBytes > l.MaxBytes() {
		l.log.Warn("the NATS server takes smaller messages than maxEventBytes allows: "+
			"raise its max_payload, or events in between are refused",
			"maxEventBytes", l.o.MaxEventBytes, "max_payload", l.nc.MaxPayload(), "largest", l.MaxBytes())
	}
	return nil
}

// connect tries until there is a connection, ctx is done, or a server refuses the login.
func (l *Log) connect(ctx context.Context) error {
	options := []natsgo.Option{
		natsgo.Name(l.o.Name), natsgo.MaxReconnects(-1), natsgo.ReconnectWait(reconnectWait),
		natsgo.ReconnectJitter(reconnectWait, reconnectWait),
		natsgo.ReconnectBufSize(-1), natsgo.PingInterval(pingInterval), natsgo.MaxPingsOutstanding(maxPings),
		natsgo.FlusherTimeout(writeTimeout), natsgo.Timeout(connectTimeout), natsgo.IgnoreAuthErrorAbort(),
		natsgo.DisconnectErrHandler(l.disconnected), natsgo.ReconnectHandler(l.reconnected), natsgo.ErrorHandler(l.asyncError),
	}
	if l.o.Credentials != "" {
		options = append(options, natsgo.UserCredentials(l.o.Credentials))
	}
	if l.o.TLS != nil {
		options = append(options, natsgo.Secure(l.o.TLS))
	}
	options = append(options, natsgo.SetCustomDialer(&dialer{net.Dialer{Timeout: connectTimeout}}))
	options = append(options, l.o.dial...)
	for {
		nc, err := natsgo.Connect(l.o.URL, options...)
		if err == nil {
			l.mu.Lock()
			l.nc = nc
			close(l.up)
			l.mu.Unlock()
			return nil
		}
		if final(err) {
			return fmt.Errorf("natsURL %s: %w", redact(l.o.URL), explain(err))
		}
		l.limiter.Log(l.log, slog.LevelWarn, "connect", "no NATS server can be reached: trying again", "url", redact(l.o.URL), "err", err,
			"hint", hint(err))
		select {
		case <-ctx.Done():
			return fmt.Errorf("natsURL %s: no server can be reached: %w", redact(l.o.URL), err)
		case <-time.After(reconnectWait):
		}
	}
}

// final reports whether another attempt would fail like this one.
func final(err error) bool {
	for _, refused := range []error{
		natsgo.ErrAuthorization, natsgo.ErrAuthExpired, natsgo.ErrAuthRevoked, natsgo.ErrAccountAuthExpired, natsgo.ErrSecureConnRequired,
		natsgo.ErrSecureConnWanted, natsgo.ErrNkeysNotSupported,
	} {
		if errors.Is(err, refused) {
			return true
		}
	}
	text := err.Error()
	return strings.Contains(text, "nats: error parsing") || strings.Contains(text, "couldn't find") ||
		strings.Contains(text, "nats: Authorization Violation") || strings.Contains(text, "no such file") ||
		strings.Contains(text, "certificate")
}

func explain(err error) error {
	switch {
	case errors.Is(err, natsgo.ErrAuthorization):
		return fmt.Errorf("the server refuses the login: check natsCredentials, or the user in the address: %w", err)
	case errors.Is(err, natsgo.ErrSecureConnWanted):
		return fmt.Errorf("the server does not speak TLS: write nats:// in natsURL, or switch TLS on in the server: %w", err)
	case errors.Is(err, natsgo.ErrSecureConnRequired):
		return fmt.Errorf("the server requires TLS: write tls:// in natsURL: %w", err)
	}
	return err
}

// hint says what to do about an error of a connection that is tried again.
func hint(err error) string {
	if errors.Is(err, natsgo.ErrNoServers) {
		return "nothing answers at that address: start nats-server, or correct natsURL"
	}
	return "check that a NATS server listens at that address, or correct natsURL"
}

// redact hides what stands before the host of each address.
func redact(urls string) string {
	parts := strings.Split(urls, ",")
	for i, part := range parts {
		scheme, rest, ok := strings.Cut(part, "://")
		if !ok {
			scheme, rest = "", part
		}
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			rest = "xxxxx@" + rest[at+1:]
		}
		if ok {
			rest = scheme + "://" + rest
		}
		parts[i] = rest
	}
	return strings.Join(parts, ",")
}

func (l *Log) disconnected(nc *natsgo.Conn, err error) {
	l.mu.Lock()
	select {
	case <-l.up:
		close(l.link)
		l.link, l.up = make(chan struct{}), make(chan struct{})
	default:
	}
	l.mu.Unlock()
	if !l.isClosed() {
		l.log.Warn("the connection to NATS is lost: reconnecting", "url", redact(l.o.URL), "err", err)
	}
}

func (l *Log) reconnected(nc *natsgo.Conn) {
	l.mu.Lock()
	select {
	case <-l.up:
	default:
		close(l.up)
	}
	l.mu.Unlock()
	l.log.Info("connected to NATS again", "server", nc.ConnectedServerName(), "address", nc.ConnectedAddr(),
		"version", nc.ConnectedServerVersion())
	if err := checkVersion(nc.ConnectedServerVersion()); err != nil {
		l.log.Error(err.Error(), "server", nc.ConnectedServerName(), "address", nc.ConnectedAddr())
	}
}

// asyncError logs what the server says outside of answers, such as missing permissions.
func (l *Log) asyncError(_ *natsgo.Conn, sub *natsgo.Subscription, err error) {
	if l.isClosed() {
		return
	}
	text := err.Error()
	kind := text
	if i := strings.IndexByte(text, '"'); i >= 0 {
		kind = text[:i] // not one kind for each subject
	}
	l.limiter.Log(l.log, slog.LevelError, kind, "NATS reports an error", "err", err)
}

// state returns a channel that is closed when the connection is lost, and one that is closed while it is there.
func (l *Log) state() (link, up <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.link, l.up
}

// Partitions is the number of streams.
func (l *Log) Partitions() int { return l.o.Partitions }

// Retention returns the limits of each stream.
func (l *Log) Retention() cluster.Retention {
	return cluster.Retention{Age: l.o.MaxAge, Bytes: l.o.MaxBytes}
}

// Connected reports whether a server can be reached now.
func (l *Log) Connected() bool { return l.nc.IsConnected() }

// MaxBytes is the largest frame that the server and the streams take.
func (l *Log) MaxBytes() int {
	limit := l.nc.MaxPayload()
	if streams := l.maxBytes.Load(); streams > 0 && streams < limit {
		limit = streams
	}
	return int(max(limit-headerRoom, 0))
}

// Close ends the connection, and with it everything that waits.
func (l *Log) Close() {
	l.closeOnce.Do(func() {
		close(l.closed)
		if l.nc.IsConnected() {
			_ = l.nc.FlushTimeout(flushTimeout) // what was sent last, such as a node's farewell: see dialer
		}
		l.nc.Close()
	})
}

func (l *Log) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

func checkVersion(version string) error {
	if atLeast(version, oldestServer) {
		return nil
	}
	return fmt.Errorf("the NATS server has version %s, older than %s: update it, to %s or later if you can "+
		"(Debian's package is older; the downloads of nats.io are not)", version, oldestServer, goodServer)
}

// atLeast compares versions such as 2.12.3-RC.1 by their numbers.
func atLeast(version, want string) bool {
	a, b := versionNumbers(version), versionNumbers(want)
	for i := range a {
		if a[i] != b[i] {
			return a[i] > b[i]
		}
	}
	return true
}

func versionNumbers(version string) (n [3]int) {
	version, _, _ = strings.Cut(strings.TrimPrefix(version, "v"), "-")
	for i, part := range strings.SplitN(version, ".", 3) {
		n[i], _ = strconv.Atoi(part)
	}
	return n
}

// randomName returns a name that nobody else has.
func randomName() string { return rand.Text() }
