//go:build !race

package engine

// racePoint marks a place between two atomic steps where another goroutine may
// come in between. Race-detector builds yield there; others pay nothing.
func racePoint() {}
