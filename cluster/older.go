package cluster

import (
	"context"
	"errors"
	"math"
	"sort"
	"sync"
	"time"

	"fanfare/engine"
)

// Bounds of older events.
const (
	olderShares = 4 // Options.OlderBytes, so many times, bounds the frames that are kept for others
	// olderTTL is how long fetched events are kept after their last use: the clients of a key come back within seconds.
	olderTTL     = 10 * time.Second
	olderTimeout = 10 * time.Second // of one fetch, with repetitions
	olderRetry   = 200 * time.Millisecond
	// olderGrain widens a fetch to multiples of this many entries, so that clients at slightly different positions share it.
	olderGrain    = 1024
	olderGather   = 2 * time.Millisecond // how long a flight waits for others that want to take part
	olderAttempts = 8                    // how many fetches one call waits for
)

// errEpochChanged is returned for positions of an epoch that has ended meanwhile.
var errEpochChanged = errors.New("the epoch has changed: the positions mean nothing any more")

// older fetches events that the rings do not hold.
//
// All clients of a key may come back at once, each with a position of its own. For each key there is one flight at a time.
// It fetches what everybody who waits for it wants, as one range, and only what the key's span does not cover. The span is
// the result of the last flights: everybody gets a part of its slice. It is kept for some seconds, for those who come a bit
// later. At most OlderConcurrency flights fetch at once; those that wait for their turn go on collecting wishes.
type older struct {
	n    *Node
	turn chan struct{} // has a token for each fetch that runs

	mu    sync.Mutex
	keys  map[olderKey]*olderState
	bytes int64 // of all spans
}

// olderKey says whose events they are. The events of a rewind are kept apart: they are not all events of a range.
type olderKey struct {
	partition int
	all       bool
	key       string
	newest    int
	since     int64 // in seconds
	oldest    int   // of page only
}

func (k olderKey) rewind() bool { return k.newest > 0 || k.since != 0 }

// olderState is what is known of a key. Everything is guarded by older.mu.
type olderState struct {
	span   span
	flight *flight // nil if none is under way
	used   time.Time
}

// span has the events of a key with lost < sequence <= through. Those from after to lost cannot be had. Its slices are immutable.
type span struct {
	epoch, after, through uint64
	lost                  uint64 // not above after if nothing is lost
	removed               bool   // what is lost is what retention has removed; otherwise it is over the bounds, or damaged
	seqs                  []uint64
	events                []*engine.Event
	bytes                 int64
}

// flight is one fetch. The fields are guarded by older.mu until done is closed.
type flight struct {
	after, through uint64 // what everybody who waits wants
	begun          bool   // the range does not grow any more
	err            error
	done           chan struct{}
}

// covers reports whether the span has what can be had of a range or, with newest > 0, the newest so many. Then those at the end
// of the span are not those at the end of a shorter range. Nor are those within the bounds, but some of them will do.
func (s *span) covers(epoch, after, through uint64, newest int) bool {
	return s.epoch == epoch && s.after <= after && through <= s.through &&
		(newest == 0 || through == s.through || len(s.events) < newest) &&
		(through == s.through || s.removed || s.lost < through)
}

// part returns the events of a range.
func (s *span) part(after, through uint64) []*engine.Event {
	from := sort.Search(len(s.seqs), func(i int) bool { return s.seqs[i] > after })
	to := sort.Search(len(s.seqs), func(i int) bool { return s.seqs[i] > through })
	return s.events[from:to:to]
}

func (o *older) init(n *Node) {
	o.n, o.keys, o.turn = n, map[olderKey]*olderState{}, make(chan struct{}, n.o.OlderConcurrency)
}

// Older fetches the events that a subscriber misses in the rings. Calls for the same key share their fetches, and at most
// OlderConcurrency fetches run at once. If not all of them can be had, because retention has removed some, or they are over the
// bounds, it returns the newest ones, and an engine.LostError, which is an ErrTooOld, that says where these begin. With
// m.Oldest it returns the oldest ones that the log has, and ErrTooOld if others were removed.
func (n *Node) Older(ctx context.Context, m engine.Missing) ([]*engine.Event, error) {
	events, result, err := n.older.get(ctx, m)
	switch {
	case errors.Is(err, ErrTooOld) && len(events) > 0:
		result = olderPart
	case errors.Is(err, ErrTooOld):
		result = olderTooOld
	case err != nil:
		result = olderFailed
	}
	n.metrics.older.WithLabelValues(result).Inc()
	return events, err
}

