package engine

import (
	"cmp"
	"slices"
)

// Kept is an event of a key's history.
type Kept struct {
	*Event
	// Position is the position of the event. Its text is the id with which a client gets what came after the event.
	Position Position
}

// History returns the newest events that the engine keeps for a key, at most limit, the oldest first. In log mode this
// includes broadcasts. It returns nil for a key that does not exist. Silent events and notices are among them.
func (e *Engine) History(name string, limit int) []Kept {
	k, ok := e.shard(name).Load(name)
	if !ok || limit <= 0 {
		return nil
	}
	list := e.newest(k, limit)
	if e.log == nil {
		return list
	}
	samePartition := k.extra.Load().part.index == 0
	list = append(list, e.newest(e.log.all, limit)...)
	slices.SortStableFunc(list, func(a, b Kept) int {
		if samePartition {
			return cmp.Compare(a.pos(), b.pos())
		}
		return cmp.Compare(a.at, b.at)
	})
	return list[max(0, len(list)-limit):]
}

// newest returns the newest events of one ring, at most limit, the oldest first.
func (e *Engine) newest(k *key, limit int) (list []Kept) {
	tail := k.tail()
	first := k.firstKept()
	if n := uint64(limit); tail >= n {
		first = max(first, tail-n+1)
	}
	for seq := first; seq <= tail; seq++ {
		ev, _ := k.read(seq)
		switch {
		case ev == nil:
		case e.log == nil:
			list = append(list, Kept{ev, Position{k.epoch, seq}})
		default:
			list = append(list, Kept{ev, k.extra.Load().part.position(ev.pos())})
		}
	}
	return list
}

// Audience returns how many keys and how many subscribers an event of all keys reaches. In log mode a subscriber of
// several keys counts once; otherwise it counts for each key, as in PublishAll, and Audience visits every key.
func (e *Engine) Audience() (keys, subscribers int) {
	keys = int(e.keys.Load())
	if e.log != nil {
		return keys, int(e.log.all.subscribers.Load())
	}
	return keys, e.CountAll()
}
