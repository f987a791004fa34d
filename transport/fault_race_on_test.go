//go:build race

package transport

// raced tells that the race detector is on, which makes everything many times
// slower and yields in the engine's race windows: figures of time are looser then.
const raced = true
