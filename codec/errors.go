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
	fieldLine    = "line"    // a line of a stream or a body with an unknown field
)

// Error says why an event, or a body that should contain events, is refused.
type Error struct {
	// Field is the invalid field: "event", "id", "retry" or "data"; "body" for the body as a whole; "comment" and
	// "line" for other lines of an event stream; or, from [DecodePublish], the name of an unknown member.
	Field string
	// Offset is the offset of the invalid byte, or -1 if there is none. [Append] and [Encode] count within the value of
	// the field, [DecodeJSON] and [ParseFrames] within the body.
	Offset int
	// Frame is the number of the event in a text/event-stream body, from 1, or 0 if there is none.
	Frame int
	// Reason says what is wrong and what to do about it.
	Reason string
}

// Error returns the field, the reason and the place, such as "id: must not contain a line feed; remove it (event 2,
// byte 31)".
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
	reasonRetry = "must be a whole number of milliseconds: digits 0-9 only"
)

// reasonControl returns the reason to refuse the byte c, which is CR, LF or NUL, in an event name or an id.
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

// checkName refuses an event name or an id that is not UTF-8 or contains CR, LF or NUL.
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
		return &Error{Field: field, Offset: indexInvalidUTF8([]byte(s)), Reason: reasonUTF8}
	}
	return nil
}

// CheckID refuses an id that a client could not send back unchanged, because no client could resume with it. A client
// sends the id in a header field (WHATWG HTML 9.2.3). The value of a header field has no control characters (RFC 9110,
// 5.5) and loses white space at its ends (Fetch, 2.2.2). Every way to publish checks ids by this rule. The error is an
// [*Error].
//
// There is one exception. Without room for a server's id ([Append], or reserveID false), white space at the ends is
// allowed, because the bytes must be those of egg-sse there.
func CheckID(id string) error { return checkID(id, true) }

func checkID(id string, checkEnds bool) error {
	if err := checkName(fieldID, id); err != nil {
		return err
	}
	for i := 0; i < len(id); i++ {
		if c := id[i]; c < ' ' && c != '\t' || c == 0x7f {
			return &Error{Field: fieldID, Offset: i,
				Reason: fmt.Sprintf("must not contain the control character %#02x: clients could not send it back; remove it", c)}
		}
	}
	if n := len(id); n > 0 && checkEnds {
		for _, i := range [...]int{0, n - 1} {
			if id[i] == ' ' || id[i] == '\t' {
				return &Error{Field: fieldID, Offset: i,
					Reason: "must not begin or end with white space: clients would send the id back without it; remove it"}
			}
		}
	}
	return nil
}

// indexNonDigit returns the offset of the first byte of s that is not an ASCII digit, or -1.
func indexNonDigit[T ~string | ~[]byte](s T) int {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return i
		}
	}
	return -1
}

// indexInvalidUTF8 returns the offset of the first byte of b that is not part of valid UTF-8, or -1.
func indexInvalidUTF8(b []byte) int {
	if utf8.Valid(b) { // fast path: checks many bytes at a time
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
