package redis

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"fanfare/cluster"
	"fanfare/internal/ratelog"
	"fanfare/internal/redisconn"
)

// Log is a cluster.Log on Redis streams. Make one with New.
//
// Each partition has a connection for appends (appender) and one for each Read. Everything else shares one.
type Log struct {
	o          Options
	client     rueidis.ClientOption
	partitions []*partition
	bus        *bus
	limiter    *ratelog.Limiter
	connected  atomic.Bool // as the keeper saw it last
	synced     atomic.Bool // Redis confirms only what is on disk, as the newest connection or the keeper saw it last

	ctx   context.Context // done after Close
	close context.CancelFunc
	done  sync.WaitGroup

	sharing sync.Mutex // held while the shared link is dialed, not while it is used
	shared  *link      // nil: dial it
}

// partition is what the log knows of one stream.
type partition struct {
	names
	number   int
	appender *appender
	// epoch is the epoch that the caller of State and Read knows, as the entries have it; nil before State.
	epoch atomic.Pointer[string]
}

var _ cluster.Log = (*Log)(nil)

// New checks the options and begins to connect, in goroutines that Close ends. Errors name the option at fault and never contain
// the URL.
func New(o Options) (*Log, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	client, err := o.client()
	if err != nil {
		return nil, err
	}
	l := &Log{o: o, client: client, limiter: ratelog.New(time.Minute)}
	l.ctx, l.close = context.WithCancel(context.Background())
	l.bus = newBus(l)
	for i := range o.Partitions {
		p := &partition{names: o.names(i), number: i}
		p.appender = newAppender(l, p)
		l.partitions = append(l.partitions, p)
		l.done.Go(p.appender.run)
	}
	l.done.Go(l.keep)
	return l, nil
}

// Close ends all connections. Appends that wait are answered.
func (l *Log) Close() {
	l.bus.flush()
	l.close()
	l.done.Wait()
	l.retire(nil)
}

// Partitions is the number of streams.
func (l *Log) Partitions() int { return len(l.partitions) }

// Retention says that the epoch is in the log's facts, which retention does not remove.
func (l *Log) Retention() cluster.Retention {
	return cluster.Retention{Age: l.o.RetentionAge, Bytes: l.o.RetentionBytes, KeepsEpoch: true}
}

// MaxBytes is the largest frame that the log takes, in bytes.
func (l *Log) MaxBytes() int { return maxFrameBytes }

// Connected reports whether Redis answered when it was last asked, at most some seconds ago.
func (l *Log) Connected() bool { return l.connected.Load() }

// Check connects once, and returns what is wrong with the server or with the options: a wrong password, a version that is too old,
// another number of partitions (ErrPartitions).
func (l *Log) Check(ctx context.Context) error {
	for i := range l.partitions {
		if _, err := l.State(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) warn(kind, msg string, args ...any) {
	l.limiter.Log(l.o.Logger, slog.LevelWarn, kind, msg, args...)
}

// explain logs why a connection has failed.
func (l *Log) explain(err error) {
	reason, hint := redisconn.Explain(err)
	if errors.Is(err, errMoved) {
		return // the caller of Read sees to it
	}
	args := []any{"reason", reason, "error", err}
	if hint != "" {
		args = append(args, "hint", hint)
	}
	l.warn("failed:"+reason, "the log in redis cannot be reached: trying again", args...)
}

// use runs do with the shared link, and closes the link if it is not good any more.
func (l *Log) use(ctx context.Context, do func(ctx context.Context, k *link) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout)
	defer cancel()
	k, err := l.share()
	if err != nil {
		return err
	}
	defer func() {
		if !stays(err) && !errors.Is(err, context.Canceled) {
			l.retire(k)
			k.hangUp() // for its other users, too
		}
		l.unshare(k)
	}()
	defer l.recovered(&err)
	return do(ctx, k)
}

// share returns the shared link. Its user calls unshare.
func (l *Log) share() (*link, error) {
	l.sharing.Lock()
	defer l.sharing.Unlock()
	if l.shared == nil {
		k, err := l.dial(l.ctx, linkShared)
		if err != nil {
			return nil, err
		}
		l.shared = k
	}
	l.shared.users++
	return l.shared, nil
}

func (l *Log) unshare(k *link) {
	l.sharing.Lock()
	defer l.sharing.Unlock()
	if k.users--; k.users == 0 && k.retired {
		k.close()
	}
}

// retire makes the next user dial anew, if k is the shared link; nil is whichever it is. The link is closed when nobody uses it any
// more.
func (l *Log) retire(k *link) {
	l.sharing.Lock()
	defer l.sharing.Unlock()
	if l.shared == nil || k != nil && k != l.shared {
		return
	}
	k, l.shared = l.shared, nil
	if k.retired = true; k.users == 0 {
		k.close()
	}
}

// renew makes everything of a partition connect anew, after a Read has ended. The reader may have come to another server than the
// one that the other connections lead to: both may think that they are the primary. State must be asked where Read has been.
func (l *Log) renew(p *partition) {
	p.appender.renew.Store(true)
	l.retire(nil)
}

// keep applies the retention, notices a lost connection, and tells by State that a server is not safe any more.
func (l *Log) keep() {
	for {
		err := l.tick()
		if l.ctx.Err() != nil {
			return
		}
		if was := l.connected.Swap(err == nil); err == nil && !was {
			l.o.Logger.Info("the log in redis is connected", "name", l.o.Name, "partitions", l.o.Partitions)
		}
		pause := trimInterval
		if err != nil {
			l.explain(err)
			pause = 100*time.Millisecond + rand.N(400*time.Millisecond)
		}
		select {
		case <-l.ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func (l *Log) tick() error {
	err := l.use(l.ctx, func(ctx context.Context, k *link) error {
		r := k.Do(ctx, k.B().ConfigGet().Parameter("append*").Build()) // it can change while Redis runs
		l.setSynced(k.Mode() == rueidis.ClientModeCluster, r)
		return r.NonRedisError()
	})
	if err != nil {
		return err
	}
	for _, p := range l.partitions {
		if _, err := l.read(l.ctx, p, 0); err != nil {
			return err
		}
		err := l.use(l.ctx, func(ctx context.Context, k *link) error {
			_, err := trimScript.run(ctx, k, []string{p.stream, p.facts}, []string{
				strconv.FormatInt(l.o.RetentionAge.Milliseconds(), 10),
				strconv.FormatInt(l.o.RetentionBytes, 10),
				strconv.FormatInt(l.o.RetentionEntries, 10),
				strconv.FormatInt(trimInterval.Milliseconds(), 10),
				strconv.Itoa(mostTrimmed),
			})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// mostTrimmed bounds the work of one trim: removing 100,000 entries takes Redis some 5 ms.
const mostTrimmed = 100_000
