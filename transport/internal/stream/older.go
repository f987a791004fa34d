package stream

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"fanfare/engine"
)

// A stream that resumes where the rings do not reach back to needs events from the log. It has a head and heartbeats while
// it waits for them, and no goroutine: the hub has a few, which fetch a range each. Streams that need the same range at
// the same time share it. The backplane keeps what it has fetched for a while, so a reconnect storm of one key costs the
// broker one fetch.
//
// What cannot be fetched in time, or would take too much memory, is a gap of the stream.

const (
	olderWorkers = 8                // fetches at once; the backplane has a limit of its own
	olderTimeout = 30 * time.Second // for a fetch, with the time that it waits for its turn
	// idInterval is how long a stream goes without an id: see dueID.
	idInterval = time.Minute
)

// Fetch gets the events of a range of the log, see cluster.Node.Older. With an engine.LostError they are the newest of the range.
type Fetch func(context.Context, engine.Missing) ([]*engine.Event, error)

// more is what only streams in log mode have, and those without a socket of ours. Its fields belong to the owner, except
// where it is said.
type more struct {
	// wake holds a token when the stream's goroutine is to take over; nil with sock.
	wake chan struct{}

	// In log mode.
	follows bool
	waits   bool // for ranges
	// ranges are what the stream waits for, as in engine.Subscriber.Missing, and holds until it has read them. nil is one
	// that it does not hold any more.
	ranges []*fetch
	left   atomic.Int32 // of ranges that it waits for; whoever makes it 0 wakes the stream
	lastID int64        // Hub.clock when the client last got an id

	ready       chan struct{} // closed when left is 0
	interrupted chan struct{} // closed by interrupt
	once        sync.Once
}

// interrupt ends wait. Anyone may call it.
func (f *more) interrupt() {
	if f != nil && f.interrupted != nil {
		f.once.Do(func() { close(f.interrupted) })
	}
}

// wait returns when the ranges are there, or after interrupt.
func (f *more) wait() {
	select {
	case <-f.ready:
	case <-f.interrupted:
	}
}

// follows reports whether the engine follows a log.
func (st *Stream) follows() bool { return st.more != nil && st.more.follows }

// waiting reports whether the stream waits for events from the log. Owner only.
func (st *Stream) waiting() bool { return st.more != nil && st.more.waits }

// follow begins what a stream has in log mode. It is called after Subscribe, by the owner.
func (h *Hub) follow(st *Stream) {
	if st.more == nil {
		st.more = &more{}
	}
	f := st.more
	f.follows, f.lastID = true, h.clock.Load()
	missing := st.sub.Missing()
	if len(missing) == 0 {
		return
	}
	f.waits = true
	f.ready, f.interrupted = make(chan struct{}), make(chan struct{})
	f.ranges = make([]*fetch, len(missing))
	f.left.Store(int32(len(missing)))
	h.waiting.Add(1)
	for i, m := range missing {
		f.ranges[i] = h.fetches.join(m, st)
	}
}

// fill gives the engine what the stream has waited for, if it is there, and makes the position pending that the
// opening did not have. Owner only.
func (st *Stream) fill() {
	f := st.more
	if !f.waits || f.left.Load() > 0 {
		return
	}
	f.waits = false
	st.hub.waiting.Add(-1)
	whole := st.resumed != engine.ResumedGap
	for i, r := range f.ranges {
		st.sub.Fill(i, r.events, r.err)
		whole = whole && r.err == nil
	}
	st.drop(func(r *fetch) bool { return len(r.events) == 0 })
	if c := st.hub.config.Load(); whole && !c.PlainIDs {
		st.pending = st.appendPosition(nil)
	}
}

// next is the engine's Next, once there is nothing to wait for.
func (st *Stream) next(gaps bool) (engine.Item, bool) {
	if st.waiting() {
		return engine.Item{}, false
	}
	it, ok := st.sub.Next(gaps)
	if st.more != nil && st.more.ranges != nil && it.Event != nil {
		st.drop(func(r *fetch) bool { return r.events[len(r.events)-1] == it.Event })
	}
	return it, ok
}

// drop ends the hold of the ranges for which is returns true. Owner only.
func (st *Stream) drop(is func(*fetch) bool) {
	f, held := st.more, false
	for i, r := range f.ranges {
		switch {
		case r == nil:
		case is(r):
			st.hub.fetches.leave(r, st)
			f.ranges[i] = nil
		default:
			held = true
		}
	}
	if !held {
		f.ranges = nil
	}
}

// dropAll ends the wait and the holds of a stream that ends. Owner only.
func (st *Stream) dropAll() {
	if !st.follows() {
		return
	}
	if st.waiting() {
		st.hub.waiting.Add(-1)
	}
	st.drop(func(*fetch) bool { return true })
}

// dueID reports whether the client needs a newer id. The events of its keys are the only ones that come with one, and a
// client of a quiet key would come back with an id that is far behind in the log, which the rings may not reach.
func (st *Stream) dueID() bool {
	return st.follows() && !st.more.waits && !st.hub.config.Load().PlainIDs && st.hub.clock.Load()-st.more.lastID >= st.hub.IDInterval.Milliseconds()
}

// noteID notes that the client gets an id with an event.
func (st *Stream) noteID(ev *engine.Event) {
	if !st.follows() {
		return
	}
	if at, _ := ev.ID(); at >= 0 {
		st.more.lastID = st.hub.clock.Load()
	}
}

