package schedule

import (
	"context"
	"time"
)

// times are the times at which a schedule runs.
type times interface {
	// Next returns the first time after t, or the zero time if there is none.
	Next(t time.Time) time.Time
}

// interval repeats at a fixed interval from when the schedule began.
type interval time.Duration

// Next returns t plus the interval.
func (i interval) Next(t time.Time) time.Time { return t.Add(time.Duration(i)) }

// grid repeats at a fixed interval from the beginning of 1970, by the wall clock: the same times on every server.
type grid time.Duration

// Next returns the first multiple of the interval after t.
func (g grid) Next(t time.Time) time.Time {
	every := int64(g)
	return time.Unix(0, (t.UnixNano()/every+1)*every)
}

// maxSkipped bounds how many skipped times are counted one by one. When a clock is set from 1970 to today, there are billions.
const maxSkipped = 10_000

// upcoming returns the first time after last that is not past, and how many times before it are skipped.
func upcoming(t times, last, now time.Time) (next time.Time, skipped int) {
	next = t.Next(last)
	if every, ok := t.(interval); ok && next.Before(now) {
		skipped = int((now.Sub(next)-1)/time.Duration(every)) + 1
		return next.Add(time.Duration(every) * time.Duration(skipped)), skipped
	}
	for !next.IsZero() && next.Before(now) {
		if skipped++; skipped == maxSkipped {
			return t.Next(now), skipped
		}
		next = t.Next(next)
	}
	return next, skipped
}

// clockCheck is how often a wait looks at the wall clock, and by how much the clock must be set back to count.
const clockCheck = time.Minute

// wait waits for the time next and returns it. If the wall clock is set back meanwhile, it waits for the time that is then the
// next one, and returns that. It returns early when ctx is done.
func wait(ctx context.Context, t times, next time.Time) time.Time {
	_, monotonic := t.(interval) // the others use the wall clock
	lastCheck := time.Now().Round(0)
	for {
		left := time.Until(next)
		if left <= 0 || ctx.Err() != nil {
			return next
		}
		timer := time.NewTimer(min(left, clockCheck))
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
		now := time.Now().Round(0) // without the monotonic reading
		if !monotonic && now.Add(clockCheck).Before(lastCheck) {
			next = t.Next(now)
		}
		lastCheck = now
	}
}
