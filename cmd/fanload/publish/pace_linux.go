package publish

import (
	"context"
	"runtime"

	"golang.org/x/sys/unix"

	"fanfare/cmd/fanload/measure"
)

// longestSleep bounds how long a canceled wait continues: 50 ms.
const longestSleep = 50_000

// Pacer waits for points in time on its own thread. The timers of the Go scheduler are up to a millisecond late, and every
// latency from the scheduled time would include that.
type Pacer struct{}

// NewPacer locks the calling goroutine to its thread. That goroutine must use the Pacer alone, and call Release.
func NewPacer() Pacer {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1000, 0, 0, 0) // 1 us instead of 50; if it fails, waits are a little late
	return Pacer{}
}

// Release unlocks the thread.
func (Pacer) Release() { runtime.UnlockOSThread() }

// Until waits for a time of measure.Now. It returns false if ctx ends before.
func (Pacer) Until(ctx context.Context, at int64) bool {
	for {
		now := measure.Now()
		if ctx.Err() != nil {
			return false
		}
		if now >= at {
			return true
		}
		until := unix.NsecToTimespec(min(at, now+longestSleep) * 1000)
		_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &until, nil) // after EINTR the loop continues
	}
}
