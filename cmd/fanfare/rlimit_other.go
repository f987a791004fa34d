//go:build !unix

package main

// fileLimit is a limit for systems without RLIMIT_NOFILE.
func fileLimit() int { return 100_000 }
