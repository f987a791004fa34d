package engine

import (
	"encoding/binary"
	"errors"
	"time"
)

// LogEntry is an event of the log.
type LogEntry struct {
	Partition int
	Seq       uint64 // in the log; ascending
	At        int64  // Unix nanoseconds
	Key       string
	// All makes it an event of all keys; Key is "". In partition 0 it is kept like any other event. In another partition, where
	// it is a notice such as that of lost entries, the keys of the partition that exist get a copy. For keys that come to
	// exist later, what is before it is missing.
	All   bool
	Frame Frame
}

// ErrEpoch is returned by Apply before the first SetEpoch of the partition.
var ErrEpoch = errors.New("engine: the partition has no epoch yet: call SetEpoch first")

// ErrPartition is returned by Apply for an event of a key that belongs to another partition.
var ErrPartition = errors.New("engine: the key of the event belongs to another partition of the log")

// pos returns the internal position of an event in log mode. It is stored after the bytes, in the same allocation, so
// that events of other engines do not pay for it.
func (e *Event) pos() uint64 {
	n := len(e.bytes)
	return binary.LittleEndian.Uint64(e.bytes[n : n+8])
}

// newLogDraft returns an event of the log, whose frame has the id already if it needs one.
func newLogDraft(f Frame, at int64, p Position, internal uint64) draft {
	idAt, idLen := f.IDAt, f.IDLen
	if idAt < 0 {
		idAt, idLen = -1, 0
	}
	var text [maxPositionLen]byte
	var id []byte
	if idAt >= 0 && idLen == 0 {
		id = p.Append(text[:0])
		idLen = len(id)
	}
	n := len(f.Bytes) + len(id)
	ev, room := newEvent(n + 8)
	if id == nil {
		copy(room, f.Bytes)
	} else {
		copy(room, f.Bytes[:idAt])
		copy(room[idAt:], id)
		copy(room[idAt+len(id):], f.Bytes[idAt:])
	}
	ev.bytes = room[: n : n+8]
	binary.LittleEndian.PutUint64(room[n:n+8], internal)
	ev.at, ev.idAt, ev.idLen, ev.class = at, int32(idAt), uint16(idLen), f.class()
	return draft{ev: ev, frame: Frame{IDAt: -1}}
}

// withoutPositionID returns the frame without an id of its publisher that is, or contains, a position of this log. A
// client that came back with such an id would resume at that position, see holdsOwnPosition. The event gets an id of the
// engine instead.
func (e *Engine) withoutPositionID(f Frame) Frame {
	if f.IDAt < 0 || f.IDLen <= minPositionLen || !e.holdsOwnPosition(string(f.Bytes[f.IDAt:f.IDAt+f.IDLen])) {
		return f
	}
	b := append([]byte(nil), f.Bytes[:f.IDAt]...)
	f.Bytes, f.IDLen = append(b, f.Bytes[f.IDAt+f.IDLen:]...), 0
	return f
}

// Apply puts an event of the log into the ring of its key and wakes the subscribers. An entry that is not above the last
// one of its partition is ignored. One goroutine at a time may call Apply, Advance, StartAt and SetEpoch for a partition.
//
// It uses the key and the frame only until it returns, and makes one allocation for frames up to 4000 bytes. After an
// error the entry counts as applied all the same: nobody gets it from this engine, except by Missing. Errors: ErrFrame,
// ErrEpoch, ErrPartition, ErrClosed, *LimitError for maxKeys.
func (e *Engine) Apply(entry LogEntry) error {
	// Look at the position.
	if e.closed.Load() {
		return ErrClosed
	}
	p := &e.log.partitions[entry.Partition]
	g := p.current()
	if g.epoch == 0 {
		return ErrEpoch
	}
	pos := g.offset + entry.Seq
	if pos <= p.applied.Load() {
		return nil
	}

	// Put the event into its ring, then raise the watermark, then wake (I13).
	if !entry.Frame.valid() {
		p.applied.Store(pos)
		return ErrFrame
	}
	var k *key
	if !entry.All {
		if k, _ = e.shard(entry.Key).Load(entry.Key); k == nil && e.unwanted(p, entry.Key, pos) {
			p.applied.Store(pos)
			return nil
		}
	}
	d := newLogDraft(e.withoutPositionID(entry.Frame), entry.At, Position{g.epoch, entry.Seq}, pos)
	if entry.All {
		e.applyToAll(p, &d)
		p.applied.Store(pos)
		e.wakeAll(p)
		return nil
	}
	k, err := e.applyToKey(p, k, entry.Key, &d)
	racePoint()
	p.applied.Store(pos)
	if k != nil {
		k.wake()
	}
	return err
}

// unwanted reports whether nobody here wants an event of a key that does not exist, see KeyOptions.OnDemand. Then it is recorded as lost: a key that is
// created afterwards has the floor.
func (e *Engine) unwanted(p *partition, name string, pos uint64) bool {
	if !e.rules.Load().optionsFor(name).OnDemand || e.noteLost(p, name, pos) {
		return false // or a subscriber has created the key meanwhile
	}
	e.log.unwanted.Add(1)
	return true
}

