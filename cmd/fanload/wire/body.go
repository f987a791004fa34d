package wire

import (
	"errors"
	"fmt"
)

// Body decodes a body that arrives in pieces: chunked (RFC 9112 7.1), with a given length, or until the connection ends. Call
// Begin with the head first.
type Body struct {
	state state
	left  int64 // bytes left of the chunk, or of the whole body
	lines int   // bytes of the chunk's size line, or of the trailer
	digit bool  // the size has a digit
}

type state uint8

const (
	untilEnd state = iota
	length
	size       // the digits of a chunk's size
	extension  // after the digits, up to the LF
	chunk      // the chunk's data
	chunkEnd   // the CR LF after the data
	trailer    // at the start of a trailer's line
	trailerIn  // inside one
	done       // the body is complete
	maxControl = 16 << 10
)

// ErrChunk is wrapped by the error of every violation of the chunked coding.
var ErrChunk = errors.New("the chunked transfer coding is invalid")

// Begin prepares for the body that follows a head.
func (b *Body) Begin(h *Head) {
	*b = Body{}
	switch {
	case h.Chunked:
		b.state = size
	case h.Length > 0:
		b.state, b.left = length, h.Length
	case h.Length == 0:
		b.state = done
	}
}

// Done reports whether the body is complete. A body that lasts until the connection ends never is.
func (b *Body) Done() bool { return b.state == done }

// UntilEnd reports whether the body ends with the connection.
func (b *Body) UntilEnd() bool { return b.state == untilEnd }

// Feed passes the content of piece to emit, in slices of piece. It returns the bytes after the body if the body is complete.
func (b *Body) Feed(piece []byte, emit func([]byte)) (rest []byte, err error) {
	for len(piece) > 0 {
		switch b.state {
		case untilEnd:
			emit(piece)
			return nil, nil
		case length, chunk:
			n := int(min(b.left, int64(len(piece))))
			emit(piece[:n])
			piece = piece[n:]
			if b.left -= int64(n); b.left == 0 {
				if b.state == length {
					b.state = done
				} else {
					b.state, b.lines = chunkEnd, 0
				}
			}
		case done:
			return piece, nil
		default:
			if err := b.control(piece[0]); err != nil {
				return nil, err
			}
			piece = piece[1:]
		}
	}
	return nil, nil
}

// control processes a byte of the coding itself.
func (b *Body) control(c byte) error {
	if b.lines++; b.lines > maxControl {
		return fmt.Errorf("%w: a size line or trailer is longer than %d bytes", ErrChunk, maxControl)
	}
	switch b.state {
	case size:
		return b.sizeByte(c)
	case extension:
		if c == '\n' {
			b.sizeEnd()
		}
	case chunkEnd:
		switch {
		case c == '\n':
			b.state, b.lines, b.digit = size, 0, false
		case c != '\r' || b.lines > 1:
			return fmt.Errorf("%w: %q in place of the line end after a chunk", ErrChunk, c)
		}
	case trailer:
		switch c {
		case '\n':
			b.state = done
		case '\r':
		default:
			b.state = trailerIn
		}
	case trailerIn:
		if c == '\n' {
			b.state = trailer
		}
	}
	return nil
}

func (b *Body) sizeByte(c byte) error {
	d := int64(-1)
	switch {
	case c >= '0' && c <= '9':
		d = int64(c - '0')
	case c >= 'a' && c <= 'f':
		d = int64(c-'a') + 10
	case c >= 'A' && c <= 'F':
		d = int64(c-'A') + 10
	}
	switch {
	case d >= 0:
		if b.left >= 1<<50 {
			return fmt.Errorf("%w: a chunk of more than 2^50 bytes", ErrChunk)
		}
		b.left, b.digit = b.left<<4|d, true
	case !b.digit:
		return fmt.Errorf("%w: %q in place of a chunk's size", ErrChunk, c)
	case c == '\n':
		b.sizeEnd()
	case c == '\r' || c == ';' || c == ' ' || c == '\t':
		b.state = extension
	default:
		return fmt.Errorf("%w: %q in a chunk's size", ErrChunk, c)
	}
	return nil
}

func (b *Body) sizeEnd() {
	b.state = chunk
	if b.left == 0 {
		b.state, b.lines = trailer, 0 // the last chunk
	}
}
