package transport

import (
	"sync/atomic"
	"syscall"
	"time"

	"fanfare/engine"
)

// output is where a stream's bytes go: a net.Conn, or the response of a
// net/http server.
type output interface {
	Write([]byte) (int, error)
	SetWriteDeadline(time.Time) error
	Close() error
}

// stream is one open connection: a subscriber and the socket it writes to.
//
// Whoever owns the subscriber (see engine.Subscriber) owns rest, the socket's
// write side and fault too. That is the waker that called Ready, the fast path,
// or the stream's goroutine. The goroutine is there only while something must
// wait, for a full socket or for the end: the waker starts it, which passes the
// ownership, and it ends when it has released the subscriber. So an idle stream
// has no stack. Only the goroutine closes the socket, as the last thing, without
// releasing the subscriber: a raw file descriptor is never used after being
// closed.
//
// A stream without a raw descriptor cannot be written to without blocking. Its
// goroutine stays, and waits on wake for the ownership.
type stream struct {
	sub engine.Subscriber
	srv *Server
	out output
	raw syscall.RawConn // nil if out cannot be written to without blocking
	fd  int             // of raw
	// wake holds a token when the stream's goroutine is to take over; nil with raw.
	wake chan struct{}

	// rest and, behind it, the parts in render.tail are what is left of the bytes
	// under way; owner only. They refer to a shared frame or to a small private
	// copy, of an id for example, so that a client that stalls holds no large
	// memory of its own. They are never written to.
	rest []byte
	// render is what the stream writes of an event beside its shared bytes; nil
	// for nothing.
	render *rendering
	// fault is why the owner gave up; owner only.
	fault engine.Reason
	dirty bool  // out holds bytes that Flush would send; owner only
	turns uint8 // writes left to the waker that runs Ready, 0 in the goroutine; owner only

	// The sweep reads these, the owner writes them: times of Server.clock.
	lastWrite    atomic.Int64
	blockedSince atomic.Int64 // 0: not waiting for the client
	pingDue      atomic.Bool  // set by the sweep, cleared by the owner

	// place in the registry, under its shard's lock
	shard, index int32
	gen          uint32  // tells the hang-up watcher's streams on one fd apart
	opened       int64   // Server.clock
	access       *access // nil without AccessLog
}

// wakerTurns is how many writes a waker makes for one stream before it hands the
// rest to the stream's goroutine, which the scheduler interrupts: a publisher
// that is faster than one socket must not keep the waker from the others.
const wakerTurns = 8

// outcome is how a run of the write path ended.
type outcome uint8

const (
	released outcome = iota // nothing to do; no longer the owner
	blocked                 // the socket is full, or the waker has had its turns
	faulty                  // fault says why
	closing                 // the subscriber is closed and all is sent
)

// Ready runs when there is news and nobody is at work on the stream.
func (st *stream) Ready() {
	// fast path: write from here, without waking a goroutine.
	if st.raw != nil && st.sub.Closing() == 0 && st.pumpSafely() == released {
		return
	}
	// slow path
	if st.raw != nil {
		go st.run()
		return
	}
	st.wake <- struct{}{} // never blocks: the goroutine takes the token before it becomes the owner
}

// pumpSafely keeps a panic from ending the waker, and with it the process.
func (st *stream) pumpSafely() (out outcome) {
	defer func() {
		if v := recover(); v != nil {
			st.panicked(v)
			out = faulty
		}
	}()
	st.turns = wakerTurns
	return st.pump()
}

// run is the stream's goroutine. It owns the subscriber when it starts.
func (st *stream) run() {
	raw := st.raw != nil // once released, the stream may be another's
	for {
		switch st.serve() {
		case released:
			if raw {
				return
			}
			<-st.wake
		case closing:
			st.end()
			return
		}
	}
}

// serve runs until there is nothing to write: released, or closing if there will
// never be anything again; faulty after a panic, with fault set.
func (st *stream) serve() (out outcome) {
	defer func() {
		if v := recover(); v != nil {
			st.panicked(v)
			out = faulty
		}
	}()
	for {
		st.turns = 0
		switch st.pump() {
		case released:
			return released
		case blocked:
			st.waitWritable()
		case faulty:
			st.sub.Close(st.fault)
			return closing
		case closing:
			st.sayGoodbye()
			return closing
		}
	}
}

// pump writes what is pending until there is nothing more, then releases the
// subscriber.
func (st *stream) pump() outcome {
	for {
		if st.fault != 0 {
			return faulty // noticed by the owner before this one
		}
		if out, done := st.send(); done {
			return out
		}
		if st.sub.Closing() != 0 {
			// Closed since send looked: then it may hold a last look at the ring.
			if out, done := st.send(); done {
				return out
			}
			return closing
		}
		if st.sub.Release() {
			return released
		}
	}
}

// send writes rest and all that Next has. done is false if all is written.
func (st *stream) send() (out outcome, done bool) {
	for {
		if len(st.rest) > 0 {
			if r := st.sub.Closing(); r != 0 && !r.Graceful() {
				return closing, true
			}
			if out, done := st.writeRest(); done {
				return out, true
			}
			if st.spent() {
				return blocked, true
			}
		}
		it, ok := st.sub.Next(true)
		switch {
		case !ok:
			if st.pingDue.Load() && st.pingDue.Swap(false) && st.sub.Closing() == 0 {
				st.srv.metrics.pings.Inc()
				st.rest = st.srv.settings.Load().ping()
				continue
			}
			return st.flush()
		case it.Gap != nil:
			if !st.tell(it) {
				return faulty, true
			}
		case st.raw == nil:
			st.deliver(it)
		default:
			if out, done := st.sendBatch(it); done {
				return out, true
			}
			if st.spent() {
				return blocked, true
			}
		}
	}
}

