//go:build !linux

package transport

import "sync/atomic"

// hangups does nothing where there is no epoll: see watchByReading.
type hangups struct{ gen atomic.Uint32 }

func newHangups() (*hangups, error) { return &hangups{}, nil }

func (h *hangups) add(*stream) error { return nil }

func (h *hangups) remove(*stream) {}

func (h *hangups) close() {}
