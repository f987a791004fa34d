package engine

import (
	"math"
	"strconv"
	"sync/atomic"
)

// Frame is one encoded event as a publisher hands it to the engine. The engine
// copies Bytes; the caller may reuse them as soon as Publish has returned.
type Frame struct {
	// Bytes is the finished event. The engine does not look inside.
	Bytes []byte
	// IDAt is the offset in Bytes of the event's id, or -1 if it has none.
	IDAt int
	// IDLen is the length of the publisher's own id in bytes. 0 with
	// IDAt >= 0 asks the engine to insert the event's Position there.
	IDLen int
	// Silent says that a client dispatches nothing for it: a comment, a
	// reconnection time or an id alone.
	Silent bool
	// Notice says that it is about the stream itself, such as a gap of its
	// source. Neither a silent event nor a notice is the key's value, see
	// KeyOptions.SendLast.
	Notice bool
}

// kind tells what a ring slot holds.
type kind uint8

const (
	kindEvent   kind = iota
	kindEvicted      // an event that history limits removed; only its sequence is left
	kindMoved        // the ring ends here; the key has another ring, of Event.at slots
	kindRetired      // the ring and its key end here
)

// class tells of an event what the Frame said.
type class uint8

const (
	classValue  class = iota
	classNotice       // about the stream itself
	classSilent       // clients dispatch nothing, whatever it is about
)

func (f *Frame) class() class {
	switch {
	case f.Silent:
		return classSilent
	case f.Notice:
		return classNotice
	}
	return classValue
}

// Event is one published event. It is immutable from the moment a ring slot
// points at it, and shared by all subscribers: never modify what Bytes or ID
// return. It stays valid for as long as it is referenced.
type Event struct {
	seq   uint64
	at    int64  // publish time, Unix nanoseconds; with kindMoved the new ring's size
	bytes []byte // behind the Event in the same allocation, see newEvent
	idAt  int32
	idLen uint16
	kind  kind
	class class
	all   uint32 // the number of the PublishAll that it came from, 0 if none

	// released is 0 until the one who takes the event out of its key's byte
	// count sets it (I6). Eviction and overwriting can meet on one event while
	// its ring is being replaced; the CAS makes one of them the one who counts.
	released atomic.Uint32
}

// Seq returns the event's sequence within its key: 1, 2, 3, … without holes.
func (e *Event) Seq() uint64 { return e.seq }

// At returns the time of publication in Unix nanoseconds.
func (e *Event) At() int64 { return e.at }

// Bytes returns the finished frame, id included.
func (e *Event) Bytes() []byte { return e.bytes }

// Silent reports whether a client dispatches nothing for the event.
func (e *Event) Silent() bool { return e.class == classSilent }

// ID returns the offset and length of the event's id in Bytes; the offset is
// -1 if it has none.
func (e *Event) ID() (offset, length int) { return int(e.idAt), int(e.idLen) }

// Position is a place in a key's stream: behind the event Seq in the life of
// the key that Epoch names. A key that was retired and created again, or a
// restarted process, has another Epoch. Its text form is
// "<epoch in base 36>-<sequence in base 10>".
type Position struct{ Epoch, Seq uint64 }

// maxPositionLen is the length of the longest text of a Position: 13 digits
// for 2^64-1 in base 36, a hyphen, and 20 in base 10.
const maxPositionLen = 13 + 1 + 20

// Append appends the text form to dst.
func (p Position) Append(dst []byte) []byte {
	dst = strconv.AppendUint(dst, p.Epoch, 36)
	dst = append(dst, '-')
	return strconv.AppendUint(dst, p.Seq, 10)
}

// String returns the text form, for example "mf3k2a9x1b-42".
func (p Position) String() string { return string(p.Append(make([]byte, 0, maxPositionLen))) }

// ParsePosition reads the text form. It accepts only what Append writes: no
// sign, no leading zero, lower case.
func ParsePosition(s string) (p Position, ok bool) {
	for i := range len(s) {
		if s[i] != '-' {
			continue
		}
		var err1, err2 error
		p.Epoch, err1 = strconv.ParseUint(s[:i], 36, 64)
		p.Seq, err2 = strconv.ParseUint(s[i+1:], 10, 64)
		if err1 != nil || err2 != nil {
			return Position{}, false
		}
		var text [maxPositionLen]byte
		if string(p.Append(text[:0])) != s {
			return Position{}, false
		}
		return p, true
	}
	return Position{}, false
}

// maxID is the longest id in bytes that Event.idLen can hold.
const maxID = math.MaxUint16

// draft is an event that its publisher still owns.
type draft struct {
	ev    *Event
	frame Frame
	// room is the memory of ev.bytes: the frame itself, or, if the frame asks for
	// an id, maxPositionLen bytes more than the frame. What stands before the id
	// is at its place from the beginning; what follows it is put behind the id by
	// stamp: with the id line at the end of a frame, two line ends.
	room []byte
}

func newDraft(f Frame, at int64, all uint32) draft {
	if f.IDAt < 0 {
		f.IDAt, f.IDLen = -1, 0
	}
	d := draft{frame: f}
	if !d.stamped() {
		d.ev, d.room = newEvent(len(f.Bytes))
		copy(d.room, f.Bytes)
		d.ev.bytes, d.ev.idAt, d.ev.idLen = d.room, int32(f.IDAt), uint16(f.IDLen)
	} else {
		d.ev, d.room = newEvent(len(f.Bytes) + maxPositionLen)
		copy(d.room, f.Bytes[:f.IDAt])
		d.ev.idAt = int32(f.IDAt)
	}
	d.ev.at, d.ev.all, d.ev.class = at, all, f.class()
	return d
}

// stamped reports whether the event's id is to be its position.
func (d *draft) stamped() bool { return d.frame.IDAt >= 0 && d.frame.IDLen == 0 }

// stamp gives the event its position and, if the frame asks for it, writes the
// position's text and what follows it. After a failed CAS it is called again:
// nobody else has seen the event yet. Then the text has the same length but for
// once in ten, a hundred, … sequences, and what follows it stays where it is.
func (d *draft) stamp(p Position) {
	d.ev.seq = p.Seq
	if !d.stamped() {
		return
	}
	at := d.frame.IDAt
	id := p.Append(d.room[at:at:len(d.room)])
	if n := len(id); n != int(d.ev.idLen) {
		end := at + n + copy(d.room[at+n:], d.frame.Bytes[at:])
		d.ev.bytes, d.ev.idLen = d.room[:end:end], uint16(n)
	}
}
