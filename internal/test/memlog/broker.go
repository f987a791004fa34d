// Package memlog has a log and a bus in memory, with faults, for tests of several nodes in one process.
//
//	broker := memlog.New(1)
//	a, b := broker.Log(), broker.Log() // the connections of two nodes
//	broker.LoseAcks(3)                 // the next three messages are stored, but not confirmed
//
// A Broker stands for the server, or the cluster of servers, that all nodes connect to. Its methods make faults of the
// server; those of Log and Bus make faults of one node's connection. Everything works in a bubble of testing/synctest.
package memlog

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"fanfare/cluster"
)

// Broker keeps the entries. All methods may be called concurrently.
type Broker struct {
	// Window is how long the ID of a message is remembered. MaxFrame is the largest frame. Set them before the first use, as
	// those below.
	Window   time.Duration
	MaxFrame int
	// MaxBytes bounds what a partition keeps, as retention does: each entry counts as the bytes of its frame and 100 more.
	// 0: no bound.
	MaxBytes int64
	// MaxAge is what the log says of the age of its entries. Only Purge removes old ones.
	MaxAge time.Duration
	// Clock says when an entry is stored. nil: time.Now. It may go back, as the clock of a broker may.
	Clock func() time.Time

	mu        sync.Mutex
	parts     []*partition
	creations int
	changed   chan struct{} // closed and replaced at each change
	logs      []*Log
	buses     []*Bus

	history [][]Stored // by partition, see History

	// Faults, see the methods that set them.
	down, stalled, holdAcks, holdFetches bool
	loseAcks, drop, refuse               int
	refuseErr                            error
	fetches                              int
	largest                              int
}

type partition struct {
	entries     map[uint64]entry
	first, last uint64
	ids         map[string]stored
	unsynced    bool
	history     *[]Stored
}

type entry struct {
	m  cluster.Message
	at time.Time
	// A message of another program, see PutForeign.
	foreign bool
	payload []byte
}

type stored struct {
	seq uint64
	at  time.Time
}

// New makes a broker with empty partitions.
func New(partitions int) *Broker {
	b := &Broker{Window: 30 * time.Second, MaxFrame: 1 << 20, changed: make(chan struct{})}
	b.create(partitions)
	return b
}

func (b *Broker) create(partitions int) {
	b.creations++
	for _, p := range b.parts {
		p.forget(0)
	}
	b.parts = nil
	if b.history == nil {
		b.history = make([][]Stored, partitions)
	}
	for i := range partitions {
		b.parts = append(b.parts, &partition{entries: map[uint64]entry{}, first: 1, ids: map[string]stored{}, history: &b.history[i]})
	}
}

// Stored is an entry that a partition has, or had before it went back.
type Stored struct {
	Seq     uint64
	Message cluster.Message
	Gone    bool // the log has gone back behind it
}

// History returns everything that a partition has ever stored, in the order in which it was stored.
func (b *Broker) History(partition int) []Stored {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.history[partition])
}

// change runs f and wakes everybody who waits.
func (b *Broker) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	close(b.changed)
	b.changed = make(chan struct{})
}

// Down makes the broker unreachable: calls fail, and reading ends with an error.
func (b *Broker) Down() { b.change(func() { b.down = true }) }

// Up ends Down.
func (b *Broker) Up() { b.change(func() { b.down = false }) }

// Stall makes every call wait until Stall(false), as with a stopped process. Nothing is stored meanwhile.
func (b *Broker) Stall(on bool) { b.change(func() { b.stalled = on }) }

// LoseAcks stores the next n messages and reports ErrUnknown at once.
func (b *Broker) LoseAcks(n int) { b.change(func() { b.loseAcks = n }) }

// HoldAcks stores messages, but lets Append wait until its context is done, which reports ErrUnknown.
func (b *Broker) HoldAcks(on bool) { b.change(func() { b.holdAcks = on }) }

// Drop does not store the next n messages and reports ErrUnknown at once.
func (b *Broker) Drop(n int) { b.change(func() { b.drop = n }) }

// Refuse refuses the next n messages with err.
func (b *Broker) Refuse(n int, err error) { b.change(func() { b.refuse, b.refuseErr = n, err }) }

// HoldFetches makes Fetch wait until HoldFetches(false).
func (b *Broker) HoldFetches(on bool) { b.change(func() { b.holdFetches = on }) }

