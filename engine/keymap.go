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

// creator says who looks a key up, and so which limits hold if it has to be created.
type creator uint8

const (
	forPublisher creator = iota
	forSubscriber
)

// lookup returns the key with that name, and creates it if necessary. name may be borrowed memory: a new key gets a
// copy.
func (e *Engine) lookup(name string, by creator) (*key, error) {
	// Fast path: the key exists.
	shard := e.shard(name)
	if k, ok := shard.Load(name); ok {
		return k, nil
	}

	// Slow path: create it.
	name = strings.Clone(name)
	limits := e.keyLimits.Load()
	if err := limits.check(e.keys.Load(), e.keyBytes.Load(), name, by); err != nil {
		return nil, err
	}
	rules := e.rules.Load()
	fresh := &key{name: name}
	fresh.opts.Store(rules.optionsFor(name))
	fresh.idleSince.Store(time.Now().UnixNano())
	var refused error
	k, loaded := shard.LoadOrTryCompute(name, func() (k *key, cancel bool) {
		if refused = e.reserveKey(limits, name, by); refused != nil {
			return nil, true
		}
		fresh.epoch = e.lastEpoch.Add(1)
		if e.log != nil {
			e.log.beginKey(e, fresh)
		}
		fresh.duringBroadcast = e.broadcasting.Load()
		return fresh, false
	})
	if k == nil {
		return nil, refused
	}

	// Reconfigure may have visited all keys before k was in the map.
	if !loaded && e.rules.Load() != rules {
		e.configure(k)
	}
	return k, nil
}

// reserveKey counts a new key, unless a limit refuses it.
func (e *Engine) reserveKey(limits *keyLimits, name string, by creator) error {
	keys, bytes := e.keys.Add(1), e.keyBytes.Add(int64(len(name)))
	err := limits.check(keys-1, bytes-int64(len(name)), name, by)
	if err != nil {
		e.unreserveKey(name)
	}
	return err
}

func (e *Engine) unreserveKey(name string) {
	e.keys.Add(-1)
	e.keyBytes.Add(-int64(len(name)))
}

// keyLimits limit the number of keys and the total size of their names. Whoever may subscribe can choose any name, so
// subscribers create keys only below a part of each limit. The rest is for publishers.
type keyLimits struct {
	keys, subscriberKeys   int64
	bytes, subscriberBytes int64
}

// check returns the error for one more key with this name beside the keys that exist, or nil.
func (l *keyLimits) check(keys, bytes int64, name string, by creator) error {
	bytes += int64(len(name))
	switch {
	case keys >= l.keys:
		return &LimitError{Limit: "maxKeys", Value: l.keys, Key: name}
	case bytes > l.bytes:
		return &LimitError{Limit: "keyTotalBytes", Value: l.bytes, Key: name}
	case by == forSubscriber && keys >= l.subscriberKeys:
		return &LimitError{Limit: "maxSubscriberKeys", Value: l.subscriberKeys, Key: name}
	case by == forSubscriber && bytes > l.subscriberBytes:
		return &LimitError{Limit: "keyTotalBytes", Value: l.subscriberBytes, Key: name}
	}
	return nil
}

// remove deletes a retired key from the map, unless a new key has replaced it.
func (e *Engine) remove(k *key) {
	e.shard(k.name).Compute(k.name, func(old *key, loaded bool) (*key, bool) {
		if loaded && old == k {
			e.unreserveKey(k.name)
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

// allRings is allKeys and, in log mode, the internal key of the broadcasts.
func (e *Engine) allRings() func(func(*key) bool) {
	if e.log == nil {
		return e.allKeys()
	}
	return func(yield func(*key) bool) {
		if !yield(e.log.all) {
			return
		}
		e.allKeys()(yield)
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

// NewEpoch returns a random epoch, 2^61 plus 61 random bits, where the epochs of an engine begin. So no other process, node
// or machine whose clock starts over issues the same ones, and no other log for which SetEpoch gets one. Epochs are only ever
// compared for equality.
func NewEpoch() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return 1<<epochBits | binary.NativeEndian.Uint64(b[:])>>(64-epochBits)
}

// issued reports whether the epoch is one of this engine. This includes epochs that counting has carried beyond 62
// bits: uint64 has room for them.
func (e *Engine) issued(epoch uint64) bool {
	if e.log != nil {
		return e.log.knows(epoch)
	}
	return epoch > e.firstEpoch && epoch <= e.lastEpoch.Load()
}
