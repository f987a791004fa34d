package main

import (
	"context"
	"errors"
	"log/slog"

	"fanfare/cluster"
	"fanfare/cmd/fanfare/config"
)

// openEmbedded opens the log in dataDir.
func openEmbedded(_ context.Context, c *config.Config, _ *slog.Logger) (cluster.Log, cluster.Bus, error) {
	return nil, nil, errors.New("this build cannot keep a log in " + c.DataDir + " (fsync " + c.Fsync + ")")
}
