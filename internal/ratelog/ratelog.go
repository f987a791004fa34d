// Package ratelog limits how often a log repeats itself.
//
// Messages are grouped by kind. The first message of a kind is logged at once; those that follow within the interval are
// only counted. The next one that is logged carries the count as the attribute "suppressed". So a flood of messages does
// not fill the disk, and a single message is never lost.
//
//	limiter := ratelog.New(time.Minute)
//	limiter.Log(logger, slog.LevelWarn, "refused:"+reason, "a message was refused", "name", name)
package ratelog

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// maxKinds bounds the memory of a limiter whose kinds come from outside. At the bound it forgets all of them, and the
// counts of suppressed messages with them.
const maxKinds = 256

// Limiter lets one message of each kind pass per interval. Its methods may be called from several goroutines. Make one
// with New.
type Limiter struct {
	interval time.Duration

	mu    sync.Mutex
	kinds map[string]state
}

type state struct {
	logged     time.Time // when a message last passed
	suppressed int       // messages since then
}

// New makes a limiter that lets one message of each kind pass per interval.
func New(interval time.Duration) *Limiter {
	return &Limiter{interval: interval, kinds: make(map[string]state)}
}

// Log logs the message, unless one of the same kind was logged less than an interval ago. The kind is not logged.
func (l *Limiter) Log(logger *slog.Logger, level slog.Level, kind, msg string, args ...any) {
	suppressed, ok := l.Allow(kind)
	if !ok {
		return
	}
	if suppressed > 0 {
		args = append(args[:len(args):len(args)], "suppressed", suppressed)
	}
	logger.Log(context.Background(), level, msg, args...)
}

// Allow reports whether a message of the kind may be logged now, and how many of its kind were suppressed since the last
// one. Callers that use Allow directly can save the work of making a message that nobody will see.
func (l *Limiter) Allow(kind string) (suppressed int, ok bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	s, known := l.kinds[kind]
	if known && now.Sub(s.logged) < l.interval {
		s.suppressed++
		l.kinds[kind] = s
		return 0, false
	}
	if !known && len(l.kinds) >= maxKinds {
		clear(l.kinds)
	}
	l.kinds[kind] = state{logged: now}
	return s.suppressed, true
}
