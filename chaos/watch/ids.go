package watch

import (
	"fmt"
	"hash/maphash"
	"sync"
)

// ID says which event an id stands for.
type ID struct {
	ID  string
	Key string
	N   int64
}

// ids remembers what the ids stand for that any subscriber has received. The locks are striped: all subscribers use them.
type ids struct {
	seed    maphash.Seed
	stripes [64]struct {
		mu   sync.RWMutex
		seen map[string]event
	}
}

type event struct {
	key string
	n   int64
}

func newIDs() *ids {
	t := &ids{seed: maphash.MakeSeed()}
	for i := range t.stripes {
		t.stripes[i].seen = map[string]event{}
	}
	return t
}

// note remembers what id stands for. ok is false if it has stood for another event. Nothing is noted unless ids are shared.
func (t *ids) note(id string, shared bool, key string, n int64) (other string, ok bool) {
	if !shared || id == "" {
		return "", true
	}
	st := &t.stripes[maphash.String(t.seed, id)%uint64(len(t.stripes))]
	st.mu.RLock()
	was, known := st.seen[id]
	st.mu.RUnlock()
	if !known {
		st.mu.Lock()
		if was, known = st.seen[id]; !known {
			was = event{key, n}
			st.seen[id] = was
		}
		st.mu.Unlock()
	}
	if was != (event{key, n}) {
		return fmt.Sprintf("event %d of %s", was.n, was.key), false
	}
	return "", true
}

// list returns all of them.
func (t *ids) list() (all []ID) {
	for i := range t.stripes {
		st := &t.stripes[i]
		st.mu.RLock()
		for id, e := range st.seen {
			all = append(all, ID{id, e.key, e.n})
		}
		st.mu.RUnlock()
	}
	return all
}
