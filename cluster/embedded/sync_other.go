//go:build !linux

package embedded

import "os"

// syncData writes a file to the disk.
func syncData(f *os.File) error { return f.Sync() }

// bootID is unknown here: every end without Close counts as a loss of power.
func bootID() string { return "" }

// freeBytes is unknown here.
func freeBytes(string) (n int64, ok bool) { return 0, false }
