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

	// ids is nil until a client comes back with a publisher's own id to a long history.
	ids atomic.Pointer[idIndex]

	// idleSince is when the last subscriber left or the key was created, in Unix nanoseconds.
	idleSince atomic.Int64

	// mu orders joins, leaves and retirement. Neither publishers nor wakers take it.
	mu      sync.Mutex
	retired bool

	// duringBroadcast says that a PublishAll was in progress when the key was created, which may have missed it.
	// Immutable.
	duringBroadcast bool
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
