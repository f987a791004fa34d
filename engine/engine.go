package engine

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/puzpuzpuz/xsync/v3"
)

// shardCount is the number of maps that share the keys. One v3 map of a million
// keys stalls the insert that makes it resize for about 340 ms, 64 for 7 ms.
const shardCount = 64

// Engine fans events out to the subscribers of keys. All methods may be called
// concurrently.
type Engine struct {
	seed   maphash.Seed
	shards [shardCount]*xsync.MapOf[string, *key]

	rules           atomic.Pointer[keyRules]
	maxKeys         atomic.Int64
	maxHistoryBytes atomic.Int64
	sweepInterval   time.Duration

	keys         atomic.Int64
	historyBytes atomic.Int64
	ringSlots    atomic.Int64  // kept by the sweep
	firstEpoch   uint64        // immutable
	lastEpoch    atomic.Uint64 // the last one given to a key

	wakers    []*waker
	nextIndex atomic.Uint32

	allMu sync.Mutex    // makes PublishAll one at a time, see there
	all   atomic.Uint32 // number of the last PublishAll begun, 0 before the first; written under allMu

	reconfigureMu sync.Mutex // makes Reconfigure one at a time

	pressure chan struct{} // a token if the byte budget was exceeded
	stop     chan struct{}
	closed   atomic.Bool // set before stop is closed
	stopOnce sync.Once
	done     sync.WaitGroup
}

// keyRules are what Reconfigure replaces as a whole; each has its own address.
type keyRules struct {
	base *KeyOptions
	rule func(string) *KeyOptions
}

func (rules *keyRules) optionsFor(name string) *KeyOptions {
	if rules.rule != nil {
		if o := rules.rule(name); o != nil {
			return o.withDefaults()
		}
	}
	return rules.base
}

// New starts an engine: Options.Wakers goroutines and one that expires history.
// Close stops them.
func New(o Options) *Engine {
	o = o.withDefaults()
	e := &Engine{
		seed:          maphash.MakeSeed(),
		sweepInterval: o.SweepInterval,
		pressure:      make(chan struct{}, 1),
		stop:          make(chan struct{}),
	}
	for i := range e.shards {
		e.shards[i] = xsync.NewMapOf[string, *key]()
	}
	e.Reconfigure(o)
	e.firstEpoch = firstEpoch()
	e.lastEpoch.Store(e.firstEpoch)
	for range o.Wakers {
		w := newWaker()
		e.wakers = append(e.wakers, w)
		e.done.Go(func() { w.run(e.stop) })
	}
	e.done.Go(e.sweep)
	return e
}

// Close stops the engine's goroutines. Subscribers are not told: close them
// before, see CloseAll. From then on Publish, PublishAll and Subscribe return
// ErrClosed.
func (e *Engine) Close() {
	e.closed.Store(true)
	e.stopOnce.Do(func() { close(e.stop) })
	e.done.Wait()
}

// Reconfigure replaces Key, KeyRule, MaxKeys and MaxHistoryBytes, also for the
// keys that exist; Wakers and SweepInterval stay.
func (e *Engine) Reconfigure(o Options) {
	e.reconfigureMu.Lock()
	defer e.reconfigureMu.Unlock()
	o = o.withDefaults()
	e.maxKeys.Store(int64(o.MaxKeys))
	e.maxHistoryBytes.Store(o.MaxHistoryBytes)
	e.rules.Store(&keyRules{base: o.Key.withDefaults(), rule: o.KeyRule})
	for k := range e.everyKey() {
		e.configure(k)
	}
	if e.overBudget() {
		e.pressed()
	}
}

// configure gives the key the options of the newest rules. Lookup and
// Reconfigure can meet here on one key: whoever finds that the rules have
// changed since it loaded them stores again, so that the newest stay.
func (e *Engine) configure(k *key) {
	for {
		rules := e.rules.Load()
		k.opts.Store(rules.optionsFor(k.name))
		if e.rules.Load() == rules {
			return
		}
	}
}

// LimitError says which limit refused a request.
type LimitError struct {
	Limit string // "maxClients" or "maxKeys"
	Value int64
	Key   string
}

func (l *LimitError) Error() string {
	return fmt.Sprintf("%s: the limit of %d is reached for key %q", l.Limit, l.Value, l.Key)
}

// ErrFrame is returned for a frame that is empty or whose id does not lie within it.
var ErrFrame = errors.New("engine: the frame is empty, or its id is outside of it or longer than 65535 bytes")

