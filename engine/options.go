package engine

import (
	"cmp"
	"fmt"
	"math/bits"
	"runtime"
	"time"
)

// Policy says what happens to a subscriber that its key's ring laps.
type Policy uint8

const (
	// Skip continues with the oldest event that is kept, after a gap.
	Skip Policy = iota
	// Latest continues with the newest event. It also skips to the newest event when the connection accepted nothing
	// for a while. It is for values of which only the newest one matters.
	Latest
	// Disconnect ends the connection. The client reconnects and resumes.
	Disconnect
)

// ParsePolicy parses "skip", "latest" or "disconnect".
func ParsePolicy(s string) (Policy, error) {
	for p := Skip; p <= Disconnect; p++ {
		if p.String() == s {
			return p, nil
		}
	}
	return 0, fmt.Errorf("unknown slow policy %q: use skip, latest or disconnect", s)
}

// String returns the name that ParsePolicy parses.
func (p Policy) String() string { return nameOf(p, "skip", "latest", "disconnect") }

// nameOf returns the name of one of the values 0, 1, 2, …; other values are "unknown".
func nameOf[T ~uint8 | ~uint32](v T, names ...string) string {
	if uint64(v) < uint64(len(names)) {
		return names[v]
	}
	return "unknown"
}

// KeyOptions are the limits of one key. Zero and negative values mean the defaults, and so does an invalid policy.
type KeyOptions struct {
	// History is how many events are kept for replay and for slow subscribers: 8 to 1,048,576, rounded up to a power of
	// two. Default 1024.
	History int
	// HistoryBytes limits the total size of the frames that are kept, in bytes. The newest event is kept whatever its
	// size. Default 16 MiB.
	HistoryBytes int64
	// HistoryTTL is how long an event is kept, and how long a key without subscribers is kept after its last use. A
	// sweep checks it, so both may be kept up to eight SweepIntervals longer. Default 5 minutes.
	HistoryTTL time.Duration
	// FlushInterval is the shortest time between two wake-ups of the key's subscribers. With 0, the default, each event
	// wakes them. Events that are published during an interval are sent together at its end, which costs less CPU time
	// and adds up to one interval of latency. An event after an interval without events is sent at once.
	FlushInterval time.Duration
	// Slow is the policy for slow subscribers. Default Skip.
	Slow Policy
	// MaxSubscribers is the maximum number of subscribers. Default 10,000.
	MaxSubscribers int
	// SendLast sends the key's newest value first to a subscriber without an id, and keeps that event beyond
	// HistoryTTL. A key with such an event exists until the engine is closed or SendLast is disabled.
	SendLast bool
	// OnDemand, with Options.Log, keeps events of the key in memory only while it has subscribers, and for HistoryTTL after the last
	// one has left. What a subscriber needs from before is in Missing, and with SendLast so is the newest value. It saves memory and
	// processor time where most keys have no subscribers at this engine. Without Options.Log it changes nothing.
	OnDemand bool
	// StableIDs says that the publisher's own ids remain valid after a restart: each identifies one event of the key,
	// and has the form of a Position. Positions then uses the id of the event before the subscriber's place, if that
	// event is kept. So the subscriber can also resume in another life of the key. With Options.Log
	// it changes nothing.
	StableIDs bool
}

// withDefaults returns o itself if all its values are valid, so that keys share the options of a rule.
func (o *KeyOptions) withDefaults() *KeyOptions {
	if o.History > 0 && o.HistoryBytes > 0 && o.HistoryTTL > 0 && o.MaxSubscribers > 0 && o.Slow <= Disconnect {
		return o
	}
	full := *o
	if full.Slow > Disconnect {
		full.Slow = Skip
	}
	setDefault(&full.History, 1024)
	setDefault(&full.HistoryBytes, 16<<20)
	setDefault(&full.HistoryTTL, 5*time.Minute)
	setDefault(&full.MaxSubscribers, 10_000)
	return &full
}

// slots returns the maximum size of the key's ring.
func (o *KeyOptions) slots() int {
	n := min(max(o.History, minSlots), 1<<20)
	return 1 << bits.Len(uint(n-1))
}

// Options configure an Engine. The zero value is ready to use. Negative values mean the defaults, like zero.
type Options struct {
	// Key are the options of the keys for which KeyRule returns nil.
	Key KeyOptions
	// KeyRule returns the options of the key with this name, or nil for Key. It must be fast and safe for concurrent
	// use, and the options must not change afterwards. It should return the same pointer for many keys, without zero
	// values: then these keys share the options. Otherwise each key has its own copy.
	KeyRule func(name string) *KeyOptions
	// MaxKeys is the maximum number of keys that exist at the same time. Default 1,000,000.
	MaxKeys int
	// MaxSubscriberKeys is the number of keys, whoever created them, from which on subscribers cannot create another
	// one. The keys between it and MaxKeys are for publishers. Default three quarters of MaxKeys, rounded up.
	MaxSubscriberKeys int
	// KeyTotalBytes limits the total size of the names of all keys, in bytes. Subscribers create keys only below three
	// quarters of it. Default 64 KiB and 128 bytes for each key of MaxKeys.
	KeyTotalBytes int64
	// MaxHistoryBytes limits the total size of the frames that all keys keep, in bytes. The newest event of each key is
	// kept whatever the sum, and then all keys together keep half of the limit beside them. The keys share the limit
	// fairly: none loses events to others that keep more. Default 256 MiB.
	MaxHistoryBytes int64
	// Wakers is the number of goroutines that notify subscribers. Default GOMAXPROCS.
	Wakers int
	// Log makes the engine follow an external log: events come by Apply, and Publish and PublishAll return ErrLog. Ids are
	// then positions in the log, which mean the same to every engine that follows it. nil: the engine orders events itself.
	Log *LogOptions
	// SweepInterval is the time between two sweeps for expired events and keys. A complete pass over the keys takes
	// eight sweeps. Default 1 second.
	SweepInterval time.Duration
}

func (o Options) withDefaults() Options {
	setDefault(&o.MaxKeys, 1_000_000)
	setDefault(&o.MaxSubscriberKeys, o.MaxKeys-o.MaxKeys/4)
	setDefault(&o.KeyTotalBytes, 64<<10+128*int64(o.MaxKeys))
	setDefault(&o.MaxHistoryBytes, 256<<20)
	setDefault(&o.Wakers, runtime.GOMAXPROCS(0))
	setDefault(&o.SweepInterval, time.Second)
	return o
}

func (o *Options) keyLimits() *keyLimits {
	return &keyLimits{
		keys: int64(o.MaxKeys), subscriberKeys: int64(o.MaxSubscriberKeys),
		bytes: o.KeyTotalBytes, subscriberBytes: o.KeyTotalBytes - o.KeyTotalBytes/4,
	}
}

func setDefault[T cmp.Ordered](v *T, def T) {
	var zero T
	if *v <= zero {
		*v = def
	}
}
