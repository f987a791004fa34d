//go:build !linux

package stream

import "sync/atomic"

// hangups does nothing where there is no epoll: see watchByReading.
type hangups struct{ gen atomic.Uint32 }

func newHangups() (*hangups, error) { return &hangups{}, nil }

func (h *hangups) add(*Stream) error { return nil }

func (h *hangups) remove(*Stream) {}

func (h *hangups) close() {}