// ErrPosition is returned for a frame whose own id is, or holds, a Position in the
// life of a key of this engine: see Engine.mistakable.
var ErrPosition = errors.New("engine: the id is a position that this engine has given: leave the id out, or choose another")

// ErrClosed is returned by Publish, PublishAll and Subscribe once Close was called:
// nobody would be notified any more.
var ErrClosed = errors.New("engine: it was closed")

func (f Frame) valid() bool {
	return len(f.Bytes) > 0 && (f.IDAt < 0 || f.IDLen >= 0 && f.IDLen <= maxID && f.IDAt <= len(f.Bytes) && f.IDLen <= len(f.Bytes)-f.IDAt)
}

// Check returns the error with which Publish would refuse the frame, limits of keys
// aside; nil for none.
func (e *Engine) Check(f Frame) error {
	switch {
	case !f.valid():
		return ErrFrame
	case e.closed.Load():
		return ErrClosed
	case f.IDAt >= 0 && f.IDLen > minOwnPosition && e.mistakable(string(f.Bytes[f.IDAt:f.IDAt+f.IDLen])):
		return ErrPosition
	}
	return nil
}

func (e *Engine) shard(name string) *xsync.MapOf[string, *key] {
	return e.shards[maphash.String(e.seed, name)%shardCount]
}

// lookup returns the key, making it if needed. name may be borrowed memory: it
// is copied if the key is made.
func (e *Engine) lookup(name string) (*key, error) {
	shard := e.shard(name)
	if k, ok := shard.Load(name); ok {
		return k, nil
	}
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
	if !loaded && e.rules.Load() != rules { // Reconfigure may have passed by before k was in the map
		e.configure(k)
	}
	return k, nil
}

// epochBits is the number of the highest bit of every epoch: an epoch has this bit
// set and none above, which makes 12 digits in base 36.
const epochBits = 61

// firstEpoch returns where an engine's epochs begin: 2^61 and 61 random bits, so
// that no other process, node or machine whose clock starts over gives the same
// ones. Those of a key are never compared but for being the same.
func firstEpoch() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return 1<<epochBits | binary.NativeEndian.Uint64(b[:])>>(64-epochBits)
}

// gave reports whether the epoch is of this engine. Epochs that a counter has
// carried beyond 62 bits are no exception: uint64 has room for them.
func (e *Engine) gave(epoch uint64) bool {
	return epoch > e.firstEpoch && epoch <= e.lastEpoch.Load()
}

// reserveKey counts a key more, unless there are limit already.
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

// remove takes a retired key out of the map, unless another has its place.
func (e *Engine) remove(k *key) {
	e.shard(k.name).Compute(k.name, func(old *key, loaded bool) (*key, bool) {
		if loaded && old == k {
			e.keys.Add(-1)
			return nil, true
		}
		return old, !loaded
	})
}

// everyKey ranges over the keys; keys that come or go meanwhile may be missed.
func (e *Engine) everyKey() func(func(*key) bool) {
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

// Keys ranges over the names of the keys that exist, in no order. All that exist
// from its beginning to its end are met; those that come or go meanwhile may be
// missed.
func (e *Engine) Keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for k := range e.everyKey() {
			if !yield(k.name) {
				return
			}
		}
	}
}

func (e *Engine) nextWaker() *waker {
	return e.wakers[e.nextIndex.Add(1)%uint32(len(e.wakers))]
}

// Wakers returns the number of goroutines that notify subscribers.
func (e *Engine) Wakers() int { return len(e.wakers) }

// Published says where an event went.
type Published struct {
	// Position is the event's own.
	Position
	// Subscribers is how many the key had when the event was published.
	Subscribers int
}

// Publish gives the event to the key's subscribers and keeps it in the key's
// history. It does not wait for any of them, takes no lock, and costs one
// allocation for frames up to 4000 bytes. The key is made if needed.
// Errors: ErrFrame, ErrPosition, ErrClosed, *LimitError for maxKeys.
func (e *Engine) Publish(name string, f Frame) (Published, error) {
	if err := e.Check(f); err != nil {
		return Published{}, err
	}
	d := newDraft(f, time.Now().UnixNano(), 0)
	for {
		k, err := e.lookup(name)
		if err != nil {
			return Published{}, err
		}
		if k.publish(e, &d) {
			k.wake()
			return Published{Position{k.epoch, d.ev.seq}, int(k.subscribers.Load())}, nil
		}
		e.remove(k)
	}
}

