// Package relay publishes what a source delivers one message at a time, in its order, without waiting for each of them: what
// arrives while earlier messages are being stored is published together.
//
//	r := relay.New(relay.Options{Publish: publish, Again: isTemporary, Refused: countAndLog})
//	r.Put(relay.Message{Key: "news", Event: ev}) // in the source's goroutine
//	defer r.Close()
//
// A source whose messages are lost if nobody takes them needs this where a publish waits for a broker. Messages that cannot be
// stored for now stay, and Put blocks when there are too many. The source then stops reading, and whoever sends to it notices.
package relay

import (
	"bytes"
	"context"
	"crypto/rand"
	"strconv"
	"sync"
	"time"

	"fanfare/codec"
)

// Message is an event to publish.
type Message struct {
	// ID identifies the message, so that a repetition is stored once. A Relay gives an ID to a message that has none.
	ID    string
	Key   string
	Event codec.Event

	digest uint64    // see digestOf; 0 if nothing is remembered
	at     time.Time // when it was put, with a digest
}

// Options configure a Relay. Publish and Refused are required.
type Options struct {
	// Publish publishes the messages in their order, and returns an error, or nil, for each.
	Publish func(ctx context.Context, messages []Message) []error
	// Again reports whether a message that failed with the error may be published later. It is then published again, with
	// the same ID, and so are those after it. nil: never.
	Again func(error) bool
	// Refused is called for each message that is not published, in the relay's goroutine.
	Refused func(m Message, err error)
	// MaxMessages and MaxBytes bound what waits. Default 4096 messages, 16 MiB.
	MaxMessages, MaxBytes int
	// Remember keeps what TakeOver of another node needs to know of the messages that were put last.
	Remember bool
}

const (
	maxBatch = 512
	// The pause before what has failed is published again, doubled with each failure. The publish itself has waited, too.
	minPause, maxPause = 50 * time.Millisecond, 2 * time.Second
	// closeTimeout bounds how long Close waits until what has been put is published.
	closeTimeout = 5 * time.Second
)

// Relay is a bounded queue and the goroutine that empties it. Put and Close may be called concurrently.
type Relay struct {
	o      Options
	prefix string // of the IDs
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	changed sync.Cond // on mu: messages or closed have changed
	queue   []Message // that have not been published; the goroutine works on the first ones
	bytes   int       // of their data
	count   uint64    // messages put, for IDs
	closed  bool

	// For the other nodes of a fleet, see handover.go.
	records  []record  // of the messages put last; from maxRecent on a ring, which begins at oldest
	oldest   int       // in records
	complete time.Time // since when records has all; zero: always
	held     time.Time // since when what is put waits for resume; zero: it does not
	expected []record  // of messages not to publish, until at
}

// New starts a Relay.
func New(o Options) *Relay {
	if o.MaxMessages == 0 {
		o.MaxMessages = 4096
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 16 << 20
	}
	if o.Again == nil {
		o.Again = func(error) bool { return false }
	}
	r := &Relay{o: o, prefix: "b:" + rand.Text() + ":", done: make(chan struct{})}
	r.changed.L = &r.mu
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go r.run(ctx)
	return r
}

// Put adds a message. It copies the event's data. It blocks while too much waits, and drops the message after Close.
func (r *Relay) Put(m Message) {
	m.Event.Data = bytes.Clone(m.Event.Data)
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.closed && len(r.queue) > 0 && (len(r.queue) >= r.o.MaxMessages || r.bytes+len(m.Event.Data) > r.o.MaxBytes) {
		r.changed.Wait()
	}
	if r.closed {
		return
	}
	if r.o.Remember {
		m.digest, m.at = digestOf(&m), time.Now()
		if rec := (record{m.digest, m.at}); m.digest != 0 {
			if len(r.expected) > 0 && r.isExpected(rec) {
				return
			}
			r.remember(rec)
		}
	}
	r.count++
	if m.ID == "" {
		m.ID = r.prefix + strconv.FormatUint(r.count, 36)
	}
	r.queue = append(r.queue, m)
	r.bytes += len(m.Event.Data)
	r.changed.Broadcast()
}

// Close publishes what has been put, for at most some seconds, and returns when nothing more will be published.
func (r *Relay) Close() {
	r.mu.Lock()
	r.closed = true
	r.changed.Broadcast()
	r.mu.Unlock()
	timer := time.AfterFunc(closeTimeout, r.cancel)
	defer timer.Stop()
	<-r.done
	r.cancel()
}

// run publishes until Close was called and nothing is left, or ctx is done.
func (r *Relay) run(ctx context.Context) {
	defer close(r.done)
	pause := minPause
	for {
		batch := r.next()
		if len(batch) == 0 {
			return
		}
		n := r.publish(ctx, batch)
		r.remove(batch[:n])
		if n == len(batch) {
			pause = minPause
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(pause*2, maxPause)
	}
}

// next waits for messages and returns the first of them. It returns none after Close if none are left.
func (r *Relay) next() []Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	for (len(r.queue) == 0 || !r.held.IsZero()) && !r.closed {
		r.changed.Wait()
	}
	if !r.held.IsZero() { // closed while another node publishes
		return nil
	}
	n := min(len(r.queue), maxBatch)
	return r.queue[:n:n]
}

// publish publishes a batch and returns how many of its messages are done with: all before the first one that must be
// published again. Those after it may be stored as well; their IDs let the repetition find out.
func (r *Relay) publish(ctx context.Context, batch []Message) int {
	for i, err := range r.o.Publish(ctx, batch) {
		switch {
		case err == nil:
		case r.o.Again(err):
			return i
		default:
			r.o.Refused(batch[i], err)
		}
	}
	return len(batch)
}

// remove removes the first messages of the queue.
func (r *Relay) remove(first []Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range first {
		r.bytes -= len(first[i].Event.Data)
		first[i] = Message{} // the array outlives them
	}
	if r.queue = r.queue[len(first):]; len(r.queue) == 0 {
		r.queue = nil
	}
	r.changed.Broadcast()
}