// GoBack takes the newest n entries of a partition away. The next messages get their sequences. Readers are not told.
func (b *Broker) GoBack(partition, n int) {
	b.change(func() {
		p := b.parts[partition]
		for ; n > 0 && p.last > 0; n-- {
			delete(p.entries, p.last)
			p.last--
		}
		p.forget(p.last)
		p.first = min(p.first, p.last+1)
		maps.DeleteFunc(p.ids, func(_ string, s stored) bool { return s.seq > p.last })
	})
}

// Recreate deletes the log and makes an empty one of the same name.
func (b *Broker) Recreate() { b.change(func() { b.create(len(b.parts)) }) }

// Restore makes the log another one with the same entries, as a complete backup does.
func (b *Broker) Restore() { b.change(func() { b.creations++ }) }

// LoseSync says that entries which were confirmed may be lost, until the next epoch begins.
func (b *Broker) LoseSync(partition int) { b.change(func() { b.parts[partition].unsynced = true }) }

// Hole takes the entries from..to away, as an operator does who edits the log. The others keep their sequences.
func (b *Broker) Hole(partition int, from, to uint64) {
	b.change(func() {
		for seq := from; seq <= to; seq++ {
			delete(b.parts[partition].entries, seq)
		}
	})
}

// Purge takes all entries below seq away, as retention does.
func (b *Broker) Purge(partition int, seq uint64) {
	b.change(func() {
		p := b.parts[partition]
		for ; p.first < seq && p.first <= p.last; p.first++ {
			delete(p.entries, p.first)
		}
	})
}

// PutForeign stores what another program sends: a payload without a header.
func (b *Broker) PutForeign(key string, payload []byte) (seq uint64) {
	b.change(func() {
		p := b.parts[cluster.PartitionOf(key, len(b.parts))]
		seq = p.put(entry{m: cluster.Message{Key: key}, at: time.Now(), foreign: true, payload: slices.Clone(payload)})
		b.trim(p)
	})
	return seq
}

// Last returns the newest sequence of a partition.
func (b *Broker) Last(partition int) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.parts[partition].last
}

// Messages returns the messages that a partition holds, in order, without holes.
func (b *Broker) Messages(partition int) (messages []cluster.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.parts[partition]
	for _, seq := range slices.Sorted(maps.Keys(p.entries)) {
		messages = append(messages, p.entries[seq].m)
	}
	return messages
}

// Fetches returns how often Fetch has been called.
func (b *Broker) Fetches() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fetches
}

// LargestBusMessage returns the size of the largest message that was sent on the bus, in bytes.
func (b *Broker) LargestBusMessage() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.largest
}

// trim removes the oldest entries beyond MaxBytes. The caller holds mu.
func (b *Broker) trim(p *partition) {
	if b.MaxBytes == 0 {
		return
	}
	var bytes int64
	for _, e := range p.entries {
		bytes += e.size()
	}
	for ; bytes > b.MaxBytes && p.first < p.last; p.first++ {
		if e, ok := p.entries[p.first]; ok {
			bytes -= e.size()
			delete(p.entries, p.first)
		}
	}
}

// size is what an entry counts for MaxBytes.
func (e *entry) size() int64 { return int64(len(e.m.Frame.Bytes)+len(e.payload)) + 100 }

// forget marks the entries after seq as gone.
func (p *partition) forget(seq uint64) {
	for i := range *p.history {
		if e := &(*p.history)[i]; e.Seq > seq {
			e.Gone = true
		}
	}
}

func (p *partition) put(e entry) uint64 {
	p.last++
	p.entries[p.last] = e
	*p.history = append(*p.history, Stored{Seq: p.last, Message: e.m})
	if e.m.Op == cluster.OpEpoch {
		p.unsynced = false
	}
	return p.last
}

// append stores a message unless it is a repetition or its condition does not hold.
func (p *partition) append(m cluster.Message, b *Broker) cluster.Result {
	now := time.Now()
	if s, ok := p.ids[m.ID]; ok && m.ID != "" && now.Sub(s.at) < b.Window {
		return cluster.Result{Seq: s.seq, Duplicate: true}
	}
	if m.After != 0 && m.After != p.last+1 || m.AfterEpoch != 0 && m.AfterEpoch != p.epochEntry() {
		return cluster.Result{Err: cluster.ErrConflict}
	}
	m.Frame.Bytes = slices.Clone(m.Frame.Bytes)
	at := now
	if b.Clock != nil {
		at = b.Clock()
	}
	seq := p.put(entry{m: m, at: at})
	if m.ID != "" {
		p.ids[m.ID] = stored{seq, now}
	}
	return cluster.Result{Seq: seq}
}

