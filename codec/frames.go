package codec

import (
	"bytes"
	"errors"
	"slices"
)

// reasonIncomplete is the reason to refuse a last block that a client would drop (WHATWG HTML 9.2.6, at the end).
const reasonIncomplete = "is incomplete: the last event has no empty line after it; end every event with an empty line"

// reasonUnknown is the reason to refuse a block that clients would ignore.
const reasonUnknown = `has no field that a client knows: write "data: " before each line of the text, and field names in lower case`

// ParseFrames parses a text/event-stream body of one or more complete events. It appends a frame for each event to
// frames, and the bytes of the frame to dst. Both may be nil, or empty slices of earlier calls that are to be reused.
// The frames alias the returned dst, not body. On an error, which is an [*Error] that names the field, the event and
// the byte, both are returned unchanged.
//
// ParseFrames keeps the bytes of a block, with the lines in their order and including unknown fields, except that
//
//   - line ends become LF, and a byte order mark at the start of the body is dropped;
//   - an id line is written "id: value", so that the frame's IDAt is known;
//   - empty lines between the blocks are dropped.
//
// It refuses
//
//   - a body without an event, and a last block without its empty line;
//   - bytes that are not UTF-8;
//   - in a block, more than one id line, NUL in an id or an event name, and a retry that is not digits (clients ignore
//     such lines, so the publisher has made a mistake);
//   - a line that begins with another byte order mark (clients ignore such a line too, unless the frame happens to be
//     the first of its stream);
//   - a block that clients would ignore: without a comment, and without a field that they know.
//
// If reserveID is set, the id line becomes the last one (see [Encode]), and ParseFrames makes room for a server's id.
// The room is the block's id line if that has no value, or a new id line if the block has none. A block without data
// lines, such as a comment, gets no new line. If reserveID is not set, an id line stays in its place. An id line
// without a value, which resets the client's last event id, is then kept as it is, and the frame has IDAt -1.
//
// The bytes of a frame that [Encode] made with the same reserveID do not change. The caller limits the size of body,
// and dst grows to less than twice that size.
func ParseFrames(frames []Frame, dst, body []byte, reserveID bool) ([]Frame, []byte, error) {
	p := frameParser{dst: dst, reserveID: reserveID, firstFrame: len(frames), firstByte: len(dst)}
	p.dst = slices.Grow(p.dst, len(body)+len(idRoom))
	out, err := p.parse(frames, body)
	if err != nil {
		return frames, dst, err
	}
	// dst does not grow any more, so the frames can refer to it now. They are in it one after the other.
	at := p.firstByte
	for i := range out[p.firstFrame:] {
		f := &out[p.firstFrame+i]
		end := at + len(f.Bytes)
		f.Bytes = p.dst[at:end:end]
		at = end
	}
	return out, p.dst, nil
}

// ParseFrame is [ParseFrames] for a text of exactly one event, which its publisher encoded by egg-sse's rules. egg-sse
// sends a retry that is not digits as it is, and clients ignore it; so ParseFrame keeps it. The frame aliases the
// returned dst. On an error dst is returned unchanged.
func ParseFrame(dst, text []byte, reserveID bool) (Frame, []byte, error) {
	p := frameParser{dst: slices.Grow(dst, len(text)+len(idRoom)), reserveID: reserveID, firstByte: len(dst), allowAnyRetry: true}
	frames, err := p.parse(make([]Frame, 0, 1), text)
	if err == nil && len(frames) > 1 {
		err = &Error{Field: fieldBody, Offset: -1, Reason: "contains more than one event; send one at a time"}
	}
	if err != nil {
		return Frame{IDAt: -1}, dst, err
	}
	f := frames[0]
	f.Bytes = p.dst[p.firstByte:len(p.dst):len(p.dst)]
	return f, p.dst, nil
}

