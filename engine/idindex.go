package engine

import (
	"hash/maphash"
	"slices"
	"sync"
)

// idIndex makes the search for a publisher's own id fast in a long history. It has a hash of the id of each kept event,
// side by side in memory. To look at a million of them takes 1 to 2 ms; to look at a million events takes 80 ms, because
// each is somewhere else.
//
// A publish does not know the index: a search first adds the events since the last search. So only keys with a long
// history to which clients come back with ids of publishers pay for it: 4 bytes for each slot of the ring, which itself
// takes 8 and its events at least 96.
//
// Rejected: a map from ids to sequences. It takes 20 to 40 bytes for each event, evicted ids must be removed from it, and
// an id that several events have needs a list.
type idIndex struct {
	mu   sync.Mutex
	next uint64 // the first sequence that is not in hashes
	// hashes[s&(len-1)] is the hash of the id of event s, or 0 if s had none or was gone before it was added. There are
	// as many as the ring has slots: a hash that is overwritten is that of an event that the ring has overwritten.
	hashes []uint32
}

// indexFrom is the number of events from which on a search uses an index. Below it takes at most some 50 µs without.
const indexFrom = 4096

var idSeed = maphash.MakeSeed()

// idHash returns the hash of an id, which is never 0.
func idHash(id string) uint32 { return uint32(maphash.String(idSeed, id)) | 1 }

// search calls match for each sequence from first to tail whose event may have the id, until match returns true.
func (x *idIndex) search(k *key, slots int, id string, first, tail uint64, match func(seq uint64) bool) {
	x.mu.Lock()
	defer x.mu.Unlock()

	// Add the events since the last search.
	if len(x.hashes) != slots {
		x.hashes, x.next = make([]uint32, slots), first
	}
	mask := uint64(slots - 1)
	for x.next = max(x.next, first); x.next <= tail; x.next++ {
		var h uint32
		if ev, _ := k.read(x.next); ev != nil && ev.idAt >= 0 {
			h = idHash(string(ev.IDBytes()))
		}
		x.hashes[x.next&mask] = h
	}

	// Search.
	want := idHash(id)
	for seq := first; seq <= tail; seq++ {
		at := seq & mask
		n := min(uint64(slots)-at, tail-seq+1)
		i := slices.Index(x.hashes[at:at+n], want)
		if i < 0 {
			seq += n - 1
			continue
		}
		if seq += uint64(i); match(seq) {
			return
		}
	}
}
