package codec

import (
	"bytes"
	"errors"
	"slices"
)

// reasonUnfinished is the reason to refuse a last block that a client would drop (WHATWG HTML 9.2.6, at the end).
const reasonUnfinished = "is unfinished: the last event has no empty line behind it; end every event with an empty line"

// reasonUnknown is the reason to refuse a block that would be sent, and never be seen.
const reasonUnknown = `has nothing that a client knows: write "data: " in front of each line of the text, names in lower case`

// ParseFrames reads a text/event-stream body of one or more finished events, and appends a frame for each to frames
// and its bytes to dst. Both may be nil, or empty slices of earlier calls that are to be used again. The frames alias
// the dst that is returned, not body. At an error, an [*Error] that names the field, the event and the byte, both are
// returned as they were.
//
// The bytes of a block are kept, lines in their order and fields that no client knows included, except that
//
//   - line ends become LF, and a byte order mark at the start of the body is dropped;
//   - an id line is written "id: value", so that the frame's IDAt is known;
//   - empty lines between the blocks are dropped.
//
// Refused are: a body without an event; a last block without its empty line; bytes that are not UTF-8; in a block, more
// than one id line, NUL in an id or an event name, and a retry that is not digits (a client ignores such lines, so
// their publisher is wrong); a line that begins with another byte order mark (a client ignores that one too, unless the
// frame happens to be the first of its stream), and a block of which clients would take nothing: no comment, and no field
// that they know.
//
// If stamp is set, the id line becomes the last one (see [Encode]), and room for a server's id is made: the id line of a
// block that has one without a value, and a new id line of a block that has none. A block without data lines, such as a
// comment, gets no new line. If stamp is not set, an id line stays in its place; one without a value, which resets the
// client's last event id, is kept as it is, and the frame has IDAt -1.
//
// What [Encode] made with the same stamp comes back as the same bytes. The caller bounds the size of body; dst grows to
// less than twice that size.
func ParseFrames(frames []Frame, dst, body []byte, stamp bool) ([]Frame, []byte, error) {
	p := frameParser{dst: dst, stamp: stamp, firstFrame: len(frames), firstByte: len(dst)}
	p.dst = slices.Grow(p.dst, len(body)+len(idRoom))
	out, err := p.parse(frames, body)
	if err != nil {
		return frames, dst, err
	}
	// Only now that dst stays where it is can the frames refer to it: they lie in it one behind the other.
	at := p.firstByte
	for i := range out[p.firstFrame:] {
		f := &out[p.firstFrame+i]
		end := at + len(f.Bytes)
		f.Bytes = p.dst[at:end:end]
		at = end
	}
	return out, p.dst, nil
}

// ParseFrame is [ParseFrames] for a text that holds exactly one event, whose publisher encoded it by egg-sse's rules:
// there a retry that isn't digits, which clients ignore, is sent as it is, and so it is kept. The frame aliases the dst
// that is returned; at an error dst is returned as it was.
func ParseFrame(dst, text []byte, stamp bool) (Frame, []byte, error) {
	p := frameParser{dst: slices.Grow(dst, len(text)+len(idRoom)), stamp: stamp, firstByte: len(dst), anyRetry: true}
	frames, err := p.parse(make([]Frame, 0, 1), text)
	if err == nil && len(frames) > 1 {
		err = &Error{Field: fieldBody, Offset: -1, Reason: "holds more than one event; send one at a time"}
	}
	if err != nil {
		return Frame{IDAt: -1}, dst, err
	}
	f := frames[0]
	f.Bytes = p.dst[p.firstByte:len(p.dst):len(p.dst)]
	return f, p.dst, nil
}

// frameParser is the state of one ParseFrames.
type frameParser struct {
	dst        []byte
	body       []byte
	stamp      bool
	anyRetry   bool // a retry need not be digits
	firstFrame int  // of this call
	firstByte  int  // of this call, in dst

	frame      int  // the number of the block, from 1
	blockAt    int  // where the block begins in the body
	start      int  // where the block begins in dst
	lines      int  // the lines of the block so far
	data       bool // it has a data line
	known      bool // it has a comment, or a field that clients know
	idAt       int  // where its id's value begins in dst or, with stamp, in the body; -1 without an id line
	idLen      int
	invalidUTF int // the first byte of the body that isn't UTF-8, or -1
}

