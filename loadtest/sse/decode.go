package sse

import (
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// decode decodes the response's Content-Encoding (RFC 9110, 8.4). Streams do not ask for one. But a script may ask for it, and a
// server or a proxy may send it without being asked.
func (c *connection) decode(res *http.Response) error {
	coding := strings.ToLower(strings.TrimSpace(strings.Join(res.Header.Values("Content-Encoding"), ", ")))
	switch coding {
	case "", "identity":
	case "gzip", "x-gzip":
		c.body = &inflated{body: res.Body, open: func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }}
		// The decoder buffers, so it may have data to read even if its input is empty.
		c.sized = true
	case "deflate": // in zlib's format (RFC 9110, 8.4.1.2)
		c.body = &inflated{body: res.Body, open: func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }}
		c.sized = true
	default:
		return &responseError{res.StatusCode, "encoding", fmt.Sprintf(
			"the response's Content-Encoding is %q, but k6/x/sse supports only gzip and deflate: do not accept others in Accept-Encoding", coding)}
	}
	return nil
}

// inflated reads body through the decoder that open makes. It calls open at the first read, because open may block until the
// first event.
type inflated struct {
	body  io.Reader
	open  func(io.Reader) (io.Reader, error)
	from  io.Reader
	ended bool // body has ended and was not cut off
}

func (d *inflated) Read(p []byte) (n int, err error) {
	if d.from == nil {
		d.from, err = d.open(readerFunc(func(p []byte) (int, error) {
			n, err := d.body.Read(p)
			d.ended = err == io.EOF //nolint:errorlint // readers return it unwrapped
			return n, err
		}))
	}
	if err == nil {
		n, err = d.from.Read(p)
	}
	return n, d.worded(err)
}

// worded explains an error of the decoder. A missing trailer at the end of a stream is not an error, because a server does not
// know which event is the last.
func (d *inflated) worded(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) && d.ended:
		return io.EOF
	case errors.As(err, &corrupt), errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum),
		errors.Is(err, zlib.ErrHeader), errors.Is(err, zlib.ErrChecksum):
		return fmt.Errorf("the stream does not have the coding of its Content-Encoding: %w", err)
	default:
		return err
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
