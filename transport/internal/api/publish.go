package api

import (
	"bytes"
	"fmt"
	"mime"
	"strings"

	"github.com/valyala/fasthttp"

	"fanfare/codec"
	"fanfare/engine"
)

func (a *API) servePublish(ctx *fasthttp.RequestCtx) {
	key, ok := a.keyOf(ctx)
	if !ok {
		a.metrics.PublishFails.Inc()
		return
	}
	buf := scratch.Get()
	defer scratch.Put(buf)
	frames, finished, ok := a.framesOf(ctx, buf)
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

func (a *API) servePublishAll(ctx *fasthttp.RequestCtx) {
	buf := scratch.Get()
	defer scratch.Put(buf)
	frames, finished, ok := a.framesOf(ctx, buf)
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

// plain reports whether the body is not compressed. If it is, plain answers the
// request.
func (a *API) plain(ctx *fasthttp.RequestCtx) bool {
	enc := ctx.Request.Header.ContentEncoding()
	if len(enc) == 0 || bytes.EqualFold(enc, []byte("identity")) {
		return true
	}
	a.metrics.PublishFails.Inc()
	fail(ctx, fasthttp.StatusUnsupportedMediaType, "Content-Encoding", fmt.Sprintf("%q is not supported: send the body as it is", enc))
	return false
}

// framesOf makes the frames of a publish body in buf, all of them before the first
// is published. finished is set if the publisher had encoded them. On an error it
// answers the request.
func (a *API) framesOf(ctx *fasthttp.RequestCtx, buf *[]byte) (frames []codec.Frame, finished, ok bool) {
	if !a.plain(ctx) {
		return nil, false, false
	}
	body := ctx.PostBody()
	var err error
	t := mediaType(string(ctx.Request.Header.ContentType()))
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
		frames, *buf, err = codec.ParseFrames(frames, *buf, body, !a.config.Load().PlainIDs)
		for i := 0; err == nil && i < len(frames); i++ {
			err = a.check(frames[i], string(codec.EventName(frames[i].Bytes)))
		}
	default:
		a.metrics.PublishFails.Inc()
		fail(ctx, fasthttp.StatusUnsupportedMediaType, "Content-Type",
			fmt.Sprintf("%q is not a type to publish: send %s (a string or an object with data, event, id, retry), %s (the data) or %s (finished events), in UTF-8", t, typeJSON, typeText, typeFrames))
		return nil, false, false
	}
	if err != nil {
		a.refusePublish(ctx, err)
		return nil, false, false
	}
	return frames, t == typeFrames, true
}