func (p *frameParser) parse(frames []Frame, body []byte) ([]Frame, error) {
	p.body, p.invalidUTF = body, invalidUTF8(body)
	lines := newLineCursor(body)
	i := 0
	if bytes.HasPrefix(body, byteOrderMark) {
		i = len(byteOrderMark)
	}
	p.begin(1, i)
	for i < len(body) {
		end := lines.end(i)
		switch line := body[i:end]; {
		case len(line) > 0:
			if p.lines == 0 {
				p.blockAt = i
			}
			if err := p.line(line, i); err != nil {
				return nil, err
			}
		case p.lines > 0:
			if !p.known {
				return nil, p.refuse(fieldLine, p.blockAt, reasonUnknown)
			}
			frames = append(frames, p.finish())
			p.begin(p.frame+1, end)
		}
		if end == len(body) {
			break
		}
		i = lines.after(end)
	}
	switch {
	case p.lines > 0:
		return nil, &Error{Field: fieldBody, Offset: p.blockAt, Frame: p.frame, Reason: reasonUnfinished}
	case p.frame == 1:
		return nil, &Error{Field: fieldBody, Offset: -1, Reason: `holds no event; send at least one, such as "data: text" and an empty line`}
	}
	return frames, nil
}

// begin begins a block.
func (p *frameParser) begin(frame, blockAt int) {
	p.frame, p.blockAt, p.start = frame, blockAt, len(p.dst)
	p.lines, p.data, p.known, p.idAt, p.idLen = 0, false, false, -1, 0
}

// line appends a line of the block, which begins at at in the body and isn't empty.
func (p *frameParser) line(line []byte, at int) error {
	p.lines++
	name, value, valueAt := splitField(line)
	if p.invalidUTF >= at && p.invalidUTF < at+len(line) {
		return p.refuse(fieldOf(name), p.invalidUTF, reasonUTF8)
	}
	if bytes.HasPrefix(line, byteOrderMark) {
		return p.refuse(fieldLine, at, "must not begin with a byte order mark, which is taken off at the start of the body only; remove it")
	}
	p.known = p.known || fieldOf(name) != fieldLine
	switch string(name) {
	case fieldID:
		if p.idAt >= 0 {
			return p.refuse(fieldID, at, "must not be given twice in an event; keep one id line")
		}
		if err := checkID(string(value), p.stamp); err != nil {
			var e *Error
			errors.As(err, &e)
			return p.refuse(fieldID, at+valueAt+e.Offset, e.Reason)
		}
		p.idAt, p.idLen = at+valueAt, len(value)
		if !p.stamp {
			p.appendID(value)
		}
		return nil
	case fieldData:
		p.data = true
	case fieldEvent:
		if i := bytes.IndexByte(value, 0); i >= 0 {
			return p.refuse(fieldEvent, at+valueAt+i, reasonControl(0))
		}
	case fieldRetry:
		if i := notDigit(value); !p.anyRetry && (i >= 0 || len(value) == 0) {
			return p.refuse(fieldRetry, at+valueAt+max(i, 0), reasonRetry)
		}
	}
	p.dst = append(append(p.dst, line...), '\n')
	return nil
}

// appendID appends the id line.
func (p *frameParser) appendID(value []byte) {
	p.dst = append(p.dst, idLine...)
	p.idAt = len(p.dst)
	p.dst = append(append(p.dst, value...), '\n')
}

// finish ends the block. Of the frame's bytes only the length counts (see ParseFrames).
func (p *frameParser) finish() Frame {
	if p.stamp {
		switch {
		case p.idAt >= 0:
			p.appendID(p.body[p.idAt : p.idAt+p.idLen])
		case p.data:
			p.appendID(nil)
		}
	}
	p.dst = append(p.dst, '\n')
	f := Frame{Bytes: p.dst[p.start:], IDAt: -1, IDLen: p.idLen, Silent: !p.data}
	if p.idAt >= 0 && (p.idLen > 0 || p.stamp) {
		f.IDAt = p.idAt - p.start
	}
	return f
}

func (p *frameParser) refuse(field string, at int, reason string) error {
	return &Error{Field: field, Offset: at, Frame: p.frame, Reason: reason}
}

// fieldOf is the [Error].Field of a line whose field has the name.
func fieldOf(name []byte) string {
	switch string(name) {
	case "":
		return fieldComment
	case fieldEvent:
		return fieldEvent
	case fieldID:
		return fieldID
	case fieldRetry:
		return fieldRetry
	case fieldData:
		return fieldData
	default:
		return fieldLine
	}
}

// EventName returns the type that a client gives the event of a frame of [Encode], [ParseFrame] or [ParseFrames]: the value
// of its last event line (WHATWG HTML 9.2.6), nil for "message". It aliases frame.
func EventName(frame []byte) (name []byte) {
	for len(frame) > 0 {
		var line []byte
		line, frame, _ = bytes.Cut(frame, newline)
		if field, value, _ := splitField(line); string(field) == fieldEvent {
			name = value
		}
	}
	return name
}

var newline = []byte("\n")
