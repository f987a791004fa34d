package main

import (
	"context"
	"log/slog"
	"time"

	"fanfare/bridge/payload"
	"fanfare/bridge/redis"
	"fanfare/cmd/fanfare/config"
	"fanfare/codec"
	"fanfare/engine"
	"fanfare/transport"
)

// redisNames returns the channels and streams of the configuration, or nil if there are none: Redis may be the backplane only.
func redisNames(c *config.Config) (*redis.Names, error) {
	if c.RedisURL == "" || len(c.RedisChannels) == 0 && len(c.RedisStreams) == 0 {
		return nil, nil
	}
	return redis.NewNames(c.RedisChannels, c.RedisStreams, c.RedisKeys)
}

// newRedis makes the bridge to Redis, or returns nil without names.
func newRedis(c *config.Config, names *redis.Names, eo engine.Options, b *backplane, srv *transport.Server, logger *slog.Logger) (*redis.Bridge, error) {
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
			o := eo.KeyRule(key) // never nil for a stream's key
			return o.History, o.HistoryBytes
		},
		Engine: srv.Engine(),
		Publish: func(key string, ev codec.Event) error {
			_, err := srv.Publish(key, ev)
			return sizeError(err, redis.ErrTooLarge)
		},
		Fleet:      redisFleet(b, srv),
		Registerer: srv.Registry(),
		Logger:     logger,
	})
}

// settleTime bounds how long the listeners wait for Redis. They wait so that a client that resumes by the id of a stream's
// entry finds the history.
const settleTime = 10 * time.Second

// startRedis connects, and waits until the first attempt has succeeded or failed.
func startRedis(b *redis.Bridge) {
	b.Start()
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	b.Settled(ctx)
}

// streamedTTL is how long events of Redis Streams are kept at least, if no rule of keys says otherwise. Redis keeps them as
// well, and a client that resumes by an entry's id finds it even after a quiet night.
const streamedTTL = 24 * time.Hour

// streamed returns the options of keys that get the entries of Redis Streams, made from those of other keys. ttlSet says that
// a rule has set HistoryTTL.
func streamed(o engine.KeyOptions, ttlSet bool) *engine.KeyOptions {
	o.StableIDs = true
	if !ttlSet {
		o.HistoryTTL = max(o.HistoryTTL, streamedTTL)
	}
	return &o
}
