package relay

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"time"
)

// Succession is how the nodes of a fleet pass on the job to publish what all of them can receive. A nil Succession is that of a node
// that is alone.
type Succession struct {
	// Led reports whether some node does the job.
	Led func() bool
	// Succeeds reports whether the node that does the job is about to end, and this node is to follow it.
	Succeeds func() bool
	// TakeOver asks that node to stop, and returns what its HandOver has told.
	TakeOver func(ctx context.Context) ([]byte, error)
	// HandOver waits until another node takes over, or there is none, or ctx is done. Then it calls stop, and tells the other node
	// what that returned.
	HandOver func(ctx context.Context, stop func() []byte)
	// Changed returns a channel that is closed when one of the other answers may have changed.
	Changed func() <-chan struct{}
}

// IsLed is Led.
func (s *Succession) IsLed() bool { return s == nil || s.Led() }

// IsNext is Succeeds.
func (s *Succession) IsNext() bool { return s != nil && s.Succeeds() }

// Wake is Changed. It returns nil if nothing can change.
func (s *Succession) Wake() <-chan struct{} {
	if s == nil {
		return nil
	}
	return s.Changed()
}

const (
	// handOverTimeout bounds how long a node that ends waits for another one that takes over.
	handOverTimeout = 5 * time.Second
	// overlap is how long the next node receives messages before it takes over: what it begins to receive must have reached every
	// server of the source, and what it receives later than the other one must be in it.
	overlap = 200 * time.Millisecond
	// skew is how much later one node may receive a message than another.
	skew = overlap / 2
	// How many messages a relay remembers for its successor, and for how long.
	maxRecent = 8192
	recentFor = 10 * time.Second
	// recordBytes is the size of a message in Recent: its digest, and its age in microseconds.
	recordBytes = 12
)

// HandOver ends the job of this node: see Succession.HandOver. stop ends the source and closes the relay.
func (r *Relay) HandOver(s *Succession, stop func()) {
	if s == nil {
		stop()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), handOverTimeout)
	defer cancel()
	s.HandOver(ctx, func() []byte {
		stop()
		return r.recent()
	})
}

// TakeOver takes the job over from a node that is about to end, and publishes what that node has not published. Both of them must
// receive the same messages: receive makes this node put them, and returns when it does. If TakeOver returns an error, what was put
// is dropped. If exact is false, messages may be lost or published twice.
//
// Messages are compared by their key, fields and data, and equal ones by the time of their arrival. So one of several equal messages may
// be lost or published twice if they follow each other faster than the nodes' arrivals differ.
//
//	this node:  Hold ── receive ── overlap ── TakeOver ······························ drop what the other one had ── publish
//	the other:  publish ······························· stop ── publish the rest ── recent
func (r *Relay) TakeOver(ctx context.Context, s *Succession, receive func() error) (exact bool, err error) {
	if err = r.hold(); err != nil {
		return false, err
	}
	if err = receive(); err == nil {
		select {
		case <-time.After(overlap):
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	var data []byte
	if err == nil {
		data, err = s.TakeOver(ctx)
	}
	if err != nil {
		r.drop()
		return false, err
	}
	return r.resume(data), nil
}

// record is a message that was put.
type record struct {
	digest uint64
	at     time.Time
}

// digestOf tells messages apart, on all nodes alike. It is 0 for a notice, which a node makes itself.
func digestOf(m *Message) uint64 {
	if m.Event.Notice {
		return 0
	}
	h := sha256.New()
	var n [8]byte
	for _, field := range []string{m.Key, m.Event.Event, m.Event.ID, m.Event.Retry} {
		binary.LittleEndian.PutUint64(n[:], uint64(len(field)))
		h.Write(n[:])
		_, _ = io.WriteString(h, field)
	}
	h.Write(m.Event.Data)
	return binary.LittleEndian.Uint64(h.Sum(nil)) | 1
}

// remember adds a message to what the successor gets to know. The caller holds mu.
func (r *Relay) remember(rec record) {
	if len(r.records) < maxRecent {
		r.records = append(r.records, rec)
		return
	}
	r.complete = r.records[r.oldest].at
	r.records[r.oldest] = rec
	r.oldest = (r.oldest + 1) % maxRecent
}

// recent returns the messages that were put in the last seconds, the oldest first: since when they are complete, as an age, and a
// record for each.
func (r *Relay) recent() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	complete := now.Add(-recentFor)
	if r.complete.After(complete) {
		complete = r.complete
	}
	data := binary.LittleEndian.AppendUint32(nil, uint32(now.Sub(complete).Microseconds()))
	for i := range r.records {
		rec := r.records[(r.oldest+i)%len(r.records)]
		if rec.at.After(complete) {
			data = binary.LittleEndian.AppendUint64(data, rec.digest)
			data = binary.LittleEndian.AppendUint32(data, uint32(now.Sub(rec.at).Microseconds()))
		}
	}
	return data
}

// errBusy says that messages from the time when this node published before are not stored yet.
var errBusy = errors.New("relay: earlier messages wait to be published")

// hold keeps what is put from now on, until resume or drop.
func (r *Relay) hold() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) > 0 {
		return errBusy
	}
	r.held = time.Now()
	return nil
}

