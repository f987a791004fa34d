package stream

import (
	"time"

	"fanfare/engine"
	"fanfare/transport/internal/socket"
)

// send writes what is pending and everything that Next has. done is false if all
// is written.
func (st *Stream) send() (out outcome, done bool) {
	for {
		// Write what is left of the bytes under way.
		if len(st.pending) > 0 {
			if r := st.sub.Closing(); r != 0 && !r.Graceful() {
				return closing, true
			}
			if out, done := st.writePending(); done {
				return out, true
			}
			if st.spend() {
				return blocked, true
			}
		}
		// Take over what was fetched from the log.
		if st.waiting() {
			if st.fill(); len(st.pending) > 0 {
				continue
			}
		}
		// Take the next event, gap or heartbeat.
		it, ok := st.next(true)
		switch {
		case !ok:
			if st.due.Load() != 0 && !st.doDue() {
				return faulty, true
			}
			if len(st.pending) > 0 {
				continue
			}
			return st.flush()
		case it.Gap != nil:
			if !st.reportGap(it) {
				return faulty, true
			}
		case st.sock == nil:
			st.setPending(it)
		default:
			if out, done := st.sendCoalesced(it); done {
				return out, true
			}
			if st.spend() {
				return blocked, true
			}
		}
	}
}

// spend takes one write from the waker's budget, and reports whether it was the
// last one.
func (st *Stream) spend() bool {
	if st.budget == 0 {
		return false
	}
	st.budget--
	return st.budget == 0
}

// setPending makes an event, which Next has just returned, pending, and counts
// it.
func (st *Stream) setPending(it engine.Item) {
	st.current = it.Event
	if st.render == nil {
		st.pending = it.Event.Bytes()
	} else {
		st.setParts(st.render.parts(it, &st.sub))
	}
	st.hub.metrics.Delivered(1, len(it.Event.Bytes()))
	st.details.count(1, len(it.Event.Bytes()))
	st.sample(it.Event)
	st.noteID(it.Event)
}

// setParts makes the parts of a rendered event, not all of them empty, pending.
func (st *Stream) setParts(parts [][]byte) {
	for len(parts[0]) == 0 {
		parts = parts[1:]
	}
	st.pending, st.render.pending = parts[0], parts[1:]
}

// sample records the time from publish to write for some of the deliveries.
func (st *Stream) sample(ev *engine.Event) {
	if (ev.Seq()+uint64(st.gen))&st.hub.sampleMask.Load() == 0 {
		st.hub.metrics.Delivery.Observe(time.Duration(time.Now().UnixNano() - ev.At()).Seconds())
	}
}

// reportGap counts a gap, and makes the event that reports it pending if the
// policy wants one. It returns false if the stream is to end.
func (st *Stream) reportGap(it engine.Item) bool {
	g, m := it.Gap, st.hub.metrics
	m.Gaps[g.Reason].Inc()
	if g.Missed > 0 {
		m.Missed.Add(float64(g.Missed))
	}
	if g.Reason == engine.GapLag {
		m.Slow[g.Policy].Inc()
		switch g.Policy {
		case engine.Latest:
			return true
		case engine.Disconnect:
			st.fault = engine.ReasonLagged
			return false
		}
	}
	st.pending = appendGap(nil, g, st.render.envelopeLine(it), st.hub.config.Load(), &st.sub)
	return true
}

// writePending writes what is pending. done is false if all of it is written.
func (st *Stream) writePending() (out outcome, done bool) {
	for len(st.pending) > 0 {
		n, err := st.write(st.pending)
		if n > 0 {
			st.pending = st.pending[n:]
			st.wrote(n)
		}
		switch {
		case socket.WouldBlock(err):
			return blocked, true
		case err != nil:
			st.fault = engine.ReasonGone
			return faulty, true
		}
		if r := st.render; r != nil {
			for len(st.pending) == 0 && len(r.pending) > 0 {
				st.pending, r.pending = r.pending[0], r.pending[1:]
			}
		}
	}
	st.pending, st.current = nil, nil
	return 0, false
}

const (
	// maxBlockingWrite bounds one write to an output that blocks, so that the
	// sweep sees progress.
	maxBlockingWrite = 16 << 10
	// blockedWrite is how long such a write lasts if the client could not take it.
	blockedWrite = 5 * time.Millisecond
)

