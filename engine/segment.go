package engine

import (
	"sync/atomic"
	"time"
)

// segmentSize is the number of subscribers that one waker serves in a row before it looks for other work. It bounds how
// much a join may have to copy, and how long one key can delay the others. A scan of 256 socket writes takes about 1.5
// ms.
const segmentSize = 256

// firstSizes are the sizes through which the first segment of a key grows. Most keys have one or two subscribers.
var firstSizes = [...]int{2, 16, segmentSize}

// segment is a group of a key's subscribers. One waker scans it.
type segment struct {
	key *key
	w   *waker
	// slots[:n] are the cursors of the subscribers. Both fields are written under key.mu, and the waker w reads them
	// without it: a slot below n may be nil for a moment.
	slots []atomic.Pointer[cursor]
	n     atomic.Int32
	// queued is set by whoever puts the segment into w's queue. w clears it before it scans.
	queued atomic.Bool
	// flushing is used only in the first segment of a key.
	flushing flushState
	// next links the segment into w's queue. It belongs to whoever has set queued, and then to w.
	next *segment
}

// join adds c to the key's subscribers. It returns false if the key has been retired.
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

	// Find a segment with room, or add one.
	var list []*segment
	if p := k.segments.Load(); p != nil {
		list = *p
	}
	var seg *segment
	if len(list) > 0 {
		seg = list[len(list)-1]
	}
	if seg == nil || int(seg.n.Load()) == len(seg.slots) {
		var longer []*segment // declared here because it escapes to the heap
		longer, seg = k.extend(e, list)
		k.segments.Store(&longer)
	}

	// Put c into it: first the slot, then the count that makes a waker look at it.
	i := seg.n.Load()
	c.index = int32(n)
	seg.slots[i].Store(c)
	seg.n.Store(i + 1)
	k.subscribers.Store(int32(n + 1))
	return true, nil
}

// extend returns a list of segments with room for one more cursor, and the segment that has the room. It replaces a
// first segment that is too small by a larger copy. The waker may still be scanning the old segment. That loses no
// wake-up: the old segment has every cursor that joined before, and whoever joins from now on reads the ring after
// joining (I7).
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

// leave removes c from the key, if it is there. The last cursor moves to its place, so that the segments stay dense.
// leave returns the subscriber of the moved cursor, and the caller must notify it: a waker may have scanned the new
// place already and the old place not yet.
//
// A key without events whose last subscriber leaves is retired at once, so that keys that only subscribers used cost
// nothing afterwards. I12 says why a client that comes back loses nothing by it.
func (k *key) leave(c *cursor) (moved *Subscriber) {
	moved, e := k.leaveSegment(c)
	if e != nil && k.retire(e) {
		e.remove(k)
	}
	return moved
}

// leaveSegment removes c from the segments. If c was the last cursor, and the key has never had an event, it returns
// the engine, so that the caller retires the key.
func (k *key) leaveSegment(c *cursor) (moved *Subscriber, unused *Engine) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.index < 0 {
		return nil, nil
	}

	// Move the last cursor to the place of c.
	list := *k.segments.Load()
	last := list[len(list)-1]
	i := last.n.Load() - 1
	lc := last.slots[i].Load()
	if lc != c {
		list[c.index/segmentSize].slots[c.index%segmentSize].Store(lc)
		lc.index = c.index
		moved = lc.sub
	}

	// Remove the last place, and its segment if it is empty now.
	c.index = -1
	last.slots[i].Store(nil)
	last.n.Store(i)
	n := k.subscribers.Load() - 1
	k.subscribers.Store(n)
	switch {
	case n == 0:
		k.segments.Store(nil)
		k.idleSince.Store(time.Now().UnixNano())
		if k.ring.Load() == nil {
			unused = last.w.engine
		}
	case i == 0:
		shorter := list[: len(list)-1 : len(list)-1]
		k.segments.Store(&shorter)
	}
	return moved, unused
}

// subscriberList returns a copy of the key's current list of subscribers.
func (k *key) subscriberList() []*Subscriber {
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
