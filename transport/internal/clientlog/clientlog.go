// Package clientlog writes what the log says about clients: refusals, one line
// of each kind a second, with what a client sent masked where it might be a
// credential and cut to a length, and panics that a request caused.
package clientlog

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/internal/ratelog"
)

// Log is a logger with a rate limit for each kind of line: a flood of refusals
// must not fill the disk, and a single one must not pass unseen. All methods may
// be called concurrently.
type Log struct {
	*slog.Logger
	limiter *ratelog.Limiter
	panics  prometheus.Counter
}

const (
	interval  = time.Second // between two lines of a kind
	maxReason = 256         // bytes
)

// New returns a Log over l that counts panics in panics.
func New(l *slog.Logger, panics prometheus.Counter) *Log {
	return &Log{Logger: l, limiter: ratelog.New(interval), panics: panics}
}

// Limited logs a line of the kind, if one is due.
func (l *Log) Limited(level slog.Level, kind, msg string, args ...any) {
	l.limiter.Log(l.Logger, level, kind, msg, args...)
}

// Refusal is a request that was refused.
type Refusal struct {
	// Kind names the lines that share a rate limit. Default: the listener, the
	// status, and the first word of the reason, which names the field at fault.
	Kind     string
	Listener string // "streams", "admin" or "handler"
	Status   int    // of the answer
	Method   string
	Path     string // without the query
	// Reason says what is wrong and what to do. What the client sent must be quoted
	// in it (%q): it is logged masked, see Word.
	Reason string
	Remote string // the client's address
}

// Refused logs a refusal, if a line of its kind is due.
func (l *Log) Refused(r Refusal) {
	if r.Kind == "" {
		first, _, _ := strings.Cut(r.Reason, " ")
		r.Kind = fmt.Sprint(r.Listener, r.Status, Cut(first))
	}
	l.Limited(slog.LevelInfo, r.Kind, "a request was refused", "listener", r.Listener, "status", r.Status, "method", Method(r.Method), "path", Word(r.Path),
		"reason", CutTo(MaskQuoted(r.Reason), maxReason), "remote", r.Remote)
}

// RecoverPanic limits a panic to the request that caused it. Defer it: it logs and
// counts the panic, and calls after, which may still answer the client.
func (l *Log) RecoverPanic(after func()) {
	if v := recover(); v != nil {
		l.Panicked("request", v)
		after()
	}
}

// Panicked logs and counts a panic that has been recovered; what is "request" or
// "stream".
func (l *Log) Panicked(what string, v any) {
	l.panics.Inc()
	l.Error("a "+what+" ended by a panic: please report this", "panic", v, "stack", string(debug.Stack()))
}

// Cut returns the beginning of a text that a client sent.
func Cut(s string) string { return CutTo(s, 64) }

// CutTo returns at most n bytes of s, and an ellipsis if there were more.
func CutTo(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// maxKeys bounds a list of keys in a log line, in bytes.
const maxKeys = 256

// Keys is a list of keys for the log, cut: clients choose keys.
func Keys(keys []string) string {
	var b strings.Builder
	for i, k := range keys {
		if i > 0 {
			b.WriteByte(',')
		}
		if b.Len() > maxKeys {
			fmt.Fprintf(&b, "… %d more", len(keys)-i)
			break
		}
		b.WriteString(Cut(k))
	}
	return b.String()
}

// Unlimited returns a Log as l that logs every line, for tests.
func Unlimited(l *Log) *Log { return &Log{Logger: l.Logger, limiter: ratelog.New(0), panics: l.panics} }
