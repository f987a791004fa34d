package api

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"fanfare/transport/internal/gate"
)

// bodies counts the bytes that the bodies of all requests take, from their arrival
// until they are published.
type bodies struct{ bytes atomic.Int64 }

// take counts n bytes more, if the limit allows them. A negative n gives bytes back.
func (b *bodies) take(n, limit int) bool {
	if b.bytes.Add(int64(n)) > int64(limit) && n > 0 {
		b.bytes.Add(-int64(n))
		return false
	}
	return true
}

// BodyBytes is the number of bytes that the bodies of requests take now.
func (a *API) BodyBytes() int64 { return a.bodies.bytes.Load() }

// body is the body of one request. The zero body is empty.
type body struct {
	bytes []byte
	api   *API
	taken int // bytes counted in api.bodies
}

// release gives the memory back: bytes must not be used any more. It may be called
// twice.
func (b *body) release() {
	if b.api != nil {
		b.api.bodies.take(-b.taken, 0)
	}
	*b = body{}
}

// grow doubles the room, at most to the size most. It fails over the limit total.
func (b *body) grow(most, total int) bool {
	size := min(max(cap(b.bytes)*2, firstRead), most)
	if !b.api.bodies.take(size-b.taken, total) {
		return false
	}
	b.taken = size
	b.bytes = append(make([]byte, 0, size), b.bytes...)
	return true
}

// firstRead is the room for a body at first. The body of most requests fits.
const firstRead = 8 << 10

// readBody reads the body of a request, at most limit bytes. Memory is taken as the
// bytes arrive, whatever length was announced. If it fails, readBody answers.
func (a *API) readBody(ctx *fasthttp.RequestCtx, limit int) (b body, ok bool) {
	stream := ctx.RequestBodyStream()
	if stream == nil { // there is none, or fasthttp was not told to stream it
		b.bytes = ctx.Request.Body()
		return b, true
	}
	b.api = a
	most := limit + 1 // one byte more shows that a body in chunks is too long
	length := ctx.Request.Header.ContentLength()
	if length > limit { // the limit was lowered meanwhile
		b.abort(ctx, bodyTooLarge(limit))
		return body{}, false
	} else if length >= 0 {
		most = length
	}
	total := a.config.Load().MaxBodyTotalBytes
	for {
		if len(b.bytes) == cap(b.bytes) {
			if len(b.bytes) > limit {
				b.abort(ctx, bodyTooLarge(limit))
				return body{}, false
			}
			if len(b.bytes) == most {
				return b, true
			}
			if !b.grow(most, total+1) {
				b.abort(ctx, &problem{status: fasthttp.StatusServiceUnavailable, field: "maxBodyTotalBytes",
					text: fmt.Sprintf("the bodies of all requests would take more than %d bytes (maxBodyTotalBytes): send it again later, or raise the limit", total)})
				return body{}, false
			}
		}
		n, err := stream.Read(b.bytes[len(b.bytes):cap(b.bytes)])
		b.bytes = b.bytes[:len(b.bytes)+n]
		switch {
		case errors.Is(err, io.EOF):
			if len(b.bytes) > limit {
				b.abort(ctx, bodyTooLarge(limit))
				return body{}, false
			}
			if len(b.bytes) < length { // fasthttp does not report it
				b.abort(ctx, brokenBody(io.ErrUnexpectedEOF))
				return body{}, false
			}
			return b, true
		case err != nil:
			b.abort(ctx, brokenBody(err))
			return body{}, false
		}
	}
}

// brokenBody says why a body did not arrive. The error's text is not repeated: it
// may hold what the client sent.
func brokenBody(err error) *problem {
	var network net.Error
	if errors.As(err, &network) && network.Timeout() {
		return &problem{status: fasthttp.StatusRequestTimeout, field: "request", text: "the request took too long to arrive"}
	}
	return &problem{status: fasthttp.StatusBadRequest, field: "request", text: "the body cannot be read to its end: it is shorter than announced, or its chunks are broken (RFC 9112, 7.1)"}
}

// abort answers in the middle of a body. What follows of it is not read as another
// request: the connection is closed.
func (b *body) abort(ctx *fasthttp.RequestCtx, p *problem) {
	api := b.api
	b.release()
	if p.status == fasthttp.StatusServiceUnavailable {
		p.wait = time.Second
	}
	ctx.SetConnectionClose()
	api.refuse(ctx, route{method: string(ctx.Method())}, p)
}

// Unread reports whether Handle has answered without reading the whole body.
func Unread(ctx *fasthttp.RequestCtx) bool {
	return gate.Skipped(&ctx.Request.Header) || ctx.Response.ConnectionClose()
}
