//go:build !race

package engine

// racePoint marks a place between two atomic steps where another goroutine may interfere. Builds with the race detector
// yield there. In other builds it costs nothing.
func racePoint() {}
