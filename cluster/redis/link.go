package redis

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"fanfare/internal/redisconn"
)

// oldestVersion is the first Redis with XTRIM MINID and XADD's options, which the scripts need.
const oldestVersion = "6.2"

// link is a connection to Redis that belongs to one user. It never connects again: after an error the user closes it and dials
// anew, so that a Sentinel is asked again, and another address gets its turn.
type link struct {
	rueidis.Client
	hangUp context.CancelFunc
}

func (k *link) close() {
	k.hangUp() // before Close, which then has nothing to wait for
	k.Client.Close()
}

var errReplica = errors.New("this server is a replica, and a log needs the primary: name the primary in redisURL, or the Sentinels (?master_set=NAME)")

// dial connects to the primary, at the first address that leads to it. The connection ends with ctx. oneNode asks for a connection
// to any one node of a Redis Cluster: a message that is published on one of them reaches the subscribers of all.
func (l *Log) dial(ctx context.Context, oneNode bool) (k *link, err error) {
	if l.client.Sentinel.MasterSet != "" { // rueidis tries the Sentinels in turn
		return l.dialAt(ctx, l.client.InitAddress, oneNode)
	}
	for _, address := range l.client.InitAddress {
		if k, err = l.dialAt(ctx, []string{address}, oneNode); err == nil || ctx.Err() != nil {
			break
		}
	}
	return k, err
}

func (l *Log) dialAt(ctx context.Context, addresses []string, oneNode bool) (k *link, err error) {
	ctx, hangUp := context.WithCancel(ctx)
	defer func() {
		if err != nil {
			hangUp()
		}
	}()
	defer l.recovered(&err)
	o := l.client
	o.DialCtxFn = redisconn.Dialer(ctx, l.client)
	o.InitAddress, o.ForceSingleClient = addresses, true
	client, err := rueidis.NewClient(o)
	if err != nil {
		return nil, err
	}
	k = &link{Client: client, hangUp: hangUp}
	cluster, err := k.hello(ctx, l)
	if err != nil {
		k.close()
		return nil, err
	}
	if !cluster || oneNode {
		return k, nil
	}
	client.Close()
	o.ForceSingleClient = false
	if k.Client, err = rueidis.NewClient(o); err != nil {
		return nil, err
	}
	return k, nil
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
	results := k.DoMulti(ctx,
		k.B().Info().Section("server").Build(),
		k.B().Info().Section("replication").Build(),
		k.B().ConfigGet().Parameter("append*").Build())
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
	return cluster, results[2].NonRedisError()
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
