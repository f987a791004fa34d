package main

import (
	"log/slog"
	"os"

	"fanfare/cmd/fanfare/remote"
)

// newLogger writes to stderr: text for people, JSON for machines.
func newLogger(format string, level *slog.LevelVar) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "text" || format == "auto" && remote.IsTerminal(os.Stderr) {
		return slog.New(slog.NewTextHandler(os.Stderr, o))
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, o))
}

func setLevel(level *slog.LevelVar, name string) error {
	var l slog.Level
	if err := l.UnmarshalText([]byte(name)); err != nil {
		return err
	}
	level.Set(l)
	return nil
}
