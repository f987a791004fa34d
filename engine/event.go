package engine

import "sync/atomic"

// Frame is one encoded event that a publisher passes to the engine. The engine copies Bytes: the caller may reuse them
// as soon as Publish has returned.
type Frame struct {
	// Bytes are the complete encoded event. The engine does not interpret them.
	Bytes []byte
	// IDAt is the offset of the event's id in Bytes, or -1 if the event has none.
	IDAt int
	// IDLen is the length of the publisher's own id in bytes. 0 with IDAt >= 0 asks the engine to insert the event's
	// Position there.
	IDLen int
	// Silent says that clients do not dispatch the event: it is a comment, or only a reconnection time or an id.
	Silent bool
	// Notice says that the event is about the stream itself, such as a gap of its source. Neither a silent event nor a
	// notice is the key's value, see KeyOptions.SendLast.
	Notice bool
}

// kind says what a ring slot holds.
type kind uint8

const (
	kindEvent   kind = iota
	kindEvicted      // a tombstone: history limits removed the event, and only its sequence is left
	kindResized      // a resize marker: the ring ends here, and the key has another ring, with Event.at slots
	kindRetired      // the retire marker: the ring and its key end here
)

// class says how an event counts for SendLast. It comes from the Frame.
type class uint8

const (
	classValue  class = iota
	classNotice       // about the stream itself
	classSilent       // not dispatched by clients, whatever it is about

	classMask class = 0x7f
	// ownID is a flag beside the class: the event's id is its publisher's own.
	ownID class = 0x80
)

func (f *Frame) class() (c class) {
	switch {
	case f.Silent:
		c = classSilent
	case f.Notice:
		c = classNotice
	}
	if f.IDAt >= 0 && f.IDLen > 0 {
		c |= ownID
	}
	return c
}

// Event is one published event. It is immutable from the moment that a ring slot points to it, and all subscribers
// share it: never modify what Bytes returns. It stays valid as long as it is referenced.
type Event struct {
	seq       uint64
	at        int64  // the time of publication in Unix nanoseconds; with kindResized the size of the new ring; with kindEvicted in log mode the event's pos
	bytes     []byte // usually part of the Event's own allocation, see newEvent; in log mode 8 more bytes follow, see pos
	idAt      int32
	idLen     uint16
	kind      kind
	class     class  // with the flag ownID
	broadcast uint32 // the number of the PublishAll that it came from, or 0

	// released is 0 until the event is subtracted from its key's byte count (I6). While a ring is being resized,
	// eviction and overwriting can both remove the same event; the CAS on released decides which of them subtracts it.
	released atomic.Uint32
}

// Seq returns the event's sequence within its key: 1, 2, 3, … without holes.
func (e *Event) Seq() uint64 { return e.seq }

// At returns the time of publication in Unix nanoseconds.
func (e *Event) At() int64 { return e.at }

// Bytes returns the complete frame, including the id.
func (e *Event) Bytes() []byte { return e.bytes[:len(e.bytes):len(e.bytes)] }

// Silent reports whether clients do not dispatch the event.
func (e *Event) Silent() bool { return e.class&classMask == classSilent }

// Notice reports whether the event is about the stream itself, see Frame.Notice.
func (e *Event) Notice() bool { return e.class&classMask == classNotice }

// OwnID reports whether the event's id is its publisher's own. Otherwise the engine has made it, or the event has none.
func (e *Event) OwnID() bool { return e.class&ownID != 0 }

// Kept reports whether the event still counts in its key's history. If not, only its readers keep it in memory.
func (e *Event) Kept() bool { return e.released.Load() == 0 }

// IDBytes returns the event's id, nil if it has none. They are a part of Bytes.
func (e *Event) IDBytes() []byte {
	if e.idAt < 0 {
		return nil
	}
	return e.bytes[e.idAt : int(e.idAt)+int(e.idLen)]
}

// ID returns the offset and the length of the event's id in Bytes. The offset is -1 if it has none.
func (e *Event) ID() (offset, length int) { return int(e.idAt), int(e.idLen) }
