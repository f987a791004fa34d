package transport

import (
	"net"
	"runtime/debug"
	"time"

	"fanfare/engine"
)

// panicked notes that a bug ended this stream. The others go on.
func (st *stream) panicked(v any) {
	st.fault = engine.ReasonError
	st.srv.metrics.panics.Inc()
	st.srv.settings.Load().Logger.Error("a stream ended by a panic: please report this", "panic", v, "stack", string(debug.Stack()))
}

// abort ends the stream without sending the rest, whatever its goroutine waits
// for. Anyone may call it, at any time.
func (st *stream) abort(r engine.Reason) {
	st.sub.Close(r)
	_ = st.out.SetWriteDeadline(time.Unix(1, 0))
}

// sayGoodbye tells the client of a server that drains when to come back. Best
// effort: the socket takes these bytes, or the client is not reading.
func (st *stream) sayGoodbye() {
	if st.sub.Closing() == engine.ReasonDrain && len(st.rest) == 0 {
		_, _ = st.write(append(appendRetryLine(nil, st.srv.settings.Load().jitter()), '\n'))
		_, _ = st.flush()
	}
}

// end closes the connection. Goroutine only, as the owner, and the last thing
// that it does.
func (st *stream) end() {
	s := st.srv
	defer s.contain(func() {})
	reason := st.sub.Closing()
	if st.raw != nil {
		s.hangups.remove(st) // before the descriptor can be given out again
	}
	st.hangUp(reason)
	s.streams.remove(st) // not before: a close can block, until abort
	s.open.Add(-1)
	s.metrics.closed[reason].Inc()
	st.logEnd(reason.String())
}

// hangUp closes out. A client that gets the end politely gets all that was sent;
// one that takes nothing loses what the kernel still holds for it, instead of
// leaving it there for as long as the kernel tries.
func (st *stream) hangUp(r engine.Reason) {
	switch {
	case !r.Graceful():
		switch c := st.out.(type) {
		case *net.TCPConn:
			if r == engine.ReasonStalled {
				_ = c.SetLinger(0)
			}
		case interface{ NetConn() net.Conn }: // TLS would wait for 5 s to say goodbye
			_ = c.NetConn().Close()
		}
	case st.raw != nil:
		discardInput(st.fd)
	}
	_ = st.out.Close()
}
