package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/cluster"
	"fanfare/cluster/nats"
	"fanfare/cluster/redis"
	"fanfare/cmd/fanfare/config"
	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/redisconn"
)

// backplane is this node's part in the fleet, and the log that it reads. A nil backplane is that of a server without one: its
// methods do nothing.
type backplane struct {
	node    *cluster.Node
	log     cluster.Log
	fleet   bool // there may be other nodes
	name    string
	metrics *prometheus.Registry // of the node
}

// openBackplane makes the log and the node that the settings ask for; nil if they ask for none. It waits for the broker until ctx is
// done.
func openBackplane(ctx context.Context, c *config.Config, eng *engine.Engine, logger *slog.Logger) (*backplane, error) {
	if !c.Durable() {
		return nil, nil
	}
	if err := openDataDir(c); err != nil {
		return nil, err
	}
	name, err := nodeName(c)
	if err != nil {
		return nil, err
	}
	log, bus, err := openLog(ctx, c, logger)
	if err != nil {
		return nil, fmt.Errorf("backplane: %s: %w", c.Backplane, err)
	}
	b := &backplane{log: log, fleet: bus != nil, name: name, metrics: prometheus.NewRegistry()}
	o := nodeOptions(c)
	o.EpochNotice, o.HoleNotice = notice("epoch"), notice("log")
	o.Name, o.Engine, o.Log, o.Bus, o.Logger, o.Registerer = name, eng, log, bus, logger, b.metrics
	o.UniqueName = b.fleet
	if c.DataDir != "" && c.Backplane != config.BackplaneEmbedded { // which has its own record of what it has confirmed
		o.Memory, o.MemoryOf = filepath.Join(c.DataDir, memoryFile), c.Backplane+" "+fleetName(c)
	}
	if b.node, err = cluster.NewNode(o); err != nil {
		log.Close()
		return nil, err
	}
	return b, nil
}

// memoryFile is the file in dataDir that keeps the newest place of the log over restarts.
const memoryFile = "known"

// openLog makes the log of the settings, and the bus, which is nil if there can be no other nodes.
func openLog(ctx context.Context, c *config.Config, logger *slog.Logger) (cluster.Log, cluster.Bus, error) {
	logger = logger.With("source", "backplane")
	switch c.Backplane {
	case config.BackplaneEmbedded:
		return openEmbedded(ctx, c, logger)
	case config.BackplaneNATS:
		log, err := nats.Open(ctx, natsOptions(c, logger))
		if err != nil {
			return nil, nil, err
		}
		return log, log, nil
	}
	log, err := redis.New(redis.Options{
		URL:             string(c.RedisURL),
		Name:            c.RedisPrefix,
		Partitions:      c.RedisPartitions,
		DuplicateWindow: c.DuplicateWindow,
		RetentionAge:    c.RetentionAge,
		RetentionBytes:  int64(c.RetentionBytes) / int64(c.RedisPartitions),
		Timeout:         c.RedisTimeout,
		Logger:          logger,
	})
	if err != nil {
		return nil, nil, err
	}
	if err := checkRedis(ctx, log); err != nil {
		log.Close()
		return nil, nil, err
	}
	return log, log.Bus(), nil
}

