package engine

import (
	"hash/maphash"
	"sync"
)

// minRetiredNames is the least capacity of retiredNames.
const minRetiredNames = 1024

// retiredNames remembers the names of keys whose life ended after they had events, and when it ended: the last epoch
// that was issued before. It keeps hashes of names. A collision makes a name look retired that is not, which is the safe
// side: the client gets a gap.
//
// It remembers between one and two times its capacity of names, 20 to 40 bytes for each. What it forgets raises floor.
// Neither a publish nor a delivery uses it; only the end of a life and a resume before the first event of a key do.
type retiredNames struct {
	mu       sync.Mutex
	capacity int
	// newer has at most capacity names. When it is full, it becomes older, and older is forgotten.
	newer, older map[uint64]uint64
	newest       uint64 // the largest epoch in newer
	olderNewest  uint64 // the largest epoch in older
	floor        uint64 // the largest epoch that was forgotten
}

func (e *Engine) nameHash(name string) uint64 { return maphash.String(e.seed, name) }

func (r *retiredNames) setCapacity(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.capacity = n
}

// add records that a life of the name ended after epoch was issued.
func (r *retiredNames) add(name, epoch uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, again := r.newer[name]; !again && len(r.newer) >= r.capacity {
		r.floor = max(r.floor, r.olderNewest)
		r.older, r.olderNewest = r.newer, r.newest
		r.newer, r.newest = nil, 0
	}
	if r.newer == nil {
		r.newer = map[uint64]uint64{}
	}
	r.newer[name] = max(r.newer[name], epoch)
	r.newest = max(r.newest, epoch)
}

// raise makes every name look as if a life of it had ended after epoch.
func (r *retiredNames) raise(epoch uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.floor = max(r.floor, epoch)
}

// of returns the largest epoch after which a life of the name may have ended.
func (r *retiredNames) of(name uint64) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(r.floor, r.newer[name], r.older[name])
}

// since reports whether a life of the name may have ended after epoch was issued.
func (r *retiredNames) since(name, epoch uint64) bool {
	return epoch <= r.of(name)
}
