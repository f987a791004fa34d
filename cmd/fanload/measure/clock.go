//go:build linux

// Package measure has the clock, the histograms and the readings of /proc that results are made of.
package measure

import (
	"time"

	"golang.org/x/sys/unix"
)

var (
	processStart = time.Now()
	startMicros  = monotonic()
)

// Now is microseconds of the machine's monotonic clock: all processes on it see the same, and setting the time of day
// does not change it.
func Now() int64 { return startMicros + time.Since(processStart).Microseconds() }

// monotonic asks the kernel once; after that time.Since, which reads the same clock without a system call, continues it.
func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0 // a kernel without it doesn't run Go programs
	}
	return ts.Nano() / 1000
}

// CPU is the processor time that this process has used, in microseconds.
func CPU() int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return (u.Utime.Nano() + u.Stime.Nano()) / 1000
}
