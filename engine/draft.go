package engine

import "math"

// maxID is the longest id in bytes that Event.idLen can hold.
const maxID = math.MaxUint16

// draft is an event that is not published yet: its publisher still owns it.
type draft struct {
	ev    *Event
	frame Frame
	// room is the memory of ev.bytes. It has the size of the frame or, if the engine sets the id, maxPositionLen bytes
	// more. newDraft copies what comes before the id, and setPosition writes the id and what follows it. With the id
	// line at the end of a frame, two line ends follow it.
	room []byte
}

func newDraft(f Frame, at int64, broadcast uint32) draft {
	if f.IDAt < 0 {
		f.IDAt, f.IDLen = -1, 0
	}
	d := draft{frame: f}
	if !d.needsID() {
		d.ev, d.room = newEvent(len(f.Bytes))
		copy(d.room, f.Bytes)
		d.ev.bytes, d.ev.idAt, d.ev.idLen = d.room, int32(f.IDAt), uint16(f.IDLen)
	} else {
		d.ev, d.room = newEvent(len(f.Bytes) + maxPositionLen)
		copy(d.room, f.Bytes[:f.IDAt])
		d.ev.idAt = int32(f.IDAt)
	}
	d.ev.at, d.ev.broadcast, d.ev.class = at, broadcast, f.class()
	return d
}

// needsID reports whether the engine sets the event's id to its position.
func (d *draft) needsID() bool { return d.frame.IDAt >= 0 && d.frame.IDLen == 0 }

// setPosition sets the event's sequence. If the frame needs an id, it also writes the text of the position and what
// follows the id. The publisher calls it again after a failed CAS, because nobody else has seen the event yet. The new
// text usually has the same length as the last one (not at the sequences 10, 100, 1000, …), and then what follows the
// id is in its place already.
func (d *draft) setPosition(p Position) {
	d.ev.seq = p.Seq
	if !d.needsID() {
		return
	}
	at := d.frame.IDAt
	id := p.Append(d.room[at:at:len(d.room)])
	if n := len(id); n != int(d.ev.idLen) {
		end := at + n + copy(d.room[at+n:], d.frame.Bytes[at:])
		d.ev.bytes, d.ev.idLen = d.room[:end:end], uint16(n)
	}
}
