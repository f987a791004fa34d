package main

import (
	"context"
	"log/slog"

	"fanfare/cluster"
	"fanfare/cluster/embedded"
	"fanfare/cmd/fanfare/config"
)

// openEmbedded opens the log in dataDir. It has no bus, since there can be no other nodes.
func openEmbedded(ctx context.Context, c *config.Config, logger *slog.Logger) (cluster.Log, cluster.Bus, error) {
	fsync, err := embedded.ParseFsync(c.Fsync)
	if err != nil {
		return nil, nil, err
	}
	log, err := embedded.Open(ctx, embedded.Options{Dir: c.DataDir, Fsync: fsync, Log: natsOptions(c, logger)})
	if err != nil {
		return nil, nil, err
	}
	return log, nil, nil
}
