package transport

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// response makes a net/http response a stream.Output. Once closed it leaves the
// connection alone, which may serve another request by then.
type response struct {
	w   http.ResponseWriter
	ctl *http.ResponseController

	mu     sync.Mutex
	closed bool
}

// unfit returns the reason why w cannot carry a stream, or "".
func (r *response) unfit() string {
	const remedy = "give the middleware's http.ResponseWriter a method Unwrap() http.ResponseWriter"
	if !canFlush(r.w) {
		return "it has no method Flush: " + remedy
	}
	if err := r.ctl.SetWriteDeadline(time.Time{}); errors.Is(err, http.ErrNotSupported) {
		return "it has no method SetWriteDeadline: " + remedy
	}
	if coding := r.w.Header().Get("Content-Encoding"); coding != "" && !flushes(r.w) {
		return fmt.Sprintf("it compresses (Content-Encoding: %s) and has no method Flush of its own, so that events would stay in it: leave streams uncompressed, or give the middleware's http.ResponseWriter a method FlushError", coding)
	}
	return ""
}

// flushes reports whether the outermost writer itself flushes. If it does not,
// what it buffers would stay there, whatever http.ResponseController finds inside.
func flushes(w http.ResponseWriter) bool {
	switch w.(type) {
	case interface{ FlushError() error }, http.Flusher:
		return true
	}
	return false
}

// canFlush reports whether http.ResponseController finds a way to flush. It does
// not try, since that sends the head.
func canFlush(w http.ResponseWriter) bool {
	for !flushes(w) {
		inside, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = inside.Unwrap()
	}
	return true
}

func (r *response) Write(b []byte) (int, error) { return r.w.Write(b) }

func (r *response) Flush() error { return r.ctl.Flush() }

// SetWriteDeadline unblocks a write that waits for the client.
func (r *response) SetWriteDeadline(t time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return http.ErrHandlerTimeout
	}
	return r.ctl.SetWriteDeadline(t)
}

func (r *response) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	return nil
}
