package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"fanfare/cmd/fanload/run"
)

// progressLine is the progress line. The sampler's goroutine writes it. end is called after that goroutine has ended.
type progressLine struct {
	w     io.Writer
	on    bool
	line  bool // rewritten in place; otherwise a new line every few seconds
	every time.Duration
	next  time.Duration
	shown bool
}

func newProgressLine(w io.Writer, when string) *progressLine {
	terminal := false
	if f, ok := w.(*os.File); ok {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		terminal = err == nil
	}
	l := &progressLine{w: w, on: when == "on" || when == "auto" && terminal, line: terminal, every: 5 * time.Second}
	if terminal {
		l.every = 0
	}
	return l
}

// show returns the function that shows progress, or nil if it is off.
func (l *progressLine) show() func(run.Progress) {
	if !l.on {
		return nil
	}
	return l.write
}

func (l *progressLine) write(p run.Progress) {
	if p.Elapsed < l.next {
		return
	}
	l.next = p.Elapsed + l.every
	text := fmt.Sprintf("%6.1fs %-8s open %d  deliveries %d (%.0f/s)", p.Elapsed.Seconds(), p.Phase, p.Point.Open, p.Point.Delivered, p.Rate)
	for _, more := range []struct {
		name string
		n    int64
	}{{"failed", p.Failed}, {"ended", p.Ended}, {"lost", p.Point.Lost}} {
		if more.n > 0 {
			text += fmt.Sprintf("  %s %d", more.name, more.n)
		}
	}
	if p.Point.Latency != nil {
		text += fmt.Sprintf("  p99 %s", time.Duration(p.Point.Latency.P99)*time.Microsecond)
	}
	if p.Point.RSS > 0 {
		text += fmt.Sprintf("  server %.1f MB", float64(p.Point.RSS)/1e6)
	}
	if l.line {
		text = "\r\x1b[K" + text // return to the start and clear the line
		l.shown = true
	} else {
		text += "\n"
	}
	_, _ = io.WriteString(l.w, text) // an error here is no reason to stop the run
}

func (l *progressLine) end() {
	if l.shown {
		_, _ = io.WriteString(l.w, "\r\x1b[K")
	}
}
