package codec

import (
	"bytes"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// DefaultMaxBytes is the default of [Parser].MaxBytes: 16 MiB.
const DefaultMaxBytes = 16 << 20

// maxKeptBuffer is the size of the largest buffer that a Parser keeps for the next event. Without it, one large event
// could cost each of ten thousand parsers its size indefinitely.
const maxKeptBuffer = 64 << 10

// messageType is the type of an event without a name.
const messageType = "message"

var byteOrderMark = []byte("\xEF\xBB\xBF")

// Message is an event that a stream dispatches (WHATWG HTML 9.2.6). Its slices belong to the parser: they are valid
// until emit returns, and must not be modified.
type Message struct {
	// Type is the event's name, or "message" if the stream gave none.
	Type []byte
	// Named says whether the stream gave the name. A stream may give the name "message" too.
	Named bool
	// Data is the event's data, its lines joined by LF.
	Data []byte
	// LastEventID is the last event id as of this event. It may be the id of an earlier event.
	LastEventID []byte
}

// Parser parses an event stream that arrives in chunks, by WHATWG HTML 9.2.5 and 9.2.6, as a browser's EventSource
// does:
//
//   - one byte order mark at the very start is dropped;
//   - a line ends with CRLF, CR or LF, and it makes no difference how the stream is cut into chunks;
//   - an id with NUL, a retry that is not all digits, and unknown fields are ignored;
//   - an event with data is dispatched at the empty line that ends it; a last block without its empty line is never
//     dispatched;
//   - bytes that are not UTF-8 become U+FFFD.
//
// The zero value is ready to use. A Parser allocates nothing per event once its buffers have grown. It is not safe for
// concurrent use, and emit and OnComment must not call Feed or Reset.
type Parser struct {
	// MaxBytes is the maximum length of a line, and of the data, the name and the id of an event; 0 means
	// DefaultMaxBytes. It limits the memory that a hostile stream can use to a small multiple of MaxBytes. Set it
	// before the first Feed.
	MaxBytes int
	// OnComment, if it is not nil, is called with the text of each comment line, without the colon and one space after
	// it. The text is valid until OnComment returns.
	OnComment func(text []byte)

	line   []byte // the beginning of a line whose end has not arrived yet
	data   []byte // the data buffer: each line with an LF after it
	typ    []byte // the event type buffer
	id     []byte // the last event ID buffer
	lastID []byte // the last event ID string: the value of id at the last empty line
	valid  []byte // scratch for a comment that is not UTF-8

	retry    time.Duration
	hasRetry bool
	idNew    bool  // id was set since the last empty line
	bomBytes uint8 // how many bytes of a byte order mark were seen at the start; bomDone once that is decided
	skipLF   bool  // the last chunk ended with CR: an LF at the start of the next one belongs to it
	err      error
}

const bomDone = 0xFF

// Feed parses the next chunk of the stream, of any length, and calls emit, which may be nil, for each event that the
// chunk completes. It does not keep chunk.
//
// The only error is an [*Error] for a line, or a value of an event, that is longer than MaxBytes. After that the stream
// cannot be parsed any further: every later Feed returns the same error, until Reset.
func (p *Parser) Feed(chunk []byte, emit func(Message)) error {
	if p.err != nil {
		return p.err
	}
	if p.bomBytes != bomDone {
		chunk = p.skipBOM(chunk)
	}
	if len(chunk) == 0 {
		return nil
	}
	i := 0
	if p.skipLF {
		if p.skipLF = false; chunk[0] == '\n' {
			i = 1
		}
	}
	for lines := newLineCursor(chunk); i < len(chunk); {
		end := lines.end(i)
		part := chunk[i:end]
		if len(p.line)+len(part) > p.maxBytes() {
			return p.tooLong(fieldLine)
		}
		if end == len(chunk) {
			p.line = append(p.line, part...)
			return nil
		}
		line := part // fast path: the whole line is in the chunk
		if len(p.line) > 0 {
			p.line = append(p.line, part...)
			line = p.line
		}
		if len(line) == 0 {
			p.dispatch(emit)
		} else if !p.field(line) {
			return p.tooLong(fieldData)
		}
		p.line = reuse(p.line)
		i = lines.after(end)
		p.skipLF = end == len(chunk)-1 && chunk[end] == '\r'
	}
	return nil
}

// Reset prepares the parser for a new stream of the same source, for example after a reconnect. It drops an incomplete
// event, and keeps the last event id and the reconnection time.
func (p *Parser) Reset() {
	p.line, p.data, p.typ = reuse(p.line), reuse(p.data), reuse(p.typ)
	p.id = append(p.id[:0], p.lastID...)
	p.idNew, p.skipLF, p.bomBytes, p.err = false, false, 0, nil
}

// LastEventID returns what a client that reconnects now sends as Last-Event-ID: the last id that was followed by an
// empty line, with or without data. It is valid until the next Feed.
func (p *Parser) LastEventID() []byte { return p.lastID }

// Retry returns the last reconnection time of the stream. ok is false if the stream has not sent one. A time that is
// longer than a Duration can hold (292 years) becomes the longest Duration.
func (p *Parser) Retry() (d time.Duration, ok bool) { return p.retry, p.hasRetry }

func (p *Parser) maxBytes() int {
	if p.MaxBytes > 0 {
		return p.MaxBytes
	}
	return DefaultMaxBytes
}

// tooLong sets and returns the error for a line or value that is longer than MaxBytes.
func (p *Parser) tooLong(field string) error {
	p.line, p.data, p.typ = nil, nil, nil
	p.err = &Error{Field: field, Offset: -1, Reason: "is longer than " + strconv.Itoa(p.maxBytes()) +
		" bytes; raise MaxBytes, or send smaller events"}
	return p.err
}

// skipBOM drops a byte order mark, or the part of it that has arrived, from the first bytes of the stream.
func (p *Parser) skipBOM(chunk []byte) []byte {
	for len(chunk) > 0 && int(p.bomBytes) < len(byteOrderMark) {
		if chunk[0] != byteOrderMark[p.bomBytes] {
			p.line = append(p.line, byteOrderMark[:p.bomBytes]...) // it was not a byte order mark
			p.bomBytes = bomDone
			return chunk
		}
		chunk = chunk[1:]
		p.bomBytes++
	}
	if int(p.bomBytes) == len(byteOrderMark) {
		p.bomBytes = bomDone
	}
	return chunk
}

// field processes a line that is not empty. It returns false if the event's data would be too long.
func (p *Parser) field(line []byte) bool {
	name, value, _ := splitField(line)
	switch string(name) {
	case fieldData:
		if len(p.data)+len(value) > p.maxBytes() {
			return false
		}
		p.data = append(appendValid(p.data, value), '\n')
	case fieldEvent:
		p.typ = appendValid(p.typ[:0], value)
	case fieldID:
		if bytes.IndexByte(value, 0) < 0 {
			p.id, p.idNew = appendValid(p.id[:0], value), true
		}
	case fieldRetry:
		if len(value) > 0 && indexNonDigit(value) < 0 {
			p.retry, p.hasRetry = milliseconds(value), true
		}
	case "":
		if p.OnComment != nil {
			if !utf8.Valid(value) {
				p.valid = appendValid(p.valid[:0], value)
				value = p.valid
			}
			p.OnComment(value)
			p.valid = reuse(p.valid)
		}
	}
	return true
}

// dispatch ends a block, and emits the event if it has data.
func (p *Parser) dispatch(emit func(Message)) {
	if p.idNew {
		p.lastID, p.idNew = append(p.lastID[:0], p.id...), false
	}
	if len(p.data) > 0 && emit != nil {
		m := Message{Type: p.typ, Named: len(p.typ) > 0, Data: p.data[:len(p.data)-1], LastEventID: p.lastID}
		if !m.Named {
			p.typ = append(p.typ, messageType...)
			m.Type = p.typ
		}
		emit(m)
	}
	p.data, p.typ = reuse(p.data), reuse(p.typ)
}

// reuse empties a buffer, or drops it if it is large.
func reuse(b []byte) []byte {
	if cap(b) > maxKeptBuffer {
		return nil
	}
	return b[:0]
}

// milliseconds returns a duration from its number of milliseconds in digits.
func milliseconds(digits []byte) time.Duration {
	const most = math.MaxInt64 / int64(time.Millisecond)
	var ms int64
	for _, c := range digits {
		if ms = ms*10 + int64(c-'0'); ms > most {
			return math.MaxInt64
		}
	}
	return time.Duration(ms) * time.Millisecond
}

// appendValid appends b as "UTF-8 decode" (WHATWG Encoding) decodes it. Each maximal part of b that is the beginning of
// an incomplete character becomes U+FFFD, and so does each byte that cannot begin a character.
func appendValid(dst, b []byte) []byte {
	if utf8.Valid(b) { // fast path
		return append(dst, b...)
	}
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, "\uFFFD"...)
			n = invalidLen(b)
		} else {
			dst = append(dst, b[:n]...)
		}
		b = b[n:]
	}
	return dst
}

// invalidLen returns how many bytes at the start of b are replaced by one U+FFFD. No valid character begins there. The
// ranges are those of the Unicode standard's table of well-formed UTF-8.
func invalidLen(b []byte) int {
	low, high, rest := byte(0x80), byte(0xBF), 0 // the range of the second byte, and how many bytes follow the first
	switch c := b[0]; {
	case 0xC2 <= c && c <= 0xDF:
		rest = 1
	case c == 0xE0:
		low, rest = 0xA0, 2
	case c == 0xED:
		high, rest = 0x9F, 2
	case 0xE1 <= c && c <= 0xEF:
		rest = 2
	case c == 0xF0:
		low, rest = 0x90, 3
	case c == 0xF4:
		high, rest = 0x8F, 3
	case 0xF1 <= c && c <= 0xF3:
		rest = 3
	}
	n := 1
	for n <= rest && n < len(b) && low <= b[n] && b[n] <= high {
		n++
		low, high = 0x80, 0xBF
	}
	return n
}
