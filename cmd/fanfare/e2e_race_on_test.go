//go:build race

package main_test

// raceEnabled makes the server under test be built with the race detector too.
const raceEnabled = true