// spent counts a write, and reports whether it was the last one that the waker
// makes.
func (st *stream) spent() bool {
	if st.turns == 0 {
		return false
	}
	st.turns--
	return st.turns == 0
}

// deliver makes an event, which Next has just returned, the rest, and counts it.
func (st *stream) deliver(it engine.Item) {
	if st.render == nil {
		st.rest = it.Event.Bytes()
	} else {
		st.keep(st.render.parts(it, &st.sub))
	}
	st.srv.metrics.delivered(1, len(it.Event.Bytes()))
	st.access.count(1, len(it.Event.Bytes()))
	st.sample(it.Event)
}

// keep makes the parts of a rendered event, not all of them empty, the rest.
func (st *stream) keep(parts [][]byte) {
	for len(parts[0]) == 0 {
		parts = parts[1:]
	}
	st.rest, st.render.tail = parts[0], parts[1:]
}

// sample records the time from publish to write for some of the deliveries.
func (st *stream) sample(ev *engine.Event) {
	if (ev.Seq()+uint64(st.gen))&st.srv.sampleMask.Load() == 0 {
		st.srv.metrics.delivery.Observe(time.Duration(time.Now().UnixNano() - ev.At()).Seconds())
	}
}

// tell acts on a gap. It returns false if the stream is to end.
func (st *stream) tell(it engine.Item) bool {
	g, m := it.Gap, st.srv.metrics
	m.gaps[g.Reason].Inc()
	if g.Missed > 0 {
		m.missed.Add(float64(g.Missed))
	}
	if g.Reason == engine.GapLag {
		m.slow[g.Policy].Inc()
		switch g.Policy {
		case engine.Latest:
			return true
		case engine.Disconnect:
			st.fault = engine.ReasonLagged
			return false
		}
	}
	st.rest = appendGap(nil, g, st.render.lead(it), st.srv.settings.Load(), &st.sub)
	return true
}

// writeRest writes rest. done is false if all of it is written.
func (st *stream) writeRest() (out outcome, done bool) {
	for len(st.rest) > 0 {
		n, err := st.write(st.rest)
		if n > 0 {
			st.rest = st.rest[n:]
			st.wrote()
		}
		switch {
		case err == errWouldBlock:
			return blocked, true
		case err != nil:
			st.fault = engine.ReasonGone
			return faulty, true
		}
		if r := st.render; r != nil {
			for len(st.rest) == 0 && len(r.tail) > 0 {
				st.rest, r.tail = r.tail[0], r.tail[1:]
			}
		}
	}
	st.rest = nil
	return 0, false
}

const (
	// maxBlockingWrite bounds one write to an output that blocks, so that the
	// sweep sees progress.
	maxBlockingWrite = 16 << 10
	// blockedWrite is how long such a write lasts if the client could not take it.
	blockedWrite = 5 * time.Millisecond
)

// write writes some of b: without blocking where there is a raw descriptor, and
// otherwise, only ever in the stream's goroutine, blocking.
func (st *stream) write(b []byte) (int, error) {
	if st.raw != nil {
		return rawWrite(st.fd, b)
	}
	since := st.block()
	n, err := st.out.Write(b[:min(len(b), maxBlockingWrite)])
	st.dirty = true
	st.unblock(since)
	return n, err
}

// flush sends what a buffering output holds.
func (st *stream) flush() (out outcome, done bool) {
	f, ok := st.out.(interface{ Flush() error })
	if !ok || !st.dirty {
		return 0, false
	}
	since := st.block()
	err := f.Flush()
	st.dirty = false
	st.unblock(since)
	if err != nil {
		st.fault = engine.ReasonGone
		return faulty, true
	}
	return 0, false
}

// block and unblock surround a write that may block.
func (st *stream) block() time.Time {
	st.blockedSince.Store(st.srv.clock.Load())
	return time.Now()
}

func (st *stream) unblock(since time.Time) {
	st.blockedSince.Store(0)
	if time.Since(since) >= blockedWrite {
		st.conflate()
	}
}

// conflate skips what a slow client does not want any more.
func (st *stream) conflate() {
	if n := st.sub.Conflate(); n > 0 {
		st.srv.metrics.slow[engine.Latest].Inc()
		st.srv.metrics.missed.Add(float64(n))
	}
}

// wrote notes that the connection has taken something.
func (st *stream) wrote() {
	now := st.srv.clock.Load()
	if st.lastWrite.Load() == now {
		return
	}
	st.lastWrite.Store(now)
	if st.blockedSince.Load() != 0 {
		st.blockedSince.Store(now)
	}
}

// waitWritable waits until the client has taken the rest, or the stream is
// given up. Goroutine only.
func (st *stream) waitWritable() {
	st.blockedSince.Store(st.srv.clock.Load())
	st.srv.blocked.Add(1)
	defer func() { // also after a panic
		st.srv.blocked.Add(-1)
		st.blockedSince.Store(0)
	}()
	// The error is that of the deadline which the sweep or the hang-up watcher
	// sets: the subscriber's reason tells.
	_ = st.raw.Write(func(uintptr) bool { return st.resume() })
	st.conflate()
}

// resume goes on with the rest once the socket may have room. It returns false
// if the socket is full again.
func (st *stream) resume() bool {
	if r := st.sub.Closing(); r != 0 && !r.Graceful() {
		return true
	}
	if len(st.rest) == 0 {
		// Nothing is cut: wait for room by the next event itself.
		it, ok := st.sub.Next(false)
		if !ok {
			return true
		}
		st.deliver(it)
	}
	out, done := st.writeRest()
	return !done || out != blocked
}
