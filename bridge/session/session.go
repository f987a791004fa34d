// Package session keeps a source of events connected. It runs one session after another, with a pause in between, and says in
// the log and in metrics how they go.
//
//	loop := session.New(session.Options{Name: "nats", …})
//	go loop.Run(ctx, func(ctx context.Context) error {
//		… connect …
//		loop.Live(address)
//		… until it fails …
//		return err
//	})
package session

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/internal/ratelog"
)

// warningInterval is the shortest time between two warnings of a kind.
const warningInterval = time.Minute

// Options configure a Loop. All are required.
type Options struct {
	// Name is what the log calls the other side, such as "redis".
	Name string
	// BackoffMin and BackoffMax bound the pause between two sessions.
	BackoffMin, BackoffMax time.Duration
	Logger                 *slog.Logger
	// Explain returns the reason of a failure, as metrics and the log name it, and a hint what to do about it, "" if that is
	// not known.
	Explain func(error) (reason, hint string)
	// Connected is 1 while a session works.
	Connected prometheus.Gauge
	// Reconnects counts the sessions that have worked, after the first one.
	Reconnects prometheus.Counter
	// Errors counts sessions, and attempts to begin one, that have failed.
	Errors func(reason string) prometheus.Counter
}

// Loop runs sessions. Settled, and Warn, may be called concurrently; the other methods belong to the goroutine of Run.
type Loop struct {
	o       Options
	limiter *ratelog.Limiter

	attempt   int           // attempts since a session last worked for longer than BackoffMax
	worked    bool          // whether one has ever worked
	lostAt    time.Time     // when one last worked; zero before
	liveSince time.Time     // zero while none works
	settled   chan struct{} // closed when one works or has failed
	settling  sync.Once
}

// New makes a Loop.
func New(o Options) *Loop {
	return &Loop{o: o, limiter: ratelog.New(warningInterval), settled: make(chan struct{})}
}

// Run runs sessions until ctx is done. A session returns the error that has ended it.
func (l *Loop) Run(ctx context.Context, session func(context.Context) error) {
	for ctx.Err() == nil {
		err := session(ctx)
		l.o.Connected.Set(0)
		if ctx.Err() != nil {
			return
		}
		l.failed(err)
		select {
		case <-ctx.Done():
		case <-time.After(l.pause()):
		}
	}
}

// pause is the time to wait before the next attempt. It doubles with each attempt, up to BackoffMax. Half of it is random, so
// that many servers do not return at once. It starts over after a session that worked for longer than BackoffMax, but not
// after one that ended right away.
func (l *Loop) pause() time.Duration {
	if !l.liveSince.IsZero() && time.Since(l.liveSince) > l.o.BackoffMax {
		l.attempt = 0
	}
	l.liveSince = time.Time{}
	longest := l.o.BackoffMax
	if l.attempt < 30 {
		longest = min(longest, l.o.BackoffMin<<l.attempt)
	}
	l.attempt++
	return longest/2 + rand.N(longest/2+1)
}

// Live records that the session works now. Further calls by the same session do nothing.
func (l *Loop) Live(address string) {
	if !l.liveSince.IsZero() {
		return
	}
	l.liveSince = time.Now()
	l.o.Connected.Set(1)
	args := []any{"address", address, "attempts", l.attempt + 1}
	if l.worked {
		l.o.Reconnects.Inc()
		args = append(args, "after", time.Since(l.lostAt).Round(time.Millisecond).String())
	}
	l.worked = true
	l.o.Logger.Info(l.o.Name+" is connected", args...)
	l.settle()
}

// failed records that the session, or the attempt to begin one, has ended with err.
func (l *Loop) failed(err error) {
	reason, hint := l.o.Explain(err)
	l.o.Errors(reason).Inc()
	args := []any{"reason", reason, "error", err}
	if hint != "" {
		args = append(args, "hint", hint)
	}
	if l.liveSince.IsZero() {
		l.Warn("failed:"+reason, "cannot connect to "+l.o.Name+": trying again, at least every "+l.o.BackoffMax.String(), args...)
	} else {
		l.lostAt = time.Now()
		l.Warn("lost:"+reason, "the connection to "+l.o.Name+" was lost: trying again", args...)
	}
	l.settle()
}

func (l *Loop) settle() { l.settling.Do(func() { close(l.settled) }) }

// Settled returns a channel that is closed when a session works, or has failed.
func (l *Loop) Settled() <-chan struct{} { return l.settled }

// Worked reports whether a session has ever worked.
func (l *Loop) Worked() bool { return l.worked }

// Attempt is how many attempts were made since a session last worked for long.
func (l *Loop) Attempt() int { return l.attempt }

// Warn logs a warning, unless one of its kind was logged within a minute.
func (l *Loop) Warn(kind, msg string, args ...any) {
	l.limiter.Log(l.o.Logger, slog.LevelWarn, kind, msg, args...)
}
