package engine

import (
	"sync"
	"sync/atomic"
)

// key has the ring, the byte count and the subscribers of one key. It stays below 100 bytes, because there may be a
// million of them.
type key struct {
	name  string
	epoch uint64
	opts  atomic.Pointer[KeyOptions]

	// ring is nil until the first event. It is replaced only by CAS, see ring.go.
	ring  atomic.Pointer[ring]
	bytes atomic.Int64

	// segments lists the subscribers for the wakers. The list is replaced as a whole under mu (copy on write).
	// Publishers and wakers read it without a lock.
	segments    atomic.Pointer[[]*segment]
	subscribers atomic.Int32

	// extra is what few keys have. In log mode it is there from the beginning. Otherwise it is nil until a client comes
	// back with a publisher's own id to a long history.
	extra atomic.Pointer[keyExtra]

	// idleSince is when the last subscriber left or the key was created, in Unix nanoseconds.
	idleSince atomic.Int64

	// mu orders joins, leaves and retirement. Neither publishers nor wakers take it.
	mu      sync.Mutex
	retired bool

	// duringBroadcast says that a PublishAll was in progress when the key was created, which may have missed it.
	// Immutable.
	duringBroadcast bool
}

// keyExtra is what few keys of an engine that orders events itself have, and all keys in log mode.
type keyExtra struct {
	part  *partition    // the log of the key's events; nil if the engine orders them itself; immutable
	floor atomic.Uint64 // in log mode, see floor.go
	ids   atomic.Pointer[idIndex]
}

// idIndex returns the key's index of ids, and creates it if necessary.
func (k *key) idIndex() *idIndex {
	x := k.extra.Load()
	if x == nil {
		k.extra.CompareAndSwap(nil, new(keyExtra))
		x = k.extra.Load()
	}
	ids := x.ids.Load()
	if ids == nil {
		x.ids.CompareAndSwap(nil, new(idIndex))
		ids = x.ids.Load()
	}
	return ids
}

// dropIDs frees the key's index of ids. A search may still use it.
func (k *key) dropIDs() {
	if x := k.extra.Load(); x != nil {
		x.ids.Store(nil)
	}
}

// wake makes the key's subscribers look for events. It is O(1): the waker of the first segment passes the wake-up on to
// the other segments.
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
