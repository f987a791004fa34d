//go:build race

package engine

import (
	"math/rand/v2"
	"runtime"
)

// racePoint yields at about every fourth call, so that the hammer tests see interleavings that are rare otherwise.
// Tests of one particular interleaving replace it by what happens in between.
var racePoint = yieldSometimes

func yieldSometimes() {
	if rand.Uint32()&3 == 0 {
		runtime.Gosched()
	}
}
