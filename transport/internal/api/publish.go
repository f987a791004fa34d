package api

import (
	"context"
	"mime"
	"strings"

	"github.com/valyala/fasthttp"

	"fanfare/auth"
	"fanfare/codec"
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
	status, ok := a.deliver(ctx, who, Message{Key: key}, frames, func(r *Receipt) {
		result.ID, result.Subscribers, result.Duplicate = r.ID, r.Subscribers, r.Duplicate
		result.Stored = stored(r, result.Stored)
		if finished {
			result.IDs = append(result.IDs, r.ID)
			result.Events++
		}
	})
	if ok {
		answer(ctx, status, result)
	}
}

func (a *API) servePublishAll(ctx *fasthttp.RequestCtx, who auth.Publisher) {
	buf := scratch.Get()
	defer scratch.Put(buf)
	frames, finished, ok := a.framesOf(ctx, who, buf)
	if !ok {
		return
	}
	var result allAnswer
	status, ok := a.deliver(ctx, who, Message{All: true}, frames, func(r *Receipt) {
		result.Keys, result.Subscribers, result.Duplicate = r.Keys, r.Subscribers, r.Duplicate
		result.Stored = stored(r, result.Stored)
		if finished {
			result.Events++
		}
	})
	if ok {
		answer(ctx, status, result)
	}
}

// deliver publishes the frames of a request to where the message to says, and calls receipt for each, in order. status is
// 202 if an event is not stored yet. If one was not published, deliver answers the request.
func (a *API) deliver(ctx *fasthttp.RequestCtx, who auth.Publisher, to Message, frames []codec.Frame, receipt func(*Receipt)) (status int, ok bool) {
	repeat := repeatKeyOf(ctx)
	receipts, err := a.publishFrames(who, repeat, to, frames)
	if err != nil {
		a.refusePublish(ctx, err, repeat, receipts)
		return 0, false
	}
	status = fasthttp.StatusOK
	for i := range receipts {
		if receipt(&receipts[i]); receipts[i].Queued {
			status = fasthttp.StatusAccepted
		}
	}
	return status, true
}

// publishFrames publishes the frames of a request. err is the first error.
func (a *API) publishFrames(who auth.Publisher, repeat string, to Message, frames []codec.Frame) (receipts []Receipt, err error) {
	receipts = make([]Receipt, len(frames))
	message := func(i int) Message {
		m := to
		m.Frame, m.ID = frames[i], messageID(who, to.All, to.Key, repeat, i)
		return m
	}
	if a.backplane == nil {
		for i := range frames { // those after an error are not published
			m := message(i)
			if receipts[i] = a.publishOne(&m); receipts[i].Err != nil {
				return receipts[:i], receipts[i].Err
			}
		}
		return receipts, nil
	}
	messages := make([]Message, len(frames))
	for i := range frames {
		messages[i] = message(i)
	}
	a.append(context.Background(), messages, receipts)
	for i := range receipts {
		if receipts[i].Err != nil {
			return receipts, receipts[i].Err
		}
	}
	return receipts, nil
}

// refusePublish answers a request of which an event was not published. receipts are those of all its events, if
// there are any.
func (a *API) refusePublish(ctx *fasthttp.RequestCtx, err error, repeat string, receipts []Receipt) {
	a.metrics.PublishFails.Inc()
	status, body := describe(err, repeat != "")
	if status == fasthttp.StatusServiceUnavailable {
		ctx.Response.Header.Set("Retry-After", retryAfter(retryUnstored))
	}
	if len(receipts) > 1 {
		for i := range receipts {
			body.IDs = append(body.IDs, receipts[i].ID)
		}
	}
	answer(ctx, status, body)
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
		a.refusePublish(ctx, err, "", nil)
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
