package redis

import (
	"log/slog"
	"sync"
	"time"
)

// seldom logs a warning of each kind once in a while. It belongs to its worker's goroutines, of which one works at a
// time; the mutex is for hooks that outlast their session for a moment.
type seldom struct {
	logger *slog.Logger
	mu     sync.Mutex
	last   map[string]*warning
}

type warning struct {
	at      time.Time
	dropped int
}

// seldomEvery is the time in which one warning of a kind is logged.
const seldomEvery = time.Minute

func (s *seldom) warn(kind, msg string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = map[string]*warning{}
	}
	w := s.last[kind]
	if w == nil {
		w = new(warning)
		s.last[kind] = w
	}
	if !w.at.IsZero() && time.Since(w.at) < seldomEvery {
		w.dropped++
		return
	}
	if w.dropped > 0 {
		args = append(args, "alikeSinceLastTime", w.dropped)
	}
	w.at, w.dropped = time.Now(), 0
	s.logger.Warn(msg, args...)
}
