package embedded

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"fanfare/internal/ratelog"
)

// serverLog gets what the server logs. Its notices about every step of a start are not for a program that contains it.
type serverLog struct {
	log     *slog.Logger
	limiter *ratelog.Limiter
	errors  chan struct{} // has room for one: an error was logged

	mu  sync.Mutex
	err error // that has kept the server from starting
}

func newServerLog(log *slog.Logger) *serverLog {
	return &serverLog{log: log, limiter: ratelog.New(time.Minute), errors: make(chan struct{}, 1)}
}

func (s *serverLog) text(format string, v []any) string { return fmt.Sprintf(format, v...) }

func (s *serverLog) Noticef(string, ...any) {}
func (s *serverLog) Debugf(string, ...any)  {}
func (s *serverLog) Tracef(string, ...any)  {}

func (s *serverLog) Warnf(format string, v ...any) {
	s.log.Warn("the embedded NATS server warns", "message", s.text(format, v))
}

func (s *serverLog) Errorf(format string, v ...any) {
	text := s.text(format, v)
	// One line for each kind, not one for each event that cannot be stored.
	kind, _, _ := strings.Cut(text, ":")
	s.limiter.Log(s.log, slog.LevelError, kind, "the embedded NATS server reports an error", "message", text)
	select {
	case s.errors <- struct{}{}:
	default:
	}
}

func (s *serverLog) Fatalf(format string, v ...any) {
	s.mu.Lock()
	s.err = fmt.Errorf(format, v...)
	s.mu.Unlock()
}

func (s *serverLog) fatal() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