// PublishAll publishes the event to every key that exists, and returns how many
// keys and subscribers those had. A subscriber of several keys gets it once.
//
// Calls are serialised: then every ring holds broadcasts in ascending order
// (I10), from which subscribers tell repetitions, see I11. Errors: ErrFrame,
// ErrPosition, ErrClosed.
func (e *Engine) PublishAll(f Frame) (keys, subscribers int, err error) {
	if err := e.Check(f); err != nil {
		return 0, 0, err
	}
	e.allMu.Lock()
	defer e.allMu.Unlock()
	all := following(e.all.Load())
	e.all.Store(all)
	now := time.Now().UnixNano()
	first := newDraft(f, now, all)
	for k := range e.everyKey() {
		var d draft
		if first.stamped() {
			d = newDraft(f, now, all)
		} else { // the keys' events share the memory of the frame
			d = draft{frame: first.frame, ev: &Event{
				at: now, all: all, idAt: first.ev.idAt, idLen: first.ev.idLen, bytes: first.ev.bytes,
				class: first.ev.class,
			}}
		}
		if k.publish(e, &d) {
			k.wake()
			keys++
			subscribers += int(k.subscribers.Load())
		}
	}
	return keys, subscribers, nil
}

// CloseKey ends the key's subscribers with ReasonClosed, and returns how many.
func (e *Engine) CloseKey(name string) (closed int) {
	if k, ok := e.shard(name).Load(name); ok {
		closed = closeSubscribers(k)
	}
	return closed
}

// CloseAll ends all subscribers with ReasonClosed, and returns how many.
func (e *Engine) CloseAll() (closed int) {
	for k := range e.everyKey() {
		closed += closeSubscribers(k)
	}
	return closed
}

func closeSubscribers(k *key) (closed int) {
	for _, s := range k.all() {
		if s.Close(ReasonClosed) {
			closed++
		}
	}
	return closed
}

// Count returns how many subscribers the key has; a subscriber of several keys
// counts for each.
func (e *Engine) Count(name string) int {
	if k, ok := e.shard(name).Load(name); ok {
		return int(k.subscribers.Load())
	}
	return 0
}

// CountAll returns the sum of Count over all keys. It costs a pass over them.
func (e *Engine) CountAll() (n int) {
	for k := range e.everyKey() {
		n += int(k.subscribers.Load())
	}
	return n
}

// KeyStats are the figures of one key.
type KeyStats struct {
	Key          string `json:"key"`
	Subscribers  int    `json:"subscribers"`
	Events       uint64 `json:"events"` // published in this life of the key
	HistoryBytes int64  `json:"historyBytes"`
	Epoch        string `json:"epoch"`
}

// Top returns the n keys with the most subscribers, by number of subscribers and
// then by name. It costs a pass over all keys.
func (e *Engine) Top(n int) []KeyStats {
	n = max(n, 0)
	var top []KeyStats
	order := func(a, b KeyStats) int {
		return cmp.Or(cmp.Compare(b.Subscribers, a.Subscribers), strings.Compare(a.Key, b.Key))
	}
	for k := range e.everyKey() {
		top = append(top, KeyStats{
			Key: k.name, Subscribers: int(k.subscribers.Load()), Events: k.tail(),
			HistoryBytes: max(k.bytes.Load(), 0), Epoch: Position{Epoch: k.epoch}.epochText(),
		})
		if (len(top)-64)/2 >= n {
			slices.SortFunc(top, order)
			top = top[:n]
		}
	}
	slices.SortFunc(top, order)
	return top[:min(n, len(top))]
}

func (p Position) epochText() string {
	text, _, _ := strings.Cut(p.String(), "-")
	return text
}

// slotBytes is the size of a ring's slot on 64-bit systems.
const slotBytes = 8

// Stats are figures of the whole engine.
type Stats struct {
	Keys         int64
	HistoryBytes int64 // of frames kept
	RingBytes    int64 // of the rings' slots, as the last pass of the sweep found them
}

// Stats returns the figures of this moment. It costs three loads.
func (e *Engine) Stats() Stats {
	// An event can be evicted before its publisher has counted it, see I6.
	return Stats{Keys: e.keys.Load(), HistoryBytes: max(e.historyBytes.Load(), 0), RingBytes: slotBytes * e.ringSlots.Load()}
}
