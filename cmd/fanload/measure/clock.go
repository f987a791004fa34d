//go:build linux

// Package measure has what results are made of: the clock, histograms, and readings of /proc.
package measure

import (
	"time"

	"golang.org/x/sys/unix"
)

var (
	processStart = time.Now()
	startMicros  = monotonic()
)

// Now is the machine's monotonic clock in microseconds. All processes of the machine see the same clock, and setting the time of
// day does not change it.
func Now() int64 { return startMicros + time.Since(processStart).Microseconds() }

// monotonic asks the kernel once. From then on time.Since continues the reading: it uses the same clock without a system call.
func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0 // cannot happen: Go programs need this clock
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
