package main

import (
	"context"
	"errors"
	"fmt"

	"fanfare/bridge/redis"
	"fanfare/bridge/relay"
	"fanfare/cluster"
	"fanfare/engine"
	"fanfare/transport"
)

// redisFleet is what the bridge to Redis needs where events go to a backplane, or nil without one.
func redisFleet(b *backplane, srv *transport.Server) *redis.Fleet {
	if b == nil {
		return nil
	}
	return &redis.Fleet{
		Leads:    b.node.Leads,
		Channels: b.succession(redis.LeadChannels),
		Streams:  b.succession(redis.LeadStreams),
		Publish:  messagePublisher(srv, true, redis.ErrTooLarge),
		Again:    temporary,
		Newest: func(ctx context.Context, key string, n int) ([]string, error) {
			return b.newestIDs(ctx, srv.Engine(), key, n)
		},
	}
}

// succession passes a job of this node on to another one. It is nil if there can be no other node.
func (b *backplane) succession(name string) *relay.Succession {
	if !b.fleet {
		return nil
	}
	return &relay.Succession{
		Led:      func() bool { return b.node.Led(name) },
		Succeeds: func() bool { return b.node.Succeeds(name) },
		TakeOver: func(ctx context.Context) ([]byte, error) { return b.node.TakeOver(ctx, name) },
		HandOver: func(ctx context.Context, stop func() []byte) { b.node.HandOver(ctx, name, stop) },
		Changed:  b.node.LeadsChanged,
	}
}

// newestIDs returns the publishers' ids of up to n of the newest events of a key in the log.
func (b *backplane) newestIDs(ctx context.Context, eng *engine.Engine, key string, n int) ([]string, error) {
	if err := b.node.CatchUp(ctx); err != nil { // another node may have stored events that this one has not read
		return nil, err
	}
	partition := cluster.PartitionOf(key, b.log.Partitions())
	end := eng.Applied(partition)
	events, err := b.node.Older(ctx, engine.Missing{Partition: partition, Key: key, Epoch: end.Epoch, Through: end.Seq, Newest: n})
	if errors.Is(err, cluster.ErrTooOld) {
		err = fmt.Errorf("%w: %w", redis.ErrTooOld, err)
	}
	var ids []string
	for _, e := range events {
		if id := e.IDBytes(); e.OwnID() && len(id) > 0 {
			ids = append(ids, string(id))
		}
	}
	return ids, err
}