// fetches are the ranges that streams wait for, or have waited for.
type fetches struct {
	hub    *Hub
	get    Fetch // nil without a backplane
	mu     sync.Mutex
	ranges map[engine.Missing]*fetch
	queue  []*fetch // those that no worker has taken
	busy   int      // workers
	// held counts the ranges that have an event. Ranges share events, so bytes are those of the memory that they take.
	held  map[*engine.Event]int
	bytes atomic.Int64
}

// fetch is a range of the log. Its events and err are set before a stream that waits for it is told.
type fetch struct {
	missing engine.Missing
	ctx     context.Context
	cancel  context.CancelFunc
	stop    func() bool // ends the watch of ctx
	events  []*engine.Event
	err     error

	// Under fetches.mu.
	streams map[*Stream]int // that wait for it, and how often
	holders int             // streams that have it or wait for it
	done    bool
}

// errOlderBytes says that the events would take too much memory.
var errOlderBytes = errors.New("the older events of all streams would take more than maxOlderBytes")

// join makes st wait for a range, which is fetched if nobody has asked for it before.
func (f *fetches) join(m engine.Missing, st *Stream) *fetch {
	if !m.Since.IsZero() {
		m.Since = m.Since.Truncate(time.Second) // so that those who come together share it
	}
	f.mu.Lock()
	r := f.ranges[m]
	if r == nil {
		r = f.begin(m)
	}
	r.holders++
	r.streams[st]++
	f.mu.Unlock()
	return r
}

// begin makes a range and has it fetched. The caller holds mu.
func (f *fetches) begin(m engine.Missing) *fetch {
	r := &fetch{missing: m, streams: map[*Stream]int{}}
	r.ctx, r.cancel = context.WithTimeout(context.Background(), f.hub.OlderTimeout)
	r.stop = context.AfterFunc(r.ctx, func() { f.end(r, nil, r.ctx.Err()) }) // also while it waits for its turn
	if f.ranges == nil {
		f.ranges = map[engine.Missing]*fetch{}
	}
	f.ranges[m] = r
	f.queue = append(f.queue, r)
	if f.busy < olderWorkers {
		f.busy++
		go f.work()
	}
	return r
}

// work fetches ranges until none is left.
func (f *fetches) work() {
	for {
		f.mu.Lock()
		if len(f.queue) == 0 {
			f.busy--
			f.queue = nil
			f.mu.Unlock()
			return
		}
		r := f.queue[0]
		f.queue[0] = nil
		f.queue = f.queue[1:]
		f.mu.Unlock()
		if r.ctx.Err() == nil {
			events, err := f.getSafely(r)
			f.end(r, events, err)
		}
	}
}

// getSafely keeps a panic from ending the process.
func (f *fetches) getSafely(r *fetch) (events []*engine.Event, err error) {
	defer f.hub.log.RecoverPanic(func() { events, err = nil, errors.New("the fetch has panicked") })
	return f.get(r.ctx, r.missing)
}

// end tells those who wait for a range how it ended. Only the first call counts.
func (f *fetches) end(r *fetch, events []*engine.Event, err error) {
	f.mu.Lock()
	if r.done {
		f.mu.Unlock()
		return
	}
	r.done = true
	f.forget(r)
	if r.holders > 0 {
		f.hold(events)
		if f.bytes.Load() > f.hub.config.Load().MaxOlderBytes {
			f.drop(events)
			f.hub.metrics.Refused[LimitOlder].Inc()
			events, err = nil, errOlderBytes
		}
	}
	r.events, r.err = events, err
	streams := r.streams
	r.streams = nil
	f.mu.Unlock()
	r.stop()
	r.cancel()
	for st, n := range streams {
		for range n {
			st.arrived()
		}
	}
}

// forget lets those who come later begin another fetch. The caller holds mu.
func (f *fetches) forget(r *fetch) {
	if f.ranges[r.missing] == r {
		delete(f.ranges, r.missing)
	}
}

// hold counts a range with these events. The caller holds mu.
func (f *fetches) hold(events []*engine.Event) {
	if f.held == nil {
		f.held = map[*engine.Event]int{}
	}
	for _, ev := range events {
		if f.held[ev]++; f.held[ev] == 1 {
			f.bytes.Add(int64(len(ev.Bytes())))
		}
	}
}

// drop takes back what hold has counted. The caller holds mu.
func (f *fetches) drop(events []*engine.Event) {
	for _, ev := range events {
		if f.held[ev]--; f.held[ev] == 0 {
			delete(f.held, ev)
			f.bytes.Add(-int64(len(ev.Bytes())))
		}
	}
	if len(f.held) == 0 {
		f.held = nil // a map does not shrink
	}
}

// leave ends a stream's hold of a range, and its wait. A fetch for which nobody waits any more is given up.
func (f *fetches) leave(r *fetch, st *Stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(r.streams, st)
	if r.holders--; r.holders > 0 {
		return
	}
	f.drop(r.events)
	r.events = nil
	if !r.done {
		f.forget(r)
		r.cancel()
	}
}

// arrived notes that a range which the stream waits for has ended. Anyone may call it.
func (st *Stream) arrived() {
	if st.more.left.Add(-1) == 0 {
		close(st.more.ready)
		st.sub.Notify()
	}
}
