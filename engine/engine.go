package engine

import (
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/puzpuzpuz/xsync/v3"
)

// Engine delivers published events to the subscribers of their keys. All methods may be called concurrently.
type Engine struct {
	// The map of keys, see keymap.go.
	seed       maphash.Seed
	shards     [shardCount]*xsync.MapOf[string, *key]
	keys       atomic.Int64
	keyBytes   atomic.Int64  // of the names of the keys
	firstEpoch uint64        // immutable
	lastEpoch  atomic.Uint64 // the last epoch given to a key
	retired    retiredNames  // see I12

	// The settings that Reconfigure changes.
	rules           atomic.Pointer[keyRules]
	keyLimits       atomic.Pointer[keyLimits]
	maxHistoryBytes atomic.Int64
	reconfigureMu   sync.Mutex // serializes Reconfigure

	// Broadcasts, see PublishAll.
	broadcastMu   sync.Mutex    // serializes PublishAll
	lastBroadcast atomic.Uint32 // the number of the last PublishAll begun, 0 before the first; written under broadcastMu
	broadcasting  atomic.Bool   // a PublishAll is in progress
	// broadcastEpoch is the last epoch that was issued before the last PublishAll began, see I12.
	broadcastEpoch atomic.Uint64

	log *logState // nil unless the engine follows a log

	// Memory and its limits, see budget.go.
	historyBytes    atomic.Int64
	budget          atomic.Pointer[budget]
	lastBudget      time.Time    // when the sweep last computed budget; owned by it
	ringSlots       atomic.Int64 // stored by the sweep
	sweepInterval   time.Duration
	evictionRequest chan struct{} // holds a token if the byte budget was exceeded

	// The goroutines.
	wakers    []*waker
	nextIndex atomic.Uint32
	stop      chan struct{}
	closed    atomic.Bool // set before stop is closed
	stopOnce  sync.Once
	done      sync.WaitGroup
}

// keyRules are the rules for key options. Reconfigure replaces them as a whole, and each has its own address.
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

// New creates an engine and starts its goroutines: Options.Wakers wakers, and one goroutine that expires history. Close
// stops them.
func New(o Options) *Engine {
	o = o.withDefaults()
	e := &Engine{
		seed:            maphash.MakeSeed(),
		sweepInterval:   o.SweepInterval,
		evictionRequest: make(chan struct{}, 1),
		stop:            make(chan struct{}),
	}
	for i := range e.shards {
		e.shards[i] = xsync.NewMapOf[string, *key]()
	}
	if o.Log != nil {
		e.log = newLogState(*o.Log)
	}
	e.Reconfigure(o)
	e.firstEpoch = NewEpoch()
	e.lastEpoch.Store(e.firstEpoch)
	if e.log != nil {
		e.log.all.epoch = e.lastEpoch.Add(1)
	}
	for range o.Wakers {
		w := newWaker(e)
		e.wakers = append(e.wakers, w)
		e.done.Go(func() { w.run(e.stop) })
	}
	e.done.Go(e.sweep)
	return e
}

// Close stops the engine's goroutines. It does not notify subscribers: close them first, see CloseAll. After Close,
// Publish, PublishAll and Subscribe return ErrClosed.
func (e *Engine) Close() {
	e.closed.Store(true)
	e.stopOnce.Do(func() { close(e.stop) })
	e.done.Wait()
}

// Reconfigure replaces Key, KeyRule and the limits, for existing keys too. Wakers and SweepInterval do
// not change.
func (e *Engine) Reconfigure(o Options) {
	e.reconfigureMu.Lock()
	defer e.reconfigureMu.Unlock()
	o = o.withDefaults()
	e.keyLimits.Store(o.keyLimits())
	e.retired.setCapacity(max(o.MaxKeys/4, minRetiredNames))
	if e.log != nil {
		e.log.setCapacity(max(o.MaxKeys/4, minRetiredNames))
	}
	e.maxHistoryBytes.Store(o.MaxHistoryBytes)
	e.budget.Store(newBudget(o.MaxHistoryBytes))
	e.rules.Store(&keyRules{base: o.Key.withDefaults(), rule: o.KeyRule})
	for k := range e.allRings() {
		e.configure(k)
	}
	if e.overBudget() {
		e.requestEviction()
	}
}

// configure gives the key the options of the newest rules. Lookup and Reconfigure can call it at the same time for the
// same key. Whoever finds that the rules have changed since it loaded them stores again, so that the newest rules win.
func (e *Engine) configure(k *key) {
	for {
		rules := e.rules.Load()
		o := rules.optionsFor(k.name)
		if e.log != nil && k == e.log.all {
			o = allKeyOptions(rules.base)
		}
		k.opts.Store(o)
		if e.rules.Load() == rules {
			return
		}
	}
}

// CloseKey ends the key's subscribers with ReasonClosed, and returns their number.
func (e *Engine) CloseKey(name string) (closed int) {
	if k, ok := e.shard(name).Load(name); ok {
		closed = closeSubscribers(k)
	}
	return closed
}

// CloseAll ends all subscribers with ReasonClosed, and returns their number.
func (e *Engine) CloseAll() (closed int) {
	for k := range e.allKeys() {
		closed += closeSubscribers(k)
	}
	return closed
}

func closeSubscribers(k *key) (closed int) {
	for _, s := range k.subscriberList() {
		if s.Close(ReasonClosed) {
			closed++
		}
	}
	return closed
}

// Wakers returns the number of goroutines that notify subscribers.
func (e *Engine) Wakers() int { return len(e.wakers) }

func (e *Engine) nextWaker() *waker {
	return e.wakers[e.nextIndex.Add(1)%uint32(len(e.wakers))]
}

// LimitError says which limit refused a request.
type LimitError struct {
	Limit string // "maxClients", "maxKeys", "maxSubscriberKeys" or "keyTotalBytes"
	Value int64
	Key   string
}

func (l *LimitError) Error() string {
	return fmt.Sprintf("%s: the limit of %d is reached for key %q", l.Limit, l.Value, l.Key)
}

// ErrClosed is returned by Publish, PublishAll and Subscribe after Close, because nobody would be notified.
var ErrClosed = errors.New("engine: the engine is closed")
