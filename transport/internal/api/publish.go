package api

import (
	"mime"
	"strings"

	"github.com/valyala/fasthttp"

	"fanfare/auth"
	"fanfare/codec"
	"fanfare/engine"
)

func (a *API) servePublish(ctx *fasthttp.RequestCtx, who auth.Publisher) {
	key, ok := a.keyOf(ctx, who, auth.RightPublish)
	if !ok {
		return
	}
	buf := scratch.Get()
	defer scratch.Put(buf)
	frames, finished, ok := a.framesOf(ctx, who, buf)
	if !ok {
		return
	}
	var result publishAnswer
	for _, f := range frames {
		p, err := a.publish(key, f)
		if err != nil {
			a.refusePublish(ctx, err)
			return
		}
		result.ID, result.Subscribers = idOf(f, p), p.Subscribers
		if finished {
			result.IDs = append(result.IDs, result.ID)
			result.Events++
		}
	}
	answer(ctx, fasthttp.StatusOK, result)
}

func (a *API) servePublishAll(ctx *fasthttp.RequestCtx, who auth.Publisher) {
	buf := scratch.Get()
	defer scratch.Put(buf)
	frames, finished, ok := a.framesOf(ctx, who, buf)
	if !ok {
		return
	}
	var result allAnswer
	for _, f := range frames {
		var err error
		if result.Keys, result.Subscribers, err = a.publishAll(f); err != nil {
			a.refusePublish(ctx, err)
			return
		}
		if finished {
			result.Events++
		}
	}
	answer(ctx, fasthttp.StatusOK, result)
}

func (a *API) refusePublish(ctx *fasthttp.RequestCtx, err error) {
	a.metrics.PublishFails.Inc()
	status, body := describe(err)
	answer(ctx, status, body)
}

// idOf is the id that subscribers see: the publisher's own, or the one that the
// engine gave, or "" if ids are off.
func idOf(f codec.Frame, p engine.Published) string {
	switch {
	case f.IDLen > 0:
		return string(f.Bytes[f.IDAt : f.IDAt+f.IDLen])
	case f.IDAt >= 0:
		return p.Position.String()
	}
	return ""
}

const (
	typeJSON   = "application/json"
	typeText   = "text/plain"
	typeFrames = "text/event-stream"
)

// mediaType is the type of a Content-Type (RFC 9110, 8.3) in lower case. It is all
// of the field if that cannot be parsed, or names another charset than UTF-8.
func mediaType(contentType string) string {
	t, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return contentType
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return contentType
	}
	return t
}

// framesOf makes the frames of a publish body in buf, all of them before the first
// is published. finished is set if the publisher had encoded them. On an error it
// answers the request.
func (a *API) framesOf(ctx *fasthttp.RequestCtx, who auth.Publisher, buf *[]byte) (frames []codec.Frame, finished, ok bool) {
	c := a.config.Load()
	t := mediaType(string(ctx.Request.Header.ContentType()))
	if t != typeFrames && !a.admit(ctx, who, 1) {
		if length := ctx.Request.Header.ContentLength(); length < 0 || length > firstRead {
			ctx.SetConnectionClose() // rather than read the body to its end
		}
		return nil, false, false
	}
	b, ok := a.readBody(ctx, c.MaxBodyBytes)
	if !ok {
		return nil, false, false
	}
	// The frames are copies, and released with buf.
	defer b.release()
	body := b.bytes
	var err error
	switch t {
	case typeJSON, typeText:
		ev := codec.Event{Data: body}
		if t == typeJSON {
			ev, err = codec.DecodePublish(body)
		}
		frames = make([]codec.Frame, 1)
		if err == nil {
			frames[0], err = a.encode(buf, ev)
		}
	case typeFrames:
		if n := countBlocks(body); n > c.MaxBatchLines {
			a.refuse(ctx, route{method: fasthttp.MethodPost}, tooManyLines("events", n, c.MaxBatchLines))
			return nil, false, false
		}
		frames, *buf, err = codec.ParseFrames(frames, *buf, body, !c.PlainIDs)
		for i := 0; err == nil && i < len(frames); i++ {
			err = a.check(frames[i], string(codec.EventName(frames[i].Bytes)))
		}
	}
	if err != nil {
		a.refusePublish(ctx, err)
		return nil, false, false
	}
	if t == typeFrames && !a.admit(ctx, who, len(frames)) {
		return nil, false, false
	}
	return frames, t == typeFrames, true
}

// countBlocks returns at least the number of events in a text/event-stream body: a
// blank line ends each. Lines end in CR LF, LF or CR (WHATWG HTML, 9.2.5).
func countBlocks(body []byte) int {
	n, filled := 0, false
	for i, c := range body {
		switch {
		case c == '\n' && i > 0 && body[i-1] == '\r': // of the line end before
		case c != '\n' && c != '\r':
			filled = true
		case filled:
			filled = false
		default:
			n++
		}
	}
	return n
}
