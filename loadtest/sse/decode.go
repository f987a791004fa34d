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

// decode undoes the response's Content-Encoding (RFC 9110, 8.4). Streams don't ask for one, but a script may, and a server or
// a front may give one unasked.
func (c *connection) decode(res *http.Response) error {
	coding := strings.ToLower(strings.TrimSpace(strings.Join(res.Header.Values("Content-Encoding"), ", ")))
	switch coding {
	case "", "identity":
	case "gzip", "x-gzip":
		c.body = &inflated{body: res.Body, open: func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }}
		// The decoder buffers: an empty input doesn't mean that there is nothing to read.
		c.sized = true
	case "deflate": // in zlib's format (RFC 9110, 8.4.1.2)
		c.body = &inflated{body: res.Body, open: func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }}
		c.sized = true
	default:
		return &responseError{res.StatusCode, "encoding", fmt.Sprintf(
			"the response's Content-Encoding is %q, and k6/x/sse knows gzip and deflate; ask for no other in Accept-Encoding", coding)}
	}
	return nil
}

// inflated reads what open decodes of body. It opens at the first read, which may block until the first event.
type inflated struct {
	body  io.Reader
	open  func(io.Reader) (io.Reader, error)
	from  io.Reader
	ended bool // body has come to its end, and wasn't cut off
}

func (d *inflated) Read(p []byte) (n int, err error) {
	if d.from == nil {
		d.from, err = d.open(readerFunc(func(p []byte) (int, error) {
			n, err := d.body.Read(p)
			d.ended = err == io.EOF //nolint:errorlint // readers give it as it is
			return n, err
		}))
	}
	if err == nil {
		n, err = d.from.Read(p)
	}
	return n, d.worded(err)
}

// worded is what an error of the decoder means. A stream that ended needs no trailer: who sends events doesn't know which
// one is the last.
func (d *inflated) worded(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) && d.ended:
		return io.EOF
	case errors.As(err, &corrupt), errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum),
		errors.Is(err, zlib.ErrHeader), errors.Is(err, zlib.ErrChecksum):
		return fmt.Errorf("the stream isn't what its Content-Encoding says: %w", err)
	default:
		return err
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