// checkRedis waits until Redis answers, and returns an error if it refuses this server for a reason that stays. The log in Redis logs
// other reasons itself.
func checkRedis(ctx context.Context, log *redis.Log) error {
	for {
		err := log.Check(ctx)
		if err == nil {
			return nil
		}
		if errors.Is(err, redis.ErrPartitions) {
			return err
		}
		if reason, hint := redisconn.Explain(err); reason == redisconn.Login || reason == redisconn.Permission {
			return fmt.Errorf("redisURL: %s: %w", hint, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// natsOptions converts the settings of a log in JetStream.
func natsOptions(c *config.Config, logger *slog.Logger) nats.Options {
	o := nats.Options{
		Stream:          c.NATSStream,
		MaxAge:          c.RetentionAge,
		MaxBytes:        int64(c.RetentionBytes) / int64(partitions(c)),
		MaxPerKey:       int64(c.RetentionPerKey),
		DuplicateWindow: c.DuplicateWindow,
		MaxEventBytes:   int(c.MaxEventBytes),
		Logger:          logger,
	}
	if c.Backplane == config.BackplaneNATS {
		o.URL, o.Credentials, o.Domain = string(c.NATSURL), c.NATSCredentials, c.NATSDomain
		o.Replicas, o.Partitions = c.NATSReplicas, c.NATSPartitions
	}
	return o
}

// partitions is how many logs the backplane has.
func partitions(c *config.Config) int {
	switch c.Backplane {
	case config.BackplaneNATS:
		return c.NATSPartitions
	case config.BackplaneRedis:
		return c.RedisPartitions
	}
	return 1
}

// logOptions are the engine's options for its log, or nil if it has none.
func logOptions(c *config.Config) *engine.LogOptions {
	if !c.Durable() {
		return nil
	}
	return cluster.LogOptions(partitions(c))
}

// maxReadBack bounds how far back a node reads before it opens its listeners. What is older is fetched when a client asks for it.
const maxReadBack = 15 * time.Minute

// nodeOptions converts the settings of the node. The engine, the log and the bus are added by openBackplane.
func nodeOptions(c *config.Config) cluster.Options {
	return cluster.Options{
		PublishTimeout:   c.PublishTimeout,
		Queue:            c.Away == "queue",
		QueueBytes:       int64(c.AwayBytes),
		ReadBack:         min(c.HistoryTTL, maxReadBack),
		OlderConcurrency: c.OlderConcurrency,
		OlderMaxEvents:   c.OlderMaxEvents,
		OlderBytes:       int64(c.MaxOlderBytes) / 16,
		FleetTimeout:     c.FleetTimeout,
		FleetForgetAfter: c.FleetForgetAfter,
	}
}

// notice returns what makes a gap event for the subscribers of all keys.
func notice(reason string) func() engine.Frame {
	frame, err := codec.Encode(nil, codec.Gap{Reason: reason}.Event(), true)
	if err != nil {
		panic("the notice of a gap: " + err.Error()) // a mistake in this function; every test meets it
	}
	return func() engine.Frame { return engine.Frame(frame) }
}

// fleetName is the name that all nodes of a fleet have in common.
func fleetName(c *config.Config) string {
	if c.Backplane == config.BackplaneRedis {
		return c.RedisPrefix
	}
	return c.NATSStream
}

// meetTime is how long a node waits for the others before its listeners open. They announce themselves every second, and a node
// that does not know them yet would not pass on a close, and count only its own streams.
const meetTime = 1200 * time.Millisecond

// settleLog is how often the log says that a node still reads back.
const settleLog = 3 * time.Second

// settle starts the node, and waits until it has read back what its clients may ask for.
func (b *backplane) settle(ctx context.Context, logger *slog.Logger) error {
	if b == nil {
		return nil
	}
	b.node.Start()
	settled := make(chan error, 1)
	go func() {
		met := time.After(meetTime)
		err := b.node.Settled(ctx)
		if err == nil && b.fleet {
			select {
			case <-met:
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		settled <- err
	}()
	for began := time.Now(); ; {
		select {
		case err := <-settled:
			return err
		case <-time.After(settleLog):
			s := b.node.Status()
			logger.Info("waiting for the backplane before the listeners open", "connected", s.Connected, "behind", s.Behind,
				"seconds", int(time.Since(began).Seconds()))
		}
	}
}

// drainQueue waits until queued events are stored, or ctx is done.
func (b *backplane) drainQueue(ctx context.Context, logger *slog.Logger) {
	if b == nil {
		return
	}
	if queued := b.node.Status().Queued; queued > 0 {
		logger.Info("waiting for the broker to store queued events: a second signal stops at once", "events", queued)
	}
	b.node.DrainQueue(ctx)
}

// close tells the fleet that this node leaves, and closes the log.
func (b *backplane) close() {
	if b == nil {
		return
	}
	b.node.Close()
	b.log.Close()
}

// errStopped says that a signal came before the server was ready.
var errStopped = errors.New("stopped by a signal before the server was ready")

// untilSignal runs do, and ends its context when a signal asks the server to stop. Then it returns errStopped.
func untilSignal(signals <-chan os.Signal, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	for {
		select {
		case err := <-done:
			return err
		case s := <-signals:
			if s == syscall.SIGHUP {
				continue // the configuration is that of the start
			}
			cancel()
			<-done
			return errStopped
		}
	}
}

// describe returns what the log says about the backplane at the start.
func (b *backplane) describe(c *config.Config) []any {
	d := []any{"backplane", c.Backplane, "node", b.name, "retentionAge", c.RetentionAge.String(), "retentionBytes", c.RetentionBytes.String()}
	switch c.Backplane {
	case config.BackplaneEmbedded:
		return append(d, "dataDir", c.DataDir, "fsync", c.Fsync)
	default:
		return append(d, "fleet", fleetName(c), "nodes", b.node.Status().Nodes, "partitions", partitions(c))
	}
}
