package engine

import (
	"sync/atomic"
	"time"
)

// flushState is a key's part in KeyOptions.FlushInterval; it lies in the key's
// first segment. After a wake-up the window is open for an interval, and what is
// published meanwhile waits for its end:
//
//	quiet -> open   a publisher: wakes the subscribers, and starts the timer
//	open  -> again  a publisher: leaves the wake-up to the timer
//	again -> open   the timer: wakes the subscribers, and starts anew
//	open  -> quiet  the timer: nothing was published
//
// No wake-up is lost: a publisher stores its event, then loads the state. If it
// sees again, or makes it so, the timer has yet to leave that state, and wakes
// the subscribers after that.
type flushState struct{ atomic.Uint32 }

const (
	flushQuiet uint32 = iota
	flushOpen
	flushAgain
)

// flush has the key's subscribers look for events, at once or when the window
// ends.
func (seg *segment) flush(interval time.Duration) {
	for {
		switch state := seg.flushing.Load(); state {
		case flushAgain:
			return
		case flushOpen:
			if seg.flushing.CompareAndSwap(flushOpen, flushAgain) {
				return
			}
		default:
			if seg.flushing.CompareAndSwap(flushQuiet, flushOpen) {
				time.AfterFunc(interval, seg.flushed)
				seg.schedule()
				return
			}
		}
	}
}

// flushed is what the timer does at the end of a window. Only it leaves open
// and again, but for open -> again.
func (seg *segment) flushed() {
	if seg.flushing.CompareAndSwap(flushOpen, flushQuiet) {
		return
	}
	seg.flushing.Store(flushOpen)
	racePoint()
	time.AfterFunc(max(seg.key.opts.Load().FlushInterval, time.Millisecond), seg.flushed)
	seg.schedule()
}
