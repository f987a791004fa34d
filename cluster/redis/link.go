package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"fanfare/internal/redisconn"
)

// oldestVersion is the first Redis with XTRIM MINID and XADD's options, which the scripts need.
const oldestVersion = "6.2"

// link is a connection to Redis. It never connects again, although rueidis would: after an error the user closes it and dials anew,
// so that a Sentinel is asked again, and the addresses are tried from the first one.
type link struct {
	rueidis.Client
	dedicated rueidis.DedicatedClient // nil unless dial was asked for it
	release   func()
	hangUp    context.CancelFunc
	sealed    atomic.Bool
	// clock is by how much the server's clock was ahead of this machine's, or a little more. It is unknown for a cluster.
	clock      time.Duration
	clockKnown bool
	users      int  // guarded by Log.sharing, for the shared link
	retired    bool // likewise: close it when it has no users
}

func (k *link) close() {
	k.hangUp() // before Close, which then has nothing to wait for
	if k.dedicated != nil {
		k.dedicated.Close()
		k.release()
	}
	k.Client.Close()
}

// errSealed is why rueidis cannot connect again.
var errSealed = errors.New("the connection to redis was lost, or Sentinels know another primary")

var errReplica = errors.New("this server is a replica, and a log needs the primary: name the primary in redisURL, or the Sentinels (?master_set=NAME)")

// linkKind says what a link is for.
type linkKind uint8

const (
	linkShared    linkKind = iota
	linkDedicated          // with a connection of its own
	linkBus                // likewise, and to any one node of a Redis Cluster: what is published there reaches the subscribers of all
)

// dial connects to the primary, at the first address that leads to it. The connection ends with ctx.
func (l *Log) dial(ctx context.Context, kind linkKind) (k *link, err error) {
	if l.client.Sentinel.MasterSet != "" { // rueidis tries the Sentinels in turn
		return l.dialAt(ctx, l.client.InitAddress, kind)
	}
	for _, address := range l.client.InitAddress {
		if k, err = l.dialAt(ctx, []string{address}, kind); err == nil || ctx.Err() != nil {
			break
		}
	}
	return k, err
}

func (l *Log) dialAt(ctx context.Context, addresses []string, kind linkKind) (k *link, err error) {
	ctx, hangUp := context.WithCancel(ctx)
	defer func() {
		if err != nil {
			hangUp()
		}
	}()
	defer l.recovered(&err)
	k = &link{hangUp: hangUp}
	dial := redisconn.Dialer(ctx, l.client)
	o := l.client
	o.DialCtxFn = func(attempt context.Context, addr string, d *net.Dialer, config *tls.Config) (net.Conn, error) {
		if k.sealed.Load() {
			hangUp() // the user must know
			return nil, errSealed
		}
		conn, err := dial(attempt, addr, d, config)
		abandonable(conn)
		return conn, err
	}
	o.InitAddress, o.ForceSingleClient = addresses, true
	if k.Client, err = rueidis.NewClient(o); err != nil {
		return nil, err
	}
	cluster, err := k.hello(ctx, l)
	if err != nil {
		k.close()
		return nil, err
	}
	if cluster && kind != linkBus {
		k.Client.Close()
		o.ForceSingleClient = false
		if k.Client, err = rueidis.NewClient(o); err != nil {
			return nil, err
		}
	}
	if kind != linkShared {
		k.dedicated, k.release = k.Dedicate()
	}
	k.sealed.Store(!cluster) // the client of a cluster connects to its nodes when it needs them
	return k, nil
}

// abandonable makes Close discard what was not sent yet. Otherwise the kernel would go on trying to send it, for minutes.
func abandonable(conn net.Conn) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

// recovered turns a panic into an error; defer it. rueidis panics on some answers that no Redis gives, and something else that
// listens at the address must not end the process.
func (l *Log) recovered(err *error) {
	if p := recover(); p != nil {
		l.warn("panic", "panic in the redis client: reconnecting", "panic", p, "stack", string(debug.Stack()))
		*err = fmt.Errorf("redis: panic: %v", p)
	}
}

// hello asks the server what it is.
func (k *link) hello(ctx context.Context, l *Log) (cluster bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout)
	defer cancel()
	asked := time.Now()
	results := k.DoMulti(ctx,
		k.B().Info().Section("server").Build(),
		k.B().Info().Section("replication").Build(),
		k.B().ConfigGet().Parameter("append*").Build(),
		k.B().Time().Build(),
		k.B().ConfigGet().Parameter("maxmemory-policy").Build())
	server, err := results[0].ToString()
	if err != nil {
		return false, err
	}
	version := infoField(server, "redis_version")
	if !atLeast(version, oldestVersion) {
		return false, fmt.Errorf("redis %.20q is too old for a log: update it to %s or later", version, oldestVersion)
	}
	cluster = infoField(server, "redis_mode") == "cluster"
	replication, err := results[1].ToString()
	if err != nil {
		return cluster, err
	}
	if !cluster && infoField(replication, "role") != "master" {
		return false, errReplica
	}
	l.setSynced(cluster, results[2])
	if config, err := results[4].AsStrMap(); err == nil { // who may not ask is not warned
		l.warnOfEviction(config["maxmemory-policy"])
	}
	clock, err := results[3].AsIntSlice()
	if err == nil && len(clock) == 2 && !cluster {
		k.clockKnown, k.clock = true, time.Unix(clock[0], clock[1]*1000).Sub(asked)
	}
	return cluster, err
}

// warnOfEviction logs that Redis may delete the log, or the table of repeated messages, when its memory is full.
func (l *Log) warnOfEviction(policy string) {
	if policy != "" && policy != "noeviction" {
		l.warn("eviction", "redis may delete entries of the log when its memory is full: set maxmemory-policy to noeviction", "maxmemory-policy", policy)
	}
}

// now is the time by the server's clock in Unix microseconds, or a little later; 0 if it is unknown.
func (k *link) now() int64 {
	if !k.clockKnown {
		return 0
	}
	return time.Now().Add(k.clock).UnixMicro()
}

// setSynced reads the answer to CONFIG GET append*. Who may not ask gets a new epoch after each restart. So does who uses a Redis
// Cluster, where the answer is that of any one node.
func (l *Log) setSynced(cluster bool, r rueidis.RedisResult) {
	config, err := r.AsStrMap()
	l.synced.Store(err == nil && !cluster && config["appendonly"] == "yes" && config["appendfsync"] == "always")
}

// infoField returns a field of the answer to INFO, "" if it has none.
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// atLeast reports whether a version is not older than another, by its first two numbers.
func atLeast(version, oldest string) bool {
	numbers := func(s string) (n [2]int) {
		for i, part := range strings.SplitN(s, ".", 3)[:min(2, strings.Count(s, ".")+1)] {
			n[i], _ = strconv.Atoi(part)
		}
		return n
	}
	a, b := numbers(version), numbers(oldest)
	return a[0] > b[0] || a[0] == b[0] && a[1] >= b[1]
}

// flag is "1" for true, as the scripts take it.
func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
