package redis

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"fanfare/internal/redisconn"
)

// Options says where the log is and how long it keeps entries. URL is required. All nodes of a fleet need the same Name,
// Partitions, DuplicateWindow and retention.
type Options struct {
	// URL is the address of Redis, of its Sentinels, or of nodes of a Redis Cluster; redisconn.ParseURL has its forms.
	URL string
	// Name begins the names of all keys and channels. Default "fanfare".
	Name string
	// Partitions is how many streams the log has. Default 1.
	Partitions int
	// DuplicateWindow is how long the ID of a message is remembered. Default 30 s.
	DuplicateWindow time.Duration
	// RetentionAge, RetentionBytes and RetentionEntries limit each partition: the age of an entry, the memory, the number of
	// entries. Redis removes blocks of about 100 entries, so it keeps a little more. Default: no limit.
	RetentionAge     time.Duration
	RetentionBytes   int64
	RetentionEntries int64
	// Timeout bounds a connection attempt and the wait for an answer. Default 5 s.
	Timeout time.Duration
	// Logger logs connections and what is wrong with them. Nil: nothing is logged.
	Logger *slog.Logger
}

// maxFrameBytes is the largest frame that the log takes. Redis's own limit is 512 MB (proto-max-bulk-len).
const maxFrameBytes = 128 << 20

// trimInterval is how often the retention is applied.
const trimInterval = time.Second

func (o Options) withDefaults() Options {
	o.Name = cmp.Or(o.Name, "fanfare")
	o.Partitions = cmp.Or(o.Partitions, 1)
	o.DuplicateWindow = cmp.Or(o.DuplicateWindow, 30*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) check() error {
	switch {
	case strings.ContainsAny(o.Name, "{}"):
		return fmt.Errorf("redis: Options.Name %q has braces, which Redis Cluster reads as a hash tag: leave them out", o.Name)
	case o.Partitions < 0:
		return fmt.Errorf("redis: Options.Partitions is %d: use 1 or more", o.Partitions)
	case o.DuplicateWindow < 0, o.RetentionAge < 0, o.RetentionBytes < 0, o.RetentionEntries < 0, o.Timeout < 0:
		return errors.New("redis: Options has a negative time or limit: use 0 for the default")
	}
	return nil
}

// client returns the options of each connection.
func (o Options) client() (rueidis.ClientOption, error) {
	c, err := redisconn.ParseURL(o.URL)
	if err != nil {
		return c, errors.New("redis: Options.URL " + err.Error())
	}
	c.Dialer.Timeout = o.Timeout
	c.Dialer.KeepAlive = max(o.Timeout/2, 10*time.Millisecond) // and the silence after which a PING is sent
	c.ConnWriteTimeout = o.Timeout
	c.ClientName = cmp.Or(c.ClientName, "fanfare-log")
	c.DisableRetry, c.DisableCache = true, true
	c.PipelineMultiplex, c.RingScaleEachConn = -1, 8
	c.ReadBufferEachConn, c.WriteBufferEachConn = 64<<10, 64<<10
	c.Sentinel.Dialer, c.Sentinel.TLSConfig = c.Dialer, c.TLSConfig
	return c, nil
}

// names are the names of a partition's keys in Redis.
type names struct{ stream, facts, id string }

func (o Options) names(partition int) names {
	stream := "{" + o.Name + ":" + strconv.Itoa(partition) + "}"
	return names{stream: stream, facts: stream + ":facts", id: stream + ":id:"}
}
