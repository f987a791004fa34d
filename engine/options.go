package engine

import (
	"cmp"
	"fmt"
	"math/bits"
	"runtime"
	"time"
)

// Policy is what happens to a subscriber that its key's ring laps.
type Policy uint8

const (
	// Skip continues with the oldest event kept, behind a gap.
	Skip Policy = iota
	// Latest continues with the newest event, and skips to it already when the
	// connection could not take more for a while: for values of which only the
	// last one counts.
	Latest
	// Disconnect ends the connection; the client comes back and resumes.
	Disconnect
)

// ParsePolicy reads "skip", "latest" or "disconnect".
func ParsePolicy(s string) (Policy, error) {
	for p := Skip; p <= Disconnect; p++ {
		if p.String() == s {
			return p, nil
		}
	}
	return 0, fmt.Errorf("slow policy %q is unknown: use skip, latest or disconnect", s)
}

// String returns the name that ParsePolicy reads.
func (p Policy) String() string { return nameOf(p, "skip", "latest", "disconnect") }

// nameOf is the name of one of the values 0, 1, 2, …; others have none.
func nameOf[T ~uint8 | ~uint32](v T, names ...string) string {
	if uint64(v) < uint64(len(names)) {
		return names[v]
	}
	return "unknown"
}

// KeyOptions are the limits of one key. Zero and negative values mean the
// defaults, and so does a policy that there is not.
type KeyOptions struct {
	// History is how many events are kept for replay and for subscribers that
	// lag, rounded up to a power of two; 8 to 1,048,576. Default 1024.
	History int
	// HistoryBytes bounds the frames kept, in bytes; the newest event is kept
	// whatever its size. Default 16 MiB.
	HistoryBytes int64
	// HistoryTTL is how long an event is kept, and how long a key without
	// subscribers lives after its last use. Checked by a sweep: both may live up
	// to eight SweepIntervals longer. Default 5 minutes.
	HistoryTTL time.Duration
	// FlushInterval is the shortest time between two wake-ups of the key's
	// subscribers; 0 (the default): each event wakes them. What is published
	// meanwhile leaves in one write at the end of the interval, for less CPU time
	// and up to so much more latency. An event after a quiet interval leaves at
	// once.
	FlushInterval time.Duration
	// Slow is the policy for subscribers that lag.
	Slow Policy
	// MaxSubscribers is the limit of subscribers. Default 10,000.
	MaxSubscribers int
	// SendLast gives a subscriber that comes without an id the key's newest event
	// first, and keeps that event beyond HistoryTTL: a key with an event then
	// lives until the engine ends, or SendLast is taken back.
	SendLast bool
	// StableIDs says that the publisher's own ids outlive this process: each
	// stands for one event of the key, and has the form of a Position. A
	// subscriber's position is then told by the id of the event before it, where
	// that is kept, so that it resumes in another life of the key too.
	StableIDs bool
}

// withDefaults returns o itself if it has no zero value, so that keys share a
// rule's options.
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

// slots returns the size that the key's ring may grow to.
func (o *KeyOptions) slots() int {
	n := min(max(o.History, minSlots), 1<<20)
	return 1 << bits.Len(uint(n-1))
}

// Options configure an Engine. The zero value is ready to use; negative values
// mean the defaults, too.
type Options struct {
	// Key are the options of keys for which KeyRule has no others.
	Key KeyOptions
	// KeyRule returns the options of a key by its name, nil for Key. It must be
	// fast and safe for concurrent use, and what it returns must not change. It
	// should return the same pointer for many keys, with no zero value left: then
	// they share it, and otherwise each has its own copy.
	KeyRule func(name string) *KeyOptions
	// MaxKeys bounds the keys that exist at once. Default 1,000,000.
	MaxKeys int
	// MaxHistoryBytes bounds the frames that all keys keep together, in bytes;
	// the newest event of each key is kept whatever the sum. Default 256 MiB.
	MaxHistoryBytes int64
	// Wakers is the number of goroutines that notify subscribers. Default
	// GOMAXPROCS.
	Wakers int
	// SweepInterval is how often expired events and keys are looked for; a whole
	// pass takes eight intervals. Default 1 second.
	SweepInterval time.Duration
}

func (o Options) withDefaults() Options {
	setDefault(&o.MaxKeys, 1_000_000)
	setDefault(&o.MaxHistoryBytes, 256<<20)
	setDefault(&o.Wakers, runtime.GOMAXPROCS(0))
	setDefault(&o.SweepInterval, time.Second)
	return o
}

func setDefault[T cmp.Ordered](v *T, def T) {
	var zero T
	if *v <= zero {
		*v = def
	}
}
