//go:build !unix

package main

// fileLimit is the default of Options.MaxConnections where there is no RLIMIT_NOFILE.
func fileLimit() int { return 100_000 }