// frameParser is the state of one call of ParseFrames or ParseFrame.
type frameParser struct {
	dst           []byte
	body          []byte
	reserveID     bool
	allowAnyRetry bool // accept a retry that is not digits
	firstFrame    int  // the index in frames of the first frame of this call
	firstByte     int  // the offset in dst of the first byte of this call

	frame      int  // the number of the block, from 1
	blockAt    int  // where the block begins in the body
	start      int  // where the block begins in dst
	lines      int  // the number of lines of the block so far
	hasData    bool // the block has a data line
	knownField bool // the block has a comment, or a field that clients know
	idAt       int  // where the id's value begins in dst or, with reserveID, in the body; -1 without an id line
	idLen      int
	invalidAt  int // the offset of the first byte of the body that is not UTF-8, or -1
}

func (p *frameParser) parse(frames []Frame, body []byte) ([]Frame, error) {
	p.body, p.invalidAt = body, indexInvalidUTF8(body)
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
			if !p.knownField {
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
		return nil, &Error{Field: fieldBody, Offset: p.blockAt, Frame: p.frame, Reason: reasonIncomplete}
	case p.frame == 1:
		return nil, &Error{Field: fieldBody, Offset: -1,
			Reason: `holds no event; send at least one, such as "data: text" and an empty line`}
	}
	return frames, nil
}

// begin starts a block.
func (p *frameParser) begin(frame, blockAt int) {
	p.frame, p.blockAt, p.start = frame, blockAt, len(p.dst)
	p.lines, p.hasData, p.knownField, p.idAt, p.idLen = 0, false, false, -1, 0
}

// line appends a line of the block, which is not empty and begins at offset at in the body.
func (p *frameParser) line(line []byte, at int) error {
	p.lines++
	name, value, valueAt := splitField(line)
	if p.invalidAt >= at && p.invalidAt < at+len(line) {
		return p.refuse(errorField(name), p.invalidAt, reasonUTF8)
	}
	if bytes.HasPrefix(line, byteOrderMark) {
		return p.refuse(fieldLine, at,
			"must not begin with a byte order mark, which is allowed only at the start of the body; remove it")
	}
	p.knownField = p.knownField || errorField(name) != fieldLine
	switch string(name) {
	case fieldID:
		if p.idAt >= 0 {
			return p.refuse(fieldID, at, "must not occur twice in an event; keep one id line")
		}
		if err := checkID(string(value), p.reserveID); err != nil {
			var e *Error
			errors.As(err, &e)
			return p.refuse(fieldID, at+valueAt+e.Offset, e.Reason)
		}
		p.idAt, p.idLen = at+valueAt, len(value)
		if !p.reserveID {
			p.appendID(value)
		}
		return nil
	case fieldData:
		p.hasData = true
	case fieldEvent:
		if i := bytes.IndexByte(value, 0); i >= 0 {
			return p.refuse(fieldEvent, at+valueAt+i, reasonControl(0))
		}
	case fieldRetry:
		if i := indexNonDigit(value); !p.allowAnyRetry && (i >= 0 || len(value) == 0) {
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

// finish ends the block. Only the length of the frame's Bytes is used (see ParseFrames).
func (p *frameParser) finish() Frame {
	if p.reserveID {
		switch {
		case p.idAt >= 0:
			p.appendID(p.body[p.idAt : p.idAt+p.idLen])
		case p.hasData:
			p.appendID(nil)
		}
	}
	p.dst = append(p.dst, '\n')
	f := Frame{Bytes: p.dst[p.start:], IDAt: -1, IDLen: p.idLen, Silent: !p.hasData}
	if p.idAt >= 0 && (p.idLen > 0 || p.reserveID) {
		f.IDAt = p.idAt - p.start
	}
	return f
}

func (p *frameParser) refuse(field string, at int, reason string) error {
	return &Error{Field: field, Offset: at, Frame: p.frame, Reason: reason}
}

// errorField returns the [Error].Field of a line whose field has this name.
func errorField(name []byte) string {
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

// EventName returns the type with which clients dispatch a frame of [Encode], [ParseFrame] or [ParseFrames]. It is the
// value of the frame's last event line (WHATWG HTML 9.2.6), or nil for "message". It aliases frame.
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