func (o *older) get(ctx context.Context, m engine.Missing) (events []*engine.Event, result string, err error) {
	k := olderKey{partition: m.Partition, all: m.All, key: m.Key, newest: m.Newest}
	if !m.Since.IsZero() {
		k.since = m.Since.Unix()
	}
	p := o.n.partitions[m.Partition]
	done, cancel := p.waitApplied(engine.Position{Epoch: m.Epoch}) // the engine enters an epoch before the node does
	select {
	case <-done:
	case <-ctx.Done():
		cancel()
		return nil, "", ctx.Err()
	}
	epoch, epochSeq := p.current()
	if m.Epoch != epoch {
		return nil, "", errEpochChanged
	}
	after := max(m.After, epochSeq)
	m.Through = min(m.Through, p.newestOf(m.Key, m.All))
	if m.Oldest > 0 {
		m.After = after
		events, err = o.page(ctx, k, m)
		return events, olderFetched, err
	}
	if after >= m.Through {
		return nil, olderShared, nil
	}
	lost := uint64(0)
	if limit := uint64(o.n.o.OlderMaxEvents); !k.rewind() && m.Through-after > limit {
		after = m.Through - limit
		lost = after
	}
	result = olderShared
	for range olderAttempts {
		// Take what is there, or take part in a flight, or begin one.
		o.mu.Lock()
		s := o.keys[k]
		if s == nil {
			s = &olderState{}
			o.keys[k] = s
		}
		s.used = time.Now()
		if s.span.covers(epoch, after, m.Through, m.Newest) {
			events = s.span.part(after, m.Through)
			if s.span.lost > after {
				lost = s.span.lost
			}
			o.mu.Unlock()
			if lost > 0 {
				err = Lost(lost, ErrTooOld)
			}
			return since(events, m.Since), result, err
		}
		f := s.flight
		if f == nil {
			f = &flight{after: after, through: m.Through, done: make(chan struct{})}
			s.flight = f
			result = olderFetched
			if !o.n.spawn(func() { o.fly(k, s, f) }) {
				s.flight = nil
				o.mu.Unlock()
				return nil, result, errClosed
			}
		} else if !f.begun {
			o.widen(f, after, m.Through)
		}
		o.mu.Unlock()

		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, result, ctx.Err()
		}
		// A flight of a longer range may have been too long, so a shorter one may succeed.
		longer := f.after < after || f.through > m.Through
		if f.err != nil && f.after <= after && m.Through <= f.through && !(longer && errors.Is(f.err, ErrTooOld)) {
			return nil, result, f.err
		}
		if now, _ := p.current(); now != epoch {
			return nil, result, errEpochChanged
		}
	}
	return nil, result, errors.New("other fetches of the same key take too long")
}

// widen adds a range to a flight that has not begun, unless it would become too long. The caller holds mu.
func (o *older) widen(f *flight, after, through uint64) {
	after, through = min(after, f.after), max(through, f.through)
	if through-after <= uint64(o.n.o.OlderMaxEvents) {
		f.after, f.through = after, through
	}
}

// since drops what was stored before a time: shared results have events from the beginning of its second on.
func since(events []*engine.Event, t time.Time) []*engine.Event {
	if t.IsZero() {
		return events
	}
	return events[sort.Search(len(events), func(i int) bool { return events[i].At() >= t.UnixNano() }):]
}

// takeTurn waits until fewer than OlderConcurrency fetches run. Call release in any case.
func (o *older) takeTurn(ctx context.Context) (release func(), err error) {
	select {
	case o.turn <- struct{}{}:
		return func() { <-o.turn }, ctx.Err()
	case <-ctx.Done():
		return func() {}, ctx.Err()
	}
}

// fly waits for a turn and fetches what the span lacks.
func (o *older) fly(k olderKey, s *olderState, f *flight) {
	ctx, cancel := context.WithTimeout(o.n.ctx, olderTimeout)
	defer cancel()
	time.Sleep(olderGather)
	release, err := o.takeTurn(ctx)
	defer release()

	p := o.n.partitions[k.partition]
	epoch, epochSeq := p.current()
	o.mu.Lock()
	f.begun = true
	old := s.span
	want := span{epoch: epoch, after: f.after, through: f.through}
	o.mu.Unlock()

	// Fetch. If the broker cannot be reached, try again: to wait is better than a gap.
	fresh := span{}
	for err == nil {
		if k.rewind() {
			fresh, err = o.fetchNewest(ctx, k, want, epochSeq, k.since != 0)
		} else {
			fresh, err = o.fetchMissing(ctx, k, old, want, epochSeq)
		}
		if err == nil {
			err = p.checkEpoch(ctx, epoch)
		}
		if err == nil || errors.Is(err, ErrTooOld) || errors.Is(err, errEpochChanged) {
			break
		}
		select {
		case <-time.After(olderRetry):
			err = nil
		case <-ctx.Done():
		}
	}

	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil {
		o.bytes += fresh.bytes - s.span.bytes
		s.span = fresh
	}
	s.used = time.Now()
	s.flight, f.err = nil, err
	close(f.done)
	o.evict(s)
}

