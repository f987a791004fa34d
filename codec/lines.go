package codec

import "bytes"

// lineCursor finds the line ends of an event stream: CRLF, CR and LF (WHATWG HTML 9.2.5, end-of-line).
//
// It remembers the next CR and the next LF. So a text whose lines all end in one of them is not searched to its end for
// the other one at every line.
type lineCursor struct {
	b      []byte
	cr, lf int // the first CR and LF at or after the last argument of end; len(b) if there is none
}

func newLineCursor(b []byte) lineCursor { return lineCursor{b: b, cr: -1, lf: -1} }

// end returns the offset of the first CR or LF at or after i, or len(b). i must not decrease from call to call.
func (c *lineCursor) end(i int) int {
	if c.lf < i {
		c.lf = indexFrom(c.b, i, '\n')
	}
	if c.cr < i {
		c.cr = indexFrom(c.b, i, '\r')
	}
	return min(c.cr, c.lf)
}

// after returns the offset after the line end at end, which is a CRLF, a CR or an LF.
func (c *lineCursor) after(end int) int {
	if c.b[end] == '\r' && end+1 < len(c.b) && c.b[end+1] == '\n' {
		return end + 2
	}
	return end + 1
}

func indexFrom(b []byte, i int, c byte) int {
	if n := bytes.IndexByte(b[i:], c); n >= 0 {
		return i + n
	}
	return len(b)
}

// splitField splits a line, which is not empty, into the field's name and value by WHATWG HTML 9.2.6. The name ends at
// the first colon. One space after the colon is not part of the value. A line without a colon is a name with an empty
// value. A comment has the name "". valueAt is the offset of the value in the line.
func splitField(line []byte) (name, value []byte, valueAt int) {
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return line, nil, len(line)
	}
	valueAt = colon + 1
	if valueAt < len(line) && line[valueAt] == ' ' {
		valueAt++
	}
	return line[:colon], line[valueAt:], valueAt
}
