package codec

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// The values of [Error].Field.
const (
	fieldEvent   = "event"
	fieldID      = "id"
	fieldRetry   = "retry"
	fieldData    = "data"
	fieldComment = "comment" // a comment line of a text/event-stream body
	fieldBody    = "body"    // the body as a whole
	fieldLine    = "line"    // a line of a stream, or of a body, of which the field isn't known
)

// Error says why an event, or a body that should hold events, is refused.
type Error struct {
	// Field is the field at fault: "event", "id", "retry" or "data"; "body" for the body as a whole; "comment" and
	// "line" for other lines of an event stream.
	Field string
	// Offset is the byte at fault, from 0, or -1 where it means nothing. For [Append] and [Encode] it counts within the
	// field's value, for [DecodeJSON] and [ParseFrames] within the body.
	Offset int
	// Frame is the number of the event in a text/event-stream body, from 1, or 0 where there is none.
	Frame int
	// Reason says what is wrong and what to do about it.
	Reason string
}

// Error is the field, the reason and the place, such as
// "id: must not contain a line feed; remove it (event 2, byte 31)".
func (e *Error) Error() string {
	b := make([]byte, 0, 128)
	b = append(b, e.Field...)
	b = append(b, ": "...)
	b = append(b, e.Reason...)
	switch {
	case e.Frame > 0 && e.Offset >= 0:
		b = append(b, " (event "...)
		b = strconv.AppendInt(b, int64(e.Frame), 10)
		b = append(b, ", byte "...)
		b = strconv.AppendInt(b, int64(e.Offset), 10)
		b = append(b, ')')
	case e.Frame > 0:
		b = append(b, " (event "...)
		b = strconv.AppendInt(b, int64(e.Frame), 10)
		b = append(b, ')')
	case e.Offset >= 0:
		b = append(b, " (byte "...)
		b = strconv.AppendInt(b, int64(e.Offset), 10)
		b = append(b, ')')
	}
	return string(b)
}

const (
	reasonUTF8  = "is not valid UTF-8; send the text as UTF-8, and binary data as base64"
	reasonRetry = "must be a whole number of milliseconds, of the digits 0-9 only"
)

// reasonControl is the reason to refuse the byte c, one of CR, LF and NUL, in an event name or an id.
func reasonControl(c byte) string {
	switch c {
	case '\n':
		return "must not contain a line feed; remove it, or move the text to data"
	case '\r':
		return "must not contain a carriage return; remove it, or move the text to data"
	default:
		return "must not contain NUL; remove it"
	}
}

// checkName checks an event name or an id: UTF-8 without CR, LF and NUL.
func checkName(field, s string) error {
	ascii := true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\n' || c == '\r' || c == 0:
			return &Error{Field: field, Offset: i, Reason: reasonControl(c)}
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	if !ascii && !utf8.ValidString(s) {
		return &Error{Field: field, Offset: invalidUTF8([]byte(s)), Reason: reasonUTF8}
	}
	return nil
}

// CheckID refuses an id that would not come back to the server as it is, so that no client could resume by it. A client
// sends it in a header field (WHATWG HTML 9.2.3), whose value has no control characters (RFC 9110, 5.5) and loses white
// space at its ends (Fetch, 2.2.2). Every way to publish comes through here. The error is an [*Error].
//
// Without room for a server's id ([Append], and stamp not set) white space at the ends is let through: the bytes are
// egg-sse's there.
func CheckID(id string) error { return checkID(id, true) }

func checkID(id string, ends bool) error {
	if err := checkName(fieldID, id); err != nil {
		return err
	}
	for i := 0; i < len(id); i++ {
		if c := id[i]; c < ' ' && c != '\t' || c == 0x7f {
			return &Error{Field: fieldID, Offset: i, Reason: fmt.Sprintf("must not contain the control character %#02x: clients could not come back with it; remove it", c)}
		}
	}
	if n := len(id); n > 0 && ends {
		for _, i := range [...]int{0, n - 1} {
			if id[i] == ' ' || id[i] == '\t' {
				return &Error{Field: fieldID, Offset: i, Reason: "must not begin or end with white space: clients would come back without it; remove it"}
			}
		}
	}
	return nil
}

// notDigit is the offset of the first byte of s which is not an ASCII digit, or -1.
func notDigit[T ~string | ~[]byte](s T) int {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return i
		}
	}
	return -1
}

// invalidUTF8 is the offset of the first byte of b that isn't part of valid UTF-8, or -1.
func invalidUTF8(b []byte) int {
	if utf8.Valid(b) { // fast path: many bytes at a time
		return -1
	}
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
	return -1
}
