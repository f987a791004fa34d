package engine

import (
	"sync/atomic"
	"time"
)

// flushState implements KeyOptions.FlushInterval for one key. It is part of the key's first segment. A wake-up opens a
// window for one interval, and what is published in the window waits for its end:
//
//	idle    -> open     a publisher: wakes the subscribers, and starts the timer
//	open    -> pending  a publisher: leaves the wake-up to the timer
//	pending -> open     the timer: wakes the subscribers, and starts again
//	open    -> idle     the timer: nothing was published
//
// No wake-up is lost. A publisher stores its event, then loads the state. If it finds or makes the state pending, the
// timer has not left that state yet, and wakes the subscribers after it does.
type flushState struct{ atomic.Uint32 }

const (
	flushIdle uint32 = iota
	flushOpen
	flushPending
)

// flush makes the key's subscribers look for events, now or when the window ends.
func (seg *segment) flush(interval time.Duration) {
	for {
		switch state := seg.flushing.Load(); state {
		case flushPending:
			return
		case flushOpen:
			if seg.flushing.CompareAndSwap(flushOpen, flushPending) {
				return
			}
		default:
			if seg.flushing.CompareAndSwap(flushIdle, flushOpen) {
				time.AfterFunc(interval, seg.flushWindowEnded)
				seg.schedule()
				return
			}
		}
	}
}

// flushWindowEnded runs on the timer at the end of a window. Only the timer leaves the states open and pending, except
// for open -> pending.
func (seg *segment) flushWindowEnded() {
	if seg.flushing.CompareAndSwap(flushOpen, flushIdle) {
		return
	}
	seg.flushing.Store(flushOpen)
	racePoint()
	time.AfterFunc(max(seg.key.opts.Load().FlushInterval, time.Millisecond), seg.flushWindowEnded)
	seg.schedule()
}
