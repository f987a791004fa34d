package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanfare/cmd/fanfare/config"
)

// The name of a node is the one that is set, or one of its own that dataDir keeps.
func TestNodeName(t *testing.T) {
	name := func(c *config.Config) string {
		t.Helper()
		if err := openDataDir(c); err != nil {
			t.Fatal(err)
		}
		name, err := nodeName(c)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	c := config.Defaults()
	first, second := name(c), name(c)
	if first == second || !strings.HasPrefix(first, hostName()+"-") {
		t.Errorf("without dataDir: %q and %q", first, second)
	}
	c.DataDir = filepath.Join(t.TempDir(), "new", "data")
	kept := name(c)
	if again := name(c); again != kept || kept == first {
		t.Errorf("with dataDir: %q and %q", kept, again)
	}
	if entries, err := os.ReadDir(c.DataDir); err != nil || len(entries) != 1 {
		t.Errorf("%v in dataDir, %v", entries, err)
	}
	other := config.Defaults()
	other.DataDir = t.TempDir()
	if n := name(other); n == kept {
		t.Errorf("two directories have the node %q", n)
	}
	c.NodeName = "a"
	if n := name(c); n != "a" {
		t.Errorf("nodeName is ignored: %q", n)
	}

	// Errors name the setting.
	c.NodeName = ""
	if err := os.Remove(filepath.Join(c.DataDir, nodeNameFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(c.DataDir, nodeNameFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := nodeName(c); err == nil || !strings.Contains(err.Error(), "dataDir ") {
		t.Errorf("%v", err)
	}
}
