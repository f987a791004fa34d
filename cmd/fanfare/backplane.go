package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"fanfare/cluster"
	"fanfare/cmd/fanfare/config"
	"fanfare/engine"
)

// logOptions are the engine's options for its log, or nil if it has none.
func logOptions(c *config.Config) *engine.LogOptions {
	if !c.Durable() {
		return nil
	}
	partitions := 1
	if c.Backplane == config.BackplaneNATS {
		partitions = c.NATSPartitions
	}
	return &engine.LogOptions{
		Partitions:  partitions,
		PartitionOf: func(key string) int { return cluster.PartitionOf(key, partitions) },
	}
}

// fleetName is the name that all nodes of a fleet have in common.
func fleetName(c *config.Config) string {
	return c.NATSStream
}

// maxReadBack bounds how far back a node reads before it opens its listeners. What is older is fetched when a client asks for it.
const maxReadBack = 15 * time.Minute

// nodeOptions converts the settings of the node. The engine, the log and the bus are added by whoever makes them.
func nodeOptions(c *config.Config) cluster.Options {
	return cluster.Options{
		PublishTimeout:   c.PublishTimeout,
		Queue:            c.Away == "queue",
		QueueBytes:       int64(c.AwayBytes),
		ReadBack:         min(c.HistoryTTL, maxReadBack),
		OlderConcurrency: c.OlderConcurrency,
		OlderMaxEvents:   c.OlderMaxEvents,
		FleetTimeout:     c.FleetTimeout,
	}
}

// describe returns what the log says about the backplane at the start.
func describe(c *config.Config) []any {
	d := []any{"backplane", c.Backplane, "retentionAge", c.RetentionAge.String(), "retentionBytes", c.RetentionBytes.String(),
		"retentionPerKey", c.RetentionPerKey, "duplicateWindow", c.DuplicateWindow.String(), "readyWithoutBroker", c.ReadyWithoutBroker}
	switch c.Backplane {
	case config.BackplaneEmbedded:
		d = append(d, "dataDir", c.DataDir, "fsync", c.Fsync)
	case config.BackplaneNATS:
		d = append(d, "natsURL", c.NATSURL, "natsCredentials", c.NATSCredentials, "natsStream", c.NATSStream, "natsReplicas", c.NATSReplicas)
	}
	return d
}

// nodeNameFile is the file in dataDir that keeps the name of a node over restarts.
const nodeNameFile = "node"

// nodeName returns the name of this node: nodeName, or the one that dataDir keeps, or a new one.
func nodeName(c *config.Config) (string, error) {
	if c.NodeName != "" {
		return c.NodeName, nil
	}
	file := ""
	if c.DataDir != "" {
		file = filepath.Join(c.DataDir, nodeNameFile)
		switch text, err := os.ReadFile(file); {
		case err == nil && len(strings.TrimSpace(string(text))) > 0:
			return strings.TrimSpace(string(text)), nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return "", dataDirError(c, err)
		}
	}
	suffix := make([]byte, 4)
	_, _ = rand.Read(suffix) // never fails
	name := hostName() + "-" + hex.EncodeToString(suffix)
	if file != "" {
		if err := os.WriteFile(file, []byte(name+"\n"), 0o600); err != nil {
			return "", dataDirError(c, err)
		}
	}
	return name, nil
}

// notInNames are the characters of a host name that a node's name must not have.
var notInNames = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// hostName is the machine's name, as a part of a node's name.
func hostName() string {
	host, err := os.Hostname()
	host = strings.Trim(notInNames.ReplaceAllString(host, "-"), "._-")
	if err != nil || host == "" {
		return "node"
	}
	return host[:min(len(host), 60)]
}

// openDataDir makes the directory of dataDir if there is none, and checks that this process can write to it.
func openDataDir(c *config.Config) error {
	if c.DataDir == "" {
		return nil
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return dataDirError(c, err)
	}
	probe, err := os.CreateTemp(c.DataDir, ".probe-")
	if err != nil {
		return dataDirError(c, err)
	}
	_ = probe.Close()
	return dataDirError(c, os.Remove(probe.Name()))
}

// dataDirError says what to do about an error of a file in dataDir. It returns nil for nil.
func dataDirError(c *config.Config, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("dataDir %q cannot be used: %w: let the user that runs fanfare write there, or choose another directory", c.DataDir, err)
	}
	return fmt.Errorf("dataDir %q cannot be used: %w", c.DataDir, err)
}
