package engine

import (
	"crypto/rand"
	"encoding/binary"
	"hash/maphash"
	"iter"
	"strings"
	"time"

	"github.com/puzpuzpuz/xsync/v3"
)

// shardCount is the number of maps that hold the keys. With one xsync v3 map of a million keys, the insert that makes
// it resize stalls for about 340 ms; with 64 maps for 7 ms.
const shardCount = 64

func (e *Engine) shard(name string) *xsync.MapOf[string, *key] {
	return e.shards[maphash.String(e.seed, name)%shardCount]
}

// lookup returns the key with that name, and creates it if necessary. name may be borrowed memory: a new key gets a
// copy.
func (e *Engine) lookup(name string) (*key, error) {
	// Fast path: the key exists.
	shard := e.shard(name)
	if k, ok := shard.Load(name); ok {
		return k, nil
	}

	// Slow path: create it.
	name = strings.Clone(name)
	limit := e.maxKeys.Load()
	if e.keys.Load() >= limit {
		return nil, &LimitError{Limit: "maxKeys", Value: limit, Key: name}
	}
	rules := e.rules.Load()
	fresh := &key{name: name}
	fresh.opts.Store(rules.optionsFor(name))
	fresh.idleSince.Store(time.Now().UnixNano())
	k, loaded := shard.LoadOrTryCompute(name, func() (k *key, cancel bool) {
		if !e.reserveKey(limit) {
			return nil, true
		}
		fresh.epoch = e.lastEpoch.Add(1)
		return fresh, false
	})
	if k == nil {
		return nil, &LimitError{Limit: "maxKeys", Value: limit, Key: name}
	}

	// Reconfigure may have visited all keys before k was in the map.
	if !loaded && e.rules.Load() != rules {
		e.configure(k)
	}
	return k, nil
}

// reserveKey increments the number of keys, unless it has reached the limit.
func (e *Engine) reserveKey(limit int64) bool {
	for {
		n := e.keys.Load()
		if n >= limit {
			return false
		}
		if e.keys.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// remove deletes a retired key from the map, unless a new key has replaced it.
func (e *Engine) remove(k *key) {
	e.shard(k.name).Compute(k.name, func(old *key, loaded bool) (*key, bool) {
		if loaded && old == k {
			e.keys.Add(-1)
			return nil, true
		}
		return old, !loaded
	})
}

// allKeys ranges over the keys. It may miss keys that are created or removed meanwhile.
func (e *Engine) allKeys() func(func(*key) bool) {
	return func(yield func(*key) bool) {
		for _, shard := range e.shards {
			more := true
			shard.Range(func(_ string, k *key) bool {
				more = yield(k)
				return more
			})
			if !more {
				return
			}
		}
	}
}

// Keys ranges over the names of the existing keys, in no particular order. It yields every key that exists from the
// beginning to the end of the iteration, and may miss keys that are created or removed meanwhile.
func (e *Engine) Keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for k := range e.allKeys() {
			if !yield(k.name) {
				return
			}
		}
	}
}

// epochBits is the index of the highest bit of every epoch: this bit is set and none above it, which makes 12 digits in
// base 36.
const epochBits = 61

// firstEpoch returns where the epochs of an engine begin: 2^61 plus 61 random bits. So no other process, node or
// machine whose clock starts over issues the same ones. Epochs are only ever compared for equality.
func firstEpoch() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return 1<<epochBits | binary.NativeEndian.Uint64(b[:])>>(64-epochBits)
}

// issued reports whether the epoch is one of this engine. This includes epochs that counting has carried beyond 62
// bits: uint64 has room for them.
func (e *Engine) issued(epoch uint64) bool {
	return epoch > e.firstEpoch && epoch <= e.lastEpoch.Load()
}