// write writes some of b. It does not block where there is a socket of ours;
// otherwise it may, and runs only in the stream's goroutine.
func (st *Stream) write(b []byte) (int, error) {
	if st.sock != nil {
		return st.sock.TryWrite(b)
	}
	since := st.block()
	n, err := st.out.Write(b[:min(len(b), maxBlockingWrite)])
	st.dirty = true
	st.unblock(since)
	return n, err
}

// doDue does what others have asked for. It returns false if the stream is to end.
func (st *Stream) doDue() bool {
	due := st.due.Swap(0)
	if due&dueRead != 0 && st.sock.TryRead() != nil {
		st.fault = engine.ReasonGone
		return false
	}
	if due&duePing != 0 && st.sub.Closing() == 0 {
		st.hub.metrics.Pings.Inc()
		if st.dueID() {
			st.pending = st.appendPosition(nil)
		} else {
			st.pending = st.hub.config.Load().ping()
		}
	}
	return true
}

// flush sends what a buffering output holds.
func (st *Stream) flush() (out outcome, done bool) {
	if st.sock != nil {
		return st.flushSocket()
	}
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

// flushSocket sends what TLS has encrypted and the socket had no room for.
func (st *Stream) flushSocket() (out outcome, done bool) {
	if !st.sock.Unsent() {
		return 0, false
	}
	if r := st.sub.Closing(); r != 0 && !r.Graceful() {
		return closing, true
	}
	n, err := st.sock.TryFlush()
	if n > 0 {
		st.wrote(n)
	}
	switch {
	case socket.WouldBlock(err):
		return blocked, true
	case err != nil:
		st.fault = engine.ReasonGone
		return faulty, true
	}
	return 0, false
}

// block and unblock surround a write that may block.
func (st *Stream) block() time.Time {
	st.waits()
	return time.Now()
}

func (st *Stream) unblock(since time.Time) {
	st.blockedSince.Store(0)
	if time.Since(since) >= blockedWrite {
		st.conflate()
	}
}

// conflate skips the events that the policy of a slow client gives up.
func (st *Stream) conflate() {
	if st.waiting() {
		return
	}
	if n := st.sub.Conflate(); n > 0 {
		st.hub.metrics.Slow[engine.Latest].Inc()
		st.hub.metrics.Missed.Add(float64(n))
	}
}

// waits notes that the stream waits for its client from now on.
func (st *Stream) waits() {
	now := st.hub.clock.Load()
	st.blockedSince.Store(now)
	if st.slowSince.Load() == 0 {
		st.slowBytes.Store(0)
		st.slowSince.Store(now)
	}
}

// wrote notes that the connection has taken n bytes.
func (st *Stream) wrote(n int) {
	if st.slowSince.Load() != 0 {
		st.slowBytes.Add(int64(n))
	}
	now := st.hub.clock.Load()
	if st.lastWrite.Load() == now {
		return
	}
	st.lastWrite.Store(now)
	if st.blockedSince.Load() != 0 {
		st.blockedSince.Store(now)
	}
}

// waitWritable waits until the client has taken what is pending, or the stream
// is given up. Goroutine only.
func (st *Stream) waitWritable() {
	st.waits()
	st.hub.lenient.add(st)
	st.hub.blocked.Add(1)
	defer func() { // also after a panic
		st.hub.blocked.Add(-1)
		st.blockedSince.Store(0)
	}()
	for !st.writable() {
		st.hub.pins.add(st)
		st.sock.WaitWritable()
		st.hub.pins.remove(st)
	}
	st.conflate()
}

// writable goes on with what is pending once the socket may have room. It
// returns false if the socket is full again.
func (st *Stream) writable() bool {
	if r := st.sub.Closing(); r != 0 && !r.Graceful() {
		return true
	}
	if out, done := st.flush(); done {
		return out != blocked
	}
	if len(st.pending) == 0 {
		// No event was cut: find out by the next one whether there is room.
		it, ok := st.next(false)
		if !ok {
			return true
		}
		st.setPending(it)
	}
	out, done := st.writePending()
	return !done || out != blocked
}
