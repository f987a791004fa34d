// Package wire reads HTTP/1.1 responses that arrive in pieces (RFC 9112): the head, and the body in its transfer coding. It has
// what is needed to read streams from non-blocking sockets. It is not an HTTP client.
package wire

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxHead bounds the head of a response, in bytes.
const MaxHead = 32 << 10

// Head collects and parses the head of a response. The zero value is ready to use.
type Head struct {
	Status      int
	ContentType string // without parameters, in lower case
	Encoding    string // the content coding, in lower case; "": none
	Location    string
	RetryAfter  string
	Chunked     bool
	Length      int64 // of the body; -1: until the connection ends
	Close       bool  // the server ends the connection after the body

	raw []byte
}

// Feed processes the next piece. done says that the head is complete; then rest has the bytes after it. Interim responses (1xx,
// RFC 9110 15.2) are skipped.
func (h *Head) Feed(piece []byte) (rest []byte, done bool, err error) {
	for {
		from := max(0, len(h.raw)-3)
		h.raw = append(h.raw, piece...)
		end, skip := headEnd(h.raw[from:])
		if end < 0 {
			if len(h.raw) > MaxHead {
				return nil, false, fmt.Errorf("the answer's head is longer than %d bytes", MaxHead)
			}
			return nil, false, nil
		}
		end += from
		rest = piece[len(piece)-(len(h.raw)-end-skip):]
		err = h.parse(h.raw[:end])
		h.raw = nil
		if err != nil || h.Status >= 200 {
			return rest, true, err
		}
		if h.Status == 101 {
			return rest, true, errors.New("the server switched protocols (101) without being asked")
		}
		if piece = rest; len(piece) == 0 {
			return nil, false, nil
		}
	}
}

// headEnd finds the empty line. It returns where the lines before it end, and the length of that line end and the empty line. A
// bare LF also ends a line (RFC 9112 2.2).
func headEnd(b []byte) (end, skip int) {
	for at := 0; ; {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return -1, 0
		}
		at += i + 1
		switch rest := b[at:]; {
		case len(rest) > 0 && rest[0] == '\n':
			return at - 1, 2
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return at - 1, 3
		}
	}
}

func (h *Head) parse(raw []byte) error {
	lines := strings.Split(string(raw), "\n")
	status := strings.TrimSuffix(lines[0], "\r")
	version, rest, _ := strings.Cut(status, " ")
	code, _, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(code)
	if !strings.HasPrefix(version, "HTTP/1.") || err != nil || n < 100 || n > 999 {
		return fmt.Errorf("the answer begins with %q, not with an HTTP/1.1 status line", clip(status))
	}
	*h = Head{Status: n, Length: -1, Close: version == "HTTP/1.0"}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\r"), ":")
		if !ok {
			return fmt.Errorf("the answer's head has a line %q without a colon", clip(line))
		}
		if err := h.Field(strings.ToLower(name), strings.TrimSpace(value)); err != nil {
			return err
		}
	}
	if h.Chunked || n == 204 || n == 304 || n < 200 {
		h.Length = -1 // chunked overrides the length (RFC 9112 6.3); the others have no body
		if !h.Chunked {
			h.Length = 0
		}
	}
	return nil
}

// Field processes a header field. The name must be in lower case.
func (h *Head) Field(name, value string) error {
	switch name {
	case "content-type":
		t, _, _ := strings.Cut(value, ";")
		h.ContentType = strings.ToLower(strings.TrimSpace(t))
	case "content-encoding":
		if e := strings.ToLower(clip(value)); e != "identity" {
			h.Encoding = e
		}
	case "location":
		h.Location = clip(value)
	case "retry-after":
		h.RetryAfter = clip(value)
	case "transfer-encoding":
		// Codings other than chunked are ignored: "off", which egg-sse sends, has no meaning.
		h.Chunked = h.Chunked || strings.EqualFold(value, "chunked") || strings.HasSuffix(strings.ToLower(value), ", chunked")
	case "connection":
		for token := range strings.SplitSeq(value, ",") {
			h.Close = h.Close || strings.EqualFold(strings.TrimSpace(token), "close")
		}
	case "content-length":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("the answer has an invalid Content-Length %q", clip(value))
		}
		h.Length = n
	}
	return nil
}

// clip shortens unexpected responses in messages.
func clip(s string) string {
	if len(s) > 120 {
		return s[:120] + "…"
	}
	return s
}