// drop forgets what was put since hold.
func (r *Relay) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue, r.bytes, r.held = nil, 0, time.Time{}
	r.changed.Broadcast()
}

// resume publishes what was put since hold but for what the other node has published. It returns false if that is not certain.
func (r *Relay) resume(published []byte) (exact bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if len(published) < 4 || (len(published)-4)%recordBytes != 0 {
		r.held = time.Time{}
		r.changed.Broadcast()
		return false
	}
	age := func(at int) time.Duration {
		return time.Duration(binary.LittleEndian.Uint32(published[at:])) * time.Microsecond
	}
	exact = now.Sub(r.held) < age(0)

	// Find each message of the other node among those of this one.
	own, others := map[uint64][]int{}, map[uint64][]time.Duration{}
	for i := range r.queue {
		own[r.queue[i].digest] = append(own[r.queue[i].digest], i)
	}
	for at := 4; at < len(published); at += recordBytes {
		digest := binary.LittleEndian.Uint64(published[at:])
		others[digest] = append(others[digest], age(at+8))
	}
	gone := map[int]bool{}
	for digest, ages := range others {
		mine := make([]time.Duration, len(own[digest]))
		for j, i := range own[digest] {
			mine[j] = now.Sub(r.queue[i].at)
		}
		shift := align(ages, mine)
		for j, old := range ages {
			switch at := j + shift; {
			case at >= 0 && at < len(mine):
				gone[own[digest][at]] = true
			case old < now.Sub(r.held)-skew: // it is on its way to this node
				r.expected = append(r.expected, record{digest, now.Add(recentFor)})
			}
		}
	}
	kept := r.queue[:0:0]
	for i, m := range r.queue {
		if gone[i] {
			r.bytes -= len(m.Event.Data)
		} else {
			kept = append(kept, m)
		}
	}
	r.queue, r.held = kept, time.Time{}
	r.changed.Broadcast()
	return exact
}

// align compares the ages of equal messages at two nodes, the oldest first. Both nodes have them in the same order, but one may have more
// at either end. It returns the shift by which theirs[j] is ours[j+shift]: the one with the least difference of the ages, or
// len(ours) if none is the same.
func align(theirs, ours []time.Duration) (shift int) {
	const compared = 64 // pairs are enough
	least := skew
	if len(theirs) == 1 && len(ours) == 1 {
		least = recentFor // there is no other one
	}
	shift = len(ours)
	for s := 1 - len(theirs); s < len(ours); s++ {
		from, to := max(0, -s), min(len(theirs), len(ours)-s)
		from = max(from, to-compared)
		var sum time.Duration
		for j := from; j < to; j++ {
			sum += (theirs[j] - ours[j+s]).Abs()
		}
		if mean := sum / time.Duration(to-from); mean < least {
			shift, least = s, mean
		}
	}
	return shift
}

// isExpected reports whether the other node has published a message that arrives here only now, and forgets it. The caller holds mu.
func (r *Relay) isExpected(rec record) bool {
	for i, e := range r.expected {
		if e.digest == rec.digest && rec.at.Before(e.at) {
			r.expected = append(r.expected[:i], r.expected[i+1:]...)
			return true
		}
	}
	return false
}