func (p *partition) state(creations int) cluster.State {
	s := cluster.State{First: p.first, Last: p.last, Created: strconv.Itoa(creations), Unsynced: p.unsynced}
	if seq := p.epochEntry(); seq > 0 {
		var out cluster.Entry
		e := p.entries[seq]
		e.decode(&out, 0, seq)
		s.Epoch, s.EpochSeq, s.EpochEntry = out.Epoch, out.EpochSeq, seq
	}
	return s
}

// epochEntry returns the sequence of the newest OpEpoch entry, or 0.
func (p *partition) epochEntry() uint64 {
	for seq := p.last; seq >= p.first && seq > 0; seq-- {
		if e, ok := p.entries[seq]; ok && e.m.Op == cluster.OpEpoch {
			return seq
		}
	}
	return 0
}

// decode makes the Entry of a stored message, by way of its header, as real logs do.
func (e *entry) decode(out *cluster.Entry, partition int, seq uint64) {
	*out = cluster.Entry{Op: e.m.Op, Partition: partition, Seq: seq, At: e.at.UnixNano(), Key: e.m.Key}
	if e.foreign {
		cluster.Decode("", e.payload, out)
		return
	}
	cluster.Decode(string(cluster.AppendHeader(nil, &e.m)), e.m.Frame.Bytes, out)
}

// next returns the entry with the smallest sequence from seq on, or a hole before it. ok is false if there is nothing yet.
func (p *partition) next(partition int, seq uint64) (out cluster.Entry, ok bool) {
	if seq > p.last {
		return out, false
	}
	if e, found := p.entries[seq]; found {
		e.decode(&out, partition, seq)
		return out, true
	}
	for seq < p.last {
		if _, found := p.entries[seq+1]; found {
			break
		}
		seq++
	}
	return cluster.Entry{Op: cluster.OpHole, Partition: partition, Seq: seq}, true
}

// fetch returns the entries of q.
func (p *partition) fetch(q cluster.Query) (found []cluster.Entry, err error) {
	over := q.Scan > 0 && q.Through > q.After && q.Through-q.After > uint64(q.Scan)
	lost, after := q.After, q.After
	if q.Last() { // what is left
		q.After = max(q.After, p.first-1)
		if q.Exact {
			lost = min(q.After, q.Through)
		}
		if over {
			q.After = max(q.After, q.Through-uint64(q.Scan))
		}
	}
	if q.After+1 < p.first || q.Through > p.last || over && !q.Last() {
		return nil, cluster.ErrTooOld
	}
	var total int64
	for seq := q.After + 1; seq <= q.Through; seq++ {
		e, ok := p.entries[seq]
		if !ok && q.Last() && q.Exact {
			found, lost = nil, seq
			continue
		}
		if !ok {
			return nil, cluster.ErrTooOld
		}
		var out cluster.Entry
		e.decode(&out, q.Partition, seq)
		if q.All && out.Op != cluster.OpBroadcast || !q.All && (out.Op != cluster.OpEvent || out.Key != q.Key) || e.at.Before(q.Since) {
			continue
		}
		total += int64(len(out.Frame.Bytes))
		if q.Oldest > 0 && (len(found) == q.Oldest || len(found) > 0 && total > q.Bytes) {
			return found, nil
		}
		found = append(found, out)
	}
	if q.Last() {
		found, cut := q.Trim(found)
		if over && (q.Newest == 0 || len(found) < q.Newest) {
			lost = max(lost, q.After)
		}
		if cut {
			lost = max(lost, found[0].Seq-1)
		}
		if lost > after {
			return found, cluster.Lost(lost, cluster.ErrTooOld)
		}
		return found, nil
	}
	if q.Oldest == 0 && (q.Max > 0 && len(found) > q.Max || q.Bytes > 0 && total > q.Bytes) {
		return nil, cluster.ErrTooOld
	}
	return found, nil
}
