package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"fanfare/bridge/payload"
	"fanfare/bridge/redis"
	"fanfare/cmd/fanfare/config"
	"fanfare/codec"
	"fanfare/engine"
	"fanfare/transport"
)

// redisNames are the channels and streams of the configuration, nil without Redis.
func redisNames(c *config.Config) (*redis.Names, error) {
	if c.RedisURL == "" {
		return nil, nil
	}
	return redis.NewNames(c.RedisChannels, c.RedisStreams, c.RedisKeys)
}

// newRedis makes the bridge to Redis, nil without one.
func newRedis(c *config.Config, names *redis.Names, eo engine.Options, srv *transport.Server, logger *slog.Logger) (*redis.Bridge, error) {
	if names == nil {
		return nil, nil
	}
	mode, err := payload.ParseMode(c.RedisPayload)
	if err != nil {
		return nil, err
	}
	return redis.New(redis.Options{
		URL:        string(c.RedisURL),
		Names:      names,
		Payload:    mode,
		Timeout:    c.RedisTimeout,
		MaxStreams: c.RedisMaxStreams,
		History: func(key string) (int, int64) {
			o := eo.KeyRule(key) // of a stream's key never nil
			return o.History, o.HistoryBytes
		},
		Engine: srv.Engine(),
		Publish: func(key string, ev codec.Event) error {
			_, err := srv.Publish(key, ev)
			var size *transport.SizeError
			if errors.As(err, &size) {
				return fmt.Errorf("%w: %w", redis.ErrTooLarge, err)
			}
			return err
		},
		Registerer: srv.Registry(),
		Logger:     logger,
	})
}

// settleTime bounds how long the listeners wait for Redis: a client that resumes by the id of a stream's entry is to
// find the history. It is longer than any redisTimeout takes to fail.
const settleTime = 10 * time.Second

// startRedis connects, and waits until that has succeeded or failed.
func startRedis(b *redis.Bridge) {
	b.Start()
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	b.Settled(ctx)
}

// streamedTTL is how long events of Redis Streams are kept, where no rule of keys says otherwise: Redis keeps them too,
// and a client that resumes by an entry's id is to find it after a quiet night.
const streamedTTL = 24 * time.Hour

// streamed makes the options of keys that get the entries of Redis Streams from those of other keys. own says that a rule
// has set HistoryTTL.
func streamed(o engine.KeyOptions, own bool) *engine.KeyOptions {
	o.StableIDs = true
	if !own {
		o.HistoryTTL = max(o.HistoryTTL, streamedTTL)
	}
	return &o
}
