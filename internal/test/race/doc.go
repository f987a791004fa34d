// Package race tells whether the race detector is on.
//
// Tests use it where the detector changes what they measure. It makes everything many times slower, it yields in the
// engine's race points, it makes sync.Pool drop values at random, and slices.Grow allocates twice. Bounds of time and of
// allocations do not hold then.
package race