// fetchMissing returns a span that covers want, and takes from old what that has.
func (o *older) fetchMissing(ctx context.Context, k olderKey, old, want span, epochSeq uint64) (span, error) {
	// Widen the range to what others may want next, unless the log no longer has that.
	limit := uint64(o.n.o.OlderMaxEvents)
	wide := want
	wide.after = max(want.after&^(olderGrain-1), epochSeq)
	wide.through = max(want.through, min(want.through|(olderGrain-1), o.n.partitions[k.partition].appliedIn(want.epoch)))
	if wide.through-wide.after > limit {
		wide = want
	}
	fresh, err := o.join(ctx, k, old, wide)
	if !errors.Is(err, ErrTooOld) {
		return fresh, err
	}
	// The log has lost some of it, or it is over the bounds. Take the newest part. Those who do not want the rest must not fail with
	// those who do.
	k.newest = math.MaxInt
	return o.fetchNewest(ctx, k, want, epochSeq, true)
}

// join fetches the parts of want that old does not have, and puts them together.
func (o *older) join(ctx context.Context, k olderKey, old, want span) (span, error) {
	limit := uint64(o.n.o.OlderMaxEvents)
	old.after = max(old.after, old.lost)
	from, to := min(old.after, want.after), max(old.through, want.through)
	if old.after >= old.through || old.epoch != want.epoch || to-from > limit || old.bytes > o.n.o.OlderBytes {
		err := o.fetch(ctx, k, &want, want.after, want.through, false)
		return want, err
	}
	all := span{epoch: want.epoch, after: from, through: to}
	if from < old.after {
		if err := o.fetch(ctx, k, &all, from, old.after, false); err != nil {
			return span{}, err
		}
	}
	all.seqs, all.events = append(all.seqs, old.seqs...), append(all.events, old.events...)
	all.bytes += old.bytes
	if to > old.through {
		if err := o.fetch(ctx, k, &all, old.through, to, false); err != nil {
			return span{}, err
		}
	}
	return all, nil
}

// fetchNewest returns the newest events up to the end of want, as many as are wanted and within the bounds, or those since a time.
// It begins at the oldest entry that the log has. What retention has removed is not lost to a rewind, which asks for what there
// is, unless exact says so.
func (o *older) fetchNewest(ctx context.Context, k olderKey, want span, epochSeq uint64, exact bool) (span, error) {
	state, err := o.n.o.Log.State(ctx, k.partition)
	if err != nil {
		return span{}, err
	}
	after, removed := want.after, max(state.First, 1)-1
	if k.since != 0 {
		first, err := o.n.o.Log.SeqAt(ctx, k.partition, time.Unix(k.since, 0))
		if err != nil {
			return span{}, err
		}
		if first > state.First { // otherwise what was removed may be of that time, too
			after = max(after, first-1)
		}
	}
	if after < removed {
		after = removed
		if want.removed = exact && removed > epochSeq; want.removed {
			want.after, want.lost = epochSeq, removed // this is so for all
		}
	}
	err = o.fetch(ctx, k, &want, min(after, want.through), want.through, exact)
	var lost *engine.LostError
	if errors.As(err, &lost) {
		if lost.Through > want.lost {
			want.lost, want.removed = lost.Through, false
		}
		err = nil
	}
	return want, err
}

// fetch appends the events of a range to a span.
func (o *older) fetch(ctx context.Context, k olderKey, s *span, after, through uint64, exact bool) error {
	if after >= through {
		return nil
	}
	q := Query{Partition: k.partition, Key: k.key, All: k.all, After: after, Through: through,
		Newest: k.newest, Oldest: k.oldest, Exact: exact, Max: o.n.o.OlderMaxEvents, Scan: o.n.o.OlderMaxEvents, Bytes: o.n.o.OlderBytes}
	if k.since != 0 {
		q.Since = time.Unix(k.since, 0)
	}
	last := after
	return o.n.o.Log.Fetch(ctx, q, func(e *Entry) error {
		if e.Seq <= last || e.Seq > through {
			return errors.New("the log has returned entries that are not in order")
		}
		last = e.Seq
		event := o.n.engine.NewLogEvent(e.entry())
		if event == nil {
			return nil // no engine delivers it
		}
		s.seqs = append(s.seqs, e.Seq)
		s.events = append(s.events, event)
		s.bytes += int64(len(e.Frame.Bytes)) + overhead
		return nil
	})
}

// evict drops the spans of others, the oldest first, until the sum is below its bound. The caller holds mu.
func (o *older) evict(keep *olderState) {
	for o.bytes > olderShares*o.n.o.OlderBytes {
		var oldest olderKey
		var found *olderState
		for k, s := range o.keys {
			if s != keep && s.flight == nil && (found == nil || s.used.Before(found.used)) {
				oldest, found = k, s
			}
		}
		if found == nil {
			return
		}
		o.drop(oldest, found)
	}
}

func (o *older) drop(k olderKey, s *olderState) {
	o.bytes -= s.span.bytes
	delete(o.keys, k)
}

// run drops spans that nobody has used for a while.
func (o *older) run() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-o.n.ctx.Done():
			return
		}
		o.mu.Lock()
		for k, s := range o.keys {
			if s.flight == nil && time.Since(s.used) > olderTTL {
				o.drop(k, s)
			}
		}
		o.mu.Unlock()
	}
}
