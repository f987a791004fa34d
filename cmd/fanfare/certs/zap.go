package certs

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger writes what certmagic logs into log. What it calls information is for debugging: the Store reports the results.
func zapLogger(log *slog.Logger) *zap.Logger { return zap.New(zapCore{log: log}) }

// zapCore implements zapcore.Core.
type zapCore struct {
	log    *slog.Logger
	fields []zapcore.Field
}

func slogLevel(e zapcore.Entry) slog.Level {
	switch {
	case e.Message == "tls-alpn challenge", e.Level <= zapcore.InfoLevel:
		return slog.LevelDebug // the first is an error that every client can cause at each handshake
	case e.Level == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	// Errors are reported by the Store, with what happens next. This has the details.
	return slog.LevelWarn
}

// Enabled implements zapcore.LevelEnabler.
func (c zapCore) Enabled(l zapcore.Level) bool {
	return c.log.Enabled(context.Background(), slogLevel(zapcore.Entry{Level: l}))
}

// With implements zapcore.Core.
func (c zapCore) With(fields []zapcore.Field) zapcore.Core {
	return zapCore{log: c.log, fields: slices.Concat(c.fields, fields)}
}

// Check implements zapcore.Core.
func (c zapCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.log.Enabled(context.Background(), slogLevel(e)) {
		return checked.AddCore(e, c)
	}
	return checked
}

// Write implements zapcore.Core.
func (c zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	encoder := zapcore.NewMapObjectEncoder()
	for _, f := range slices.Concat(c.fields, fields) {
		f.AddTo(encoder)
	}
	var args []any
	for _, name := range slices.Sorted(maps.Keys(encoder.Fields)) {
		if !strings.HasPrefix(name, "error") || name == "error" { // errorVerbose repeats the error with its stack
			args = append(args, name, encoder.Fields[name])
		}
	}
	c.log.Log(context.Background(), slogLevel(e), "acme: "+e.Message, args...)
	return nil
}

// Sync implements zapcore.Core.
func (c zapCore) Sync() error { return nil }
