package codec

import (
	"bytes"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// DefaultMaxBytes is how long a line, and a value of an event, may be unless [Parser].MaxBytes says otherwise: 16 MiB.
const DefaultMaxBytes = 16 << 20

// keepBytes is the largest buffer that a Parser keeps for the next event, so that one large event doesn't cost each of
// ten thousand parsers its size for ever.
const keepBytes = 64 << 10

// messageType is the type of an event without a name.
const messageType = "message"

var byteOrderMark = []byte("\xEF\xBB\xBF")

// Message is an event that a stream dispatches (WHATWG HTML 9.2.6). Its slices are the parser's: they are valid until
// emit returns, and must not be written to.
type Message struct {
	// Type is the event's name; "message" if the stream gave none.
	Type []byte
	// Named tells whether the stream gave the name: "message" may be given, too.
	Named bool
	// Data is the event's data, its lines joined by LF.
	Data []byte
	// LastEventID is the last event id as of this event. The id may have come with an earlier one.
	LastEventID []byte
}

// Parser parses an event stream that comes in chunks, by WHATWG HTML 9.2.5 and 9.2.6, as a browser's EventSource does:
//
//   - one byte order mark at the very start is dropped;
//   - a line ends with CRLF, CR or LF; how the stream is cut into chunks makes no difference;
//   - an id with NUL is ignored, a retry that is not all digits too, and so are fields that it doesn't know;
//   - an event is dispatched at the empty line that ends it, if it has data; a last block without its empty line never;
//   - bytes that are not UTF-8 become U+FFFD.
//
// The zero value is ready for a stream. It allocates nothing per event once its buffers have grown. It isn't safe for
// concurrent use, and emit and OnComment must not call Feed or Reset.
type Parser struct {
	// MaxBytes is how many bytes a line, and the data, the name and the id of an event, may have; 0 is DefaultMaxBytes.
	// It bounds the memory that a hostile stream can take to a small multiple. Set it before the first Feed.
	MaxBytes int
	// OnComment, if it isn't nil, gets the text of each comment line, without the colon and one space behind it. The
	// text is valid until OnComment returns.
	OnComment func(text []byte)

	line   []byte // the beginning of a line whose end hasn't come yet
	data   []byte // the data buffer: each line with an LF behind it
	typ    []byte // the event type buffer
	id     []byte // the last event ID buffer
	lastID []byte // the last event ID string: what id was at the last empty line
	valid  []byte // scratch for a comment that wasn't UTF-8

	retry    time.Duration
	hasRetry bool
	idNew    bool  // id has been set since the last empty line
	mark     uint8 // the bytes of the byte order mark seen at the start; afterMark once it is settled
	skipLF   bool  // the last chunk ended with CR: an LF now belongs to it
	err      error
}

const afterMark = 0xFF

// Feed parses the next chunk of the stream, of any length, and calls emit, which may be nil, for each event that the
// chunk finishes. chunk isn't kept.
//
// The only error is an [*Error] for a line, or a value of an event, longer than MaxBytes. The stream can't be parsed any
// further then: each later Feed returns the error again, until Reset.
func (p *Parser) Feed(chunk []byte, emit func(Message)) error {
	if p.err != nil {
		return p.err
	}
	if p.mark != afterMark {
		chunk = p.skipMark(chunk)
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

// Reset makes the parser ready for a new stream of the same source, as after a reconnect: what was unfinished is
// dropped, the last event id and the reconnection time stay.
func (p *Parser) Reset() {
	p.line, p.data, p.typ = reuse(p.line), reuse(p.data), reuse(p.typ)
	p.id = append(p.id[:0], p.lastID...)
	p.idNew, p.skipLF, p.mark, p.err = false, false, 0, nil
}

// LastEventID is what a client would send as Last-Event-ID when it reconnects now: the last id that was followed by an
// empty line, with or without data. It is valid until the next Feed.
func (p *Parser) LastEventID() []byte { return p.lastID }

// Retry is the reconnection time that the stream asked for last. ok is false if it has asked for none. A time beyond
// what a Duration holds (292 years) is the longest Duration.
func (p *Parser) Retry() (d time.Duration, ok bool) { return p.retry, p.hasRetry }

func (p *Parser) maxBytes() int {
	if p.MaxBytes > 0 {
		return p.MaxBytes
	}
	return DefaultMaxBytes
}

// tooLong ends the stream.
func (p *Parser) tooLong(field string) error {
	p.line, p.data, p.typ = nil, nil, nil
	p.err = &Error{Field: field, Offset: -1, Reason: "is longer than " + strconv.Itoa(p.maxBytes()) +
		" bytes; raise MaxBytes, or send smaller events"}
	return p.err
}

// skipMark drops the byte order mark, or what has come of it, from the first bytes of the stream.
func (p *Parser) skipMark(chunk []byte) []byte {
	for len(chunk) > 0 && int(p.mark) < len(byteOrderMark) {
		if chunk[0] != byteOrderMark[p.mark] {
			p.line = append(p.line, byteOrderMark[:p.mark]...) // it was none
			p.mark = afterMark
			return chunk
		}
		chunk = chunk[1:]
		p.mark++
	}
	if int(p.mark) == len(byteOrderMark) {
		p.mark = afterMark
	}
	return chunk
}

// field processes a line that isn't empty. It returns false if the event's data gets too long with it.
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
		if len(value) > 0 && notDigit(value) < 0 {
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

// dispatch ends a block, and emits its event if it has data.
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

// reuse empties a buffer, and drops a large one.
func reuse(b []byte) []byte {
	if cap(b) > keepBytes {
		return nil
	}
	return b[:0]
}

// milliseconds is the duration of that many milliseconds, written in digits.
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

// appendValid appends b as "UTF-8 decode" (WHATWG Encoding) takes it: each maximal part of b that is the beginning of a
// character without its rest, and each byte that begins none, becomes U+FFFD.
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

// invalidLen is how many bytes at the start of b, where no valid character begins, are replaced together. The ranges
// are those of the Unicode standard's table of well-formed UTF-8.
func invalidLen(b []byte) int {
	low, high, rest := byte(0x80), byte(0xBF), 0 // of the second byte; how many follow the first one
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
