package stream

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"fanfare/engine"
	"fanfare/transport/internal/socket"
)

// Output is where a stream's bytes go: a net.Conn, or the response of a net/http
// server. An Output with a method Flush() error is flushed when there is nothing
// more to write.
type Output interface {
	Write([]byte) (int, error)
	SetWriteDeadline(time.Time) error
	Close() error
}

// Stream is one open connection: a subscriber and the socket it writes to.
//
// Whoever owns the subscriber (see engine.Subscriber) also owns pending, the
// socket's write side, and fault. The owner is either the waker that called
// Ready, the fast path, or the stream's goroutine. The goroutine exists only
// while something must wait, for a full socket or for the end: the waker starts
// it, which passes the ownership on, and it ends when it has released the
// subscriber. So an idle stream has no stack. Only the goroutine closes the
// socket, as the last thing it does and without releasing the subscriber: so a
// raw file descriptor is never used after it was closed.
//
// A stream without a socket of ours cannot be written to without blocking. Its
// goroutine stays, and waits on more.wake for the ownership.
type Stream struct {
	sub  engine.Subscriber
	hub  *Hub
	out  Output
	sock *socket.Conn // out, or nil if that cannot be written to without blocking

	// pending and, after it, render.pending are the bytes under way that are not
	// written yet; owner only. They refer to a shared frame or to a small private
	// copy, of an id for example, so a client that stalls holds no large memory of
	// its own. They are never written to.
	pending []byte
	// current is the event that pending belongs to, nil if it is none; owner only.
	current *engine.Event
	// render is what the stream writes of an event in addition to its shared
	// bytes; nil for nothing.
	render *rendering
	// more is what only some streams have; nil for nothing. It is set by Subscribe.
	more *more
	// fault is why the owner gave up; owner only.
	fault   engine.Reason
	resumed engine.Resumed // how it began; set before the first owner
	dirty   bool           // out holds bytes that Flush would send; owner only
	budget  uint8          // writes left to the waker that runs Ready, 0 in the goroutine; owner only
	shard   uint8          // of the registry; set when the stream is added

	// The sweep reads these, the owner writes them: times of Hub.clock.
	lastWrite    atomic.Int64
	blockedSince atomic.Int64  // 0: not waiting for the client
	slowSince    atomic.Int64  // when it first had to wait since it was last up to date; 0: it is
	slowBytes    atomic.Int64  // that the client has taken since then
	due          atomic.Uint32 // what others ask the owner to do: duePing, dueRead

	index   int32    // place in the shard of the registry, under the shard's lock
	gen     uint32   // its number
	pin     int32    // place among the streams of current in pins, under pins.mu
	opened  int64    // Hub.clock
	details *details // nil if there are none
}

// Start begins the stream of a connection: it sends head and what the stream
// begins with, and returns.
func (st *Stream) Start(head []byte) {
	st.pending = st.appendOpening(head)
	if c, ok := st.out.(net.Conn); ok && st.sock == nil {
		go st.watchByReading(c)
	}
	st.hub.launch(st)
	// The caller of Subscribe is the owner: it does what a waker would.
	if st.sock == nil {
		go st.run()
	} else {
		st.Ready()
	}
}

// Serve runs the stream in the caller's goroutine until it ends, or ctx does. The
// head is on its way in the output, which is flushed first.
func (st *Stream) Serve(ctx context.Context) {
	st.pending = st.appendOpening(nil)
	st.dirty = true // the head goes out at once
	st.hub.launch(st)
	stop := context.AfterFunc(ctx, func() { st.abort(engine.ReasonGone) })
	defer stop()
	st.run()
}

// watchByReading notices that the client has gone where there is no descriptor
// to watch. It discards what the client sends after its request.
func (st *Stream) watchByReading(c net.Conn) {
	buf := make([]byte, 512)
	for {
		if _, err := c.Read(buf); err != nil {
			st.abort(engine.ReasonGone)
			return
		}
	}
}

// What is due when the owner has nothing to write.
const (
	duePing = 1 << iota // a heartbeat; set by the sweep
	dueRead             // the client of a TLS connection has sent something; set by the poller
)

// wakerBudget is how many writes a waker makes for one stream before it hands
// the stream to its goroutine, which the scheduler interrupts: a publisher that
// is faster than one socket must not keep the waker from the others.
const wakerBudget = 8

// outcome is how a run of the write path ended.
type outcome uint8

const (
	released outcome = iota // nothing to do; no longer the owner
	blocked                 // the socket is full, or the waker's budget is used up
	faulty                  // fault says why
	closing                 // the subscriber is closed and everything is sent
	fetching                // the subscriber is closed, and gets events from the log first
)

// Ready implements engine.Sink: there is news, and nobody is at work on the
// stream.
func (st *Stream) Ready() {
	// fast path: write from here, without waking a goroutine.
	if st.sock != nil && st.sub.Closing() == 0 && st.pumpSafely() == released {
		return
	}
	// slow path
	if st.sock != nil {
		go st.run()
		return
	}
	st.more.wake <- struct{}{} // never blocks: the goroutine takes the token before it becomes the owner
}

// pumpSafely keeps a panic from ending the waker, and with it the process.
func (st *Stream) pumpSafely() (out outcome) {
	defer func() {
		if v := recover(); v != nil {
			st.panicked(v)
			out = faulty
		}
	}()
	st.budget = wakerBudget
	return st.pump()
}

// run is the stream's goroutine. It owns the subscriber when it starts.
func (st *Stream) run() {
	sock := st.sock != nil // read now: once released, the stream may be another owner's
	for {
		switch st.serve() {
		case released:
			if sock {
				return
			}
			<-st.more.wake
		case closing:
			st.end()
			return
		}
	}
}

// serve runs until there is nothing to write: it returns released, or closing if
// there will never be anything again. After a panic it returns faulty, with fault
// set.
func (st *Stream) serve() (out outcome) {
	defer func() {
		if v := recover(); v != nil {
			st.panicked(v)
			out = faulty
		}
	}()
	for {
		st.budget = 0
		switch st.pump() {
		case released:
			return released
		case blocked:
			st.waitWritable()
		case fetching:
			st.more.wait()
		case faulty:
			st.sub.Close(st.fault)
			return closing
		case closing:
			st.sendFarewell()
			return closing
		}
	}
}

// panicked notes that a bug ended this stream. The others go on.
func (st *Stream) panicked(v any) {
	st.fault = engine.ReasonError
	st.hub.log.Panicked("stream", v)
}

// pump writes what is pending until there is nothing more, then releases the
// subscriber.
func (st *Stream) pump() outcome {
	for {
		if st.fault != 0 {
			return faulty // noticed by the owner before this one
		}
		if out, done := st.send(); done {
			return out
		}
		if st.sub.Closing() != 0 {
			// It was closed after send looked: the ring may have a last event.
			if out, done := st.send(); done {
				return out
			}
			if st.waiting() && st.sub.Closing().Graceful() {
				return fetching
			}
			return closing
		}
		if st.slowSince.Load() != 0 {
			st.slowSince.Store(0)
		}
		if st.sub.Release() {
			return released
		}
	}
}
