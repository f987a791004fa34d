package engine

import (
	"sync"
	"sync/atomic"
	"time"
)

// key is one stream: its ring, its byte count and its subscribers. It stays
// under 100 bytes, since there may be a million of them.
type key struct {
	name  string
	epoch uint64
	opts  atomic.Pointer[KeyOptions]

	// ring is nil until the first event. Only CAS replaces it, see ring.go.
	ring  atomic.Pointer[ring]
	bytes atomic.Int64

	// segments lists the subscribers for the wakers. Written under mu as a
	// whole (copy on write), read without a lock by publishers and wakers.
	segments    atomic.Pointer[[]*segment]
	subscribers atomic.Int32

	// idleSince is when the last subscriber left (or the key was made), in
	// Unix nanoseconds.
	idleSince atomic.Int64

	// mu orders joins, leaves and retirement. Neither a publisher nor a waker
	// takes it.
	mu      sync.Mutex
	retired bool
}

// segmentSize is how many subscribers one waker serves in a row before it
// looks for other work; it bounds both the copy that a join can cause and the
// unfairness between keys. A scan of 256 socket writes takes about 1.5 ms.
const segmentSize = 256

// firstSizes are the sizes that a key's first segment grows through: most keys
// have one subscriber or two.
var firstSizes = [...]int{2, 16, segmentSize}

// segment is a part of a key's subscribers that one waker scans.
type segment struct {
	key *key
	w   *waker
	// slots[:n] are the cursors of subscribers. Both are written under key.mu
	// and read by the waker w without it: a slot below n may be nil for a moment.
	slots []atomic.Pointer[cursor]
	n     atomic.Int32
	// queued is set by whoever puts the segment into w's queue, and cleared by
	// w before it scans.
	queued atomic.Bool
	// flushing is used in a key's first segment only.
	flushing flushState
	// next links the segment into w's queue; it belongs to the one who set queued,
	// then to w.
	next *segment
}

// wake has the key's subscribers look for events. O(1): the first segment's
// waker passes the wake-up on to the other segments.
func (k *key) wake() {
	list := k.segments.Load()
	if list == nil {
		return
	}
	if first, interval := (*list)[0], k.opts.Load().FlushInterval; interval > 0 {
		first.flush(interval)
	} else {
		first.schedule()
	}
}

// join adds c to the key's subscribers. It reports false if the key was
// retired meanwhile.
func (k *key) join(e *Engine, c *cursor) (ok bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.retired {
		return false, nil
	}
	n := int(k.subscribers.Load())
	if limit := k.opts.Load().MaxSubscribers; n >= limit {
		return true, &LimitError{Limit: "maxClients", Value: int64(limit), Key: k.name}
	}
	var list []*segment
	if p := k.segments.Load(); p != nil {
		list = *p
	}
	var seg *segment
	if len(list) > 0 {
		seg = list[len(list)-1]
	}
	if seg == nil || int(seg.n.Load()) == len(seg.slots) {
		var longer []*segment // apart, since it escapes
		longer, seg = k.extend(e, list)
		k.segments.Store(&longer)
	}
	i := seg.n.Load()
	c.pos = int32(n)
	seg.slots[i].Store(c)
	seg.n.Store(i + 1)
	k.subscribers.Store(int32(n + 1))
	return true, nil
}

// extend returns the list with room for one more cursor, and the segment that
// has it. A first segment that is too small is replaced by a larger copy: the
// waker may still scan the old one, which holds all that joined before, and
// who joins from now on reads the ring after having joined (I7).
func (k *key) extend(e *Engine, list []*segment) ([]*segment, *segment) {
	size := segmentSize
	if len(list) == 0 {
		size = firstSizes[0]
	} else if old := list[0]; len(old.slots) < segmentSize {
		for _, size = range firstSizes {
			if size > len(old.slots) {
				break
			}
		}
		seg := &segment{key: k, w: old.w, slots: make([]atomic.Pointer[cursor], size)}
		for i := range old.slots {
			seg.slots[i].Store(old.slots[i].Load())
		}
		seg.n.Store(old.n.Load())
		return []*segment{seg}, seg
	}
	seg := &segment{key: k, w: e.nextWaker(), slots: make([]atomic.Pointer[cursor], size)}
	return append(list[:len(list):len(list)], seg), seg
}

// leave removes c, if it is there. The last cursor takes its place, so that
// the segments stay dense; that one's subscriber is returned to be notified,
// because a waker may have scanned the new place already and not yet the old.
func (k *key) leave(c *cursor) (moved *Subscriber) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.pos < 0 {
		return nil
	}
	list := *k.segments.Load()
	last := list[len(list)-1]
	i := last.n.Load() - 1
	lc := last.slots[i].Load()
	if lc != c {
		list[c.pos/segmentSize].slots[c.pos%segmentSize].Store(lc)
		lc.pos = c.pos
		moved = lc.sub
	}
	c.pos = -1
	last.slots[i].Store(nil)
	last.n.Store(i)
	n := k.subscribers.Load() - 1
	k.subscribers.Store(n)
	switch {
	case n == 0:
		k.segments.Store(nil)
		k.idleSince.Store(time.Now().UnixNano())
	case i == 0:
		shorter := list[: len(list)-1 : len(list)-1]
		k.segments.Store(&shorter)
	}
	return moved
}

// all returns the subscribers of this moment.
func (k *key) all() []*Subscriber {
	k.mu.Lock()
	defer k.mu.Unlock()
	subs := make([]*Subscriber, 0, k.subscribers.Load())
	if list := k.segments.Load(); list != nil {
		for _, seg := range *list {
			for i := range seg.n.Load() {
				subs = append(subs, seg.slots[i].Load().sub)
			}
		}
	}
	return subs
}
