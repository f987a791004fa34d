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

	"fanfare/cmd/fanfare/config"
)

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
