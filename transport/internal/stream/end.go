package stream

import (
	"context"
	"net"
	"time"

	"fanfare/engine"
	"fanfare/transport/internal/socket"
)

// abort ends the stream without sending what is pending, whatever its goroutine
// waits for. Anyone may call it, at any time.
func (st *Stream) abort(r engine.Reason) {
	st.sub.Close(r)
	st.more.interrupt()
	if st.sock != nil {
		st.sock.Unblock()
	} else {
		_ = st.out.SetWriteDeadline(time.Unix(1, 0))
	}
}

// Gone implements socket.Owner: the client has closed the connection.
func (st *Stream) Gone() { st.abort(engine.ReasonGone) }

// Readable implements socket.Owner: the client of a TLS connection has sent
// something. TLS may have to answer, so the owner reads.
func (st *Stream) Readable() {
	st.due.Or(dueRead)
	st.sub.Notify()
}

// expiredFrame tells a page to get a new token before it reconnects.
var expiredFrame = []byte("event: expired\ndata: {\"reason\":\"the permission for this stream has expired: get a new token, and reconnect\"}\n\n")

// sendFarewell sends a client whose stream ends by a drain or by its age the time
// after which to reconnect, and one whose grant has expired an event. Best effort:
// if the socket does not take these bytes, the client is not reading.
func (st *Stream) sendFarewell() {
	if len(st.pending) > 0 {
		return
	}
	switch st.sub.Closing() {
	case engine.ReasonDrain, engine.ReasonAge:
		_, _ = st.write(append(AppendRetry(nil, st.hub.config.Load().Jitter()), '\n'))
	case engine.ReasonExpired:
		_, _ = st.write(expiredFrame)
	default:
		return
	}
	_, _ = st.flush()
}

// end closes the connection. Goroutine only, as the owner, and the last thing
// that it does.
func (st *Stream) end() {
	h := st.hub
	defer h.log.RecoverPanic(func() {})
	reason := st.sub.Closing()
	st.dropAll()
	st.closeOutput(reason)
	h.registry.remove(st) // not earlier: a close can block, until abort
	if st.sock != nil {
		h.lenient.remove(st)
	}
	h.release(st.details)
	h.metrics.Closed[reason].Inc()
	if st.details != nil {
		h.ending.Add(1) // before open falls, so that Close and Drain wait for the hook, see waitHooks
		defer h.ending.Add(-1)
	}
	h.open.Add(-1) // a hook may call Close, so the hook comes after
	st.logEnd(reason.String())
}

// closeOutput closes out. A client whose stream ends gracefully gets all that was
// sent. One that does not read loses what the kernel still holds for it, since
// the kernel would keep these bytes for as long as it tries to send them.
func (st *Stream) closeOutput(r engine.Reason) {
	switch {
	case !r.Graceful():
		switch c := st.out.(type) {
		case *socket.Conn:
			if r == engine.ReasonStalled {
				c.Reset()
			}
		case interface{ NetConn() net.Conn }: // TLS would wait for 5 s to send its alert
			_ = c.NetConn().Close()
		}
	case st.sock != nil:
		st.sock.Discard()
	}
	_ = st.out.Close()
}

// BeginDrain refuses new streams from now on, by LimitDrain.
func (h *Hub) BeginDrain() { h.draining.Store(true) }

// Draining reports whether new streams are refused.
func (h *Hub) Draining() bool { return h.draining.Load() }

// Drain ends the streams, rate of them per second, or more if that is needed to
// end all of them before the deadline. Each client gets a random reconnection
// time. Streams that are still open at the deadline are aborted, and so are all
// as soon as ctx is done: then Drain waits at most endingTime for them.
func (h *Hub) Drain(ctx context.Context, rate int, deadline time.Time) {
	h.BeginDrain()
	for ctx.Err() == nil && h.open.Load() > 0 && time.Now().Before(deadline) {
		h.endPaced(ctx, rate, deadline)
	}
	if ctx.Err() != nil {
		h.abortAll(ctx, engine.ReasonError)
	} else {
		h.abortAll(ctx, engine.ReasonStalled)
	}
	h.waitHooks()
}

// Close aborts all streams and ends the hub's goroutine.
func (h *Hub) Close() {
	h.BeginDrain()
	h.stopOnce.Do(func() { close(h.stop) })
	h.abortAll(context.Background(), engine.ReasonError)
	h.waitHooks()
	h.done.Wait()
	h.poller.Close()
}

const (
	endingTime = time.Second           // bounds the end of streams that are aborted, and of their hooks
	drainTick  = 10 * time.Millisecond // the shortest pause of a drain
)

// endPaced asks the streams that are open now to end, at a rate that leaves them
// the last second before the deadline for their last bytes. It goes by the
// clock: a pause that was too long is made up for.
func (h *Hub) endPaced(ctx context.Context, rate int, deadline time.Time) {
	all := h.registry.all(func(st *Stream) bool { return st.sub.Closing() == 0 })
	start := time.Now()
	left := max(deadline.Sub(start)-time.Second, drainTick)
	perSecond := max(float64(rate), float64(len(all))/left.Seconds())
	for i, st := range all {
		due := start.Add(time.Duration(float64(i) / perSecond * float64(time.Second)))
		if pause := time.Until(due); pause > 0 && !Sleep(ctx, max(pause, drainTick)) {
			return
		}
		st.sub.Close(engine.ReasonDrain)
	}
	Sleep(ctx, drainTick) // for those that are writing their last bytes
}

// abortAll aborts what is open, and waits until it has ended, or for endingTime
// after ctx is done.
func (h *Hub) abortAll(ctx context.Context, r engine.Reason) {
	var over time.Time
	for h.open.Load() > 0 {
		if ctx.Err() != nil {
			if over.IsZero() {
				over = time.Now().Add(endingTime)
			} else if time.Now().After(over) {
				return
			}
		}
		for _, st := range h.registry.all(func(*Stream) bool { return true }) {
			st.abort(r)
		}
		time.Sleep(time.Millisecond) // their goroutines are closing sockets
	}
}

// waitHooks waits until the access log and OnDisconnect have got the streams that have
// ended, but not for longer than endingTime: a hook that calls Close or Drain would wait
// for itself.
func (h *Hub) waitHooks() {
	for over := time.Now().Add(endingTime); h.ending.Load() > 0 && time.Now().Before(over); {
		time.Sleep(time.Millisecond)
	}
}

// Sleep waits, and returns false if ctx was done first.
func Sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