// applyToKey puts the event into the ring of its key, which it looks up, and creates, if k is nil.
func (e *Engine) applyToKey(p *partition, k *key, name string, d *draft) (*key, error) {
	for ; ; k = nil {
		if k == nil {
			var err error
			if k, err = e.lookup(name, forPublisher); err != nil {
				if e.noteLost(p, name, d.ev.pos()) {
					continue // a subscriber has created the key meanwhile
				}
				return nil, err
			}
		}
		if k.extra.Load().part != p {
			return nil, ErrPartition
		}
		if k.publish(e, d) {
			return k, nil
		}
		e.remove(k) // it was retired
	}
}

// applyToAll puts an event of all keys into the ring of the internal key, which has those of partition 0. Those of another
// partition go to the keys that exist, each with a copy at the same position: a subscriber of several keys skips all
// copies but the first, because it has their position then. The floor of later keys is raised first, so that a key that is
// created meanwhile has the copy or the floor.
func (e *Engine) applyToAll(p *partition, d *draft) {
	if p.index == 0 {
		e.log.all.publish(e, d)
		return
	}
	p.retired.raise(d.ev.pos())
	for k := range e.allKeys() {
		if k.extra.Load().part != p {
			continue
		}
		ev := &Event{at: d.ev.at, bytes: d.ev.bytes, idAt: d.ev.idAt, idLen: d.ev.idLen, class: d.ev.class}
		k.publish(e, &draft{ev: ev, frame: d.frame}) // not to a key that was retired meanwhile: the next one has the floor
	}
}

// wakeAll wakes the subscribers that applyToAll concerns.
func (e *Engine) wakeAll(p *partition) {
	if p.index == 0 {
		e.log.all.wake()
		return
	}
	for k := range e.allKeys() {
		if k.extra.Load().part == p {
			k.wake()
		}
	}
}

// Advance says that the log has no more events up to seq. New subscribers then begin there, and the ids of quiet ones get
// there when they next look for events. It wakes nobody.
func (e *Engine) Advance(partition int, seq uint64) {
	p := &e.log.partitions[partition]
	if pos := p.current().offset + seq; pos > p.applied.Load() {
		p.applied.Store(pos)
	}
}

// StartAt says that the engine does not get the entries up to seq, although the log has them: it begins to follow the log
// there. Clients that come back from before get what they miss by Missing. Call it after the first SetEpoch and before
// the engine has subscribers; those that it has get nothing of the entries.
func (e *Engine) StartAt(partition int, seq uint64) {
	p := &e.log.partitions[partition]
	pos := p.current().offset + seq
	p.follows.Store(max(p.follows.Load(), pos)) // before the watermark: whoever sees that sees this
	e.Advance(partition, seq)
}

// SetEpoch begins an epoch after seq: from now on sequences count from seq+1, which may be below earlier ones. Positions
// of earlier epochs get a gap with reason epoch. notice goes to the subscribers of all keys of the partition; without
// Bytes there is none. Events of earlier epochs that are kept still reach those who are connected.
//
// epoch is not 0. It should come from NewEpoch, and no two partitions have the same one.
func (e *Engine) SetEpoch(partition int, epoch, seq uint64, notice Frame) {
	// Lay the positions of the epoch beyond all earlier ones.
	p := &e.log.partitions[partition]
	offset := p.applied.Load() + epochGap
	g := generation{epoch: epoch, offset: offset, first: offset + seq}
	list := *p.generations.Load()
	list = append(list[max(0, len(list)-keptGenerations+1):len(list):len(list)], g)

	// The epoch first, then its notice, then the watermark.
	racePoint()
	p.generations.Store(&list)
	racePoint()
	if notice.valid() {
		d := newLogDraft(notice, time.Now().UnixNano(), Position{epoch, seq}, g.first)
		e.applyToAll(p, &d)
	}
	racePoint()
	p.applied.Store(g.first)
	e.wakeAll(p)
}

// NewLogEvent makes an event of an entry that the rings do not hold, for Subscriber.Fill. Several subscribers may share it.
// It returns nil for an entry that Apply would refuse.
func (e *Engine) NewLogEvent(entry LogEntry) *Event {
	g := e.log.partitions[entry.Partition].current()
	if !entry.Frame.valid() || g.epoch == 0 {
		return nil
	}
	d := newLogDraft(e.withoutPositionID(entry.Frame), entry.At, Position{g.epoch, entry.Seq}, g.offset+entry.Seq)
	d.ev.released.Store(1) // no ring counts it
	return d.ev
}

// PositionInLog returns the position of an event of a partition, such as one of NewLogEvent.
func (e *Engine) PositionInLog(partition int, ev *Event) Position {
	return e.log.partitions[partition].position(ev.pos())
}
