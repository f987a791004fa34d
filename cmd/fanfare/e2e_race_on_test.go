//go:build race

package main_test

// The server under test is built with the race detector, too.
func init() { raceEnabled = true }
