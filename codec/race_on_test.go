//go:build race

package codec

// raceEnabled says that allocations aren't those of a release build: the race detector makes sync.Pool, which go-json
// uses, drop values at random, and slices.Grow allocates twice.
const raceEnabled = true
