//go:build race

package engine

import (
	"math/rand/v2"
	"runtime"
)

// racePoint yields at every fourth call or so, so that the hammer tests meet
// interleavings that the scheduler rarely makes. Tests of one interleaving put
// in what comes in between.
var racePoint = yieldSometimes

func yieldSometimes() {
	if rand.Uint32()&3 == 0 {
		runtime.Gosched()
	}
}
