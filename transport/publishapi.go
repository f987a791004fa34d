package transport

import (
	"bytes"
	"fmt"
	"mime"
	"strings"

	"github.com/goccy/go-json"
	"github.com/valyala/fasthttp"

	"fanfare/codec"
	"fanfare/engine"
)

// keyOf returns the key of the query; a missing or empty one is the pool of
// Options.CacheKey. It answers the request itself if the key is not allowed.
func (s *Server) keyOf(ctx *fasthttp.RequestCtx) (key string, ok bool) {
	o := s.settings.Load()
	key = string(ctx.QueryArgs().Peek("key"))
	if key == "" {
		key = o.CacheKey
	}
	if problem := o.checkKey(key); problem != "" {
		fail(ctx, fasthttp.StatusBadRequest, "key", "key "+problem)
		return "", false
	}
	return key, true
}

func (s *Server) servePublish(ctx *fasthttp.RequestCtx) {
	key, ok := s.keyOf(ctx)
	if !ok {
		s.metrics.publishFails.Inc()
		return
	}
	buf := scratch.Get()
	defer scratch.Put(buf)
	frames, ok := s.framesOf(ctx, buf)
	if !ok {
		return
	}
	var result publishAnswer
	for _, f := range frames {
		p, err := s.publishFrame(key, engine.Frame(f))
		if err != nil {
			s.refusePublish(ctx, err)
			return
		}
		result.ID, result.Subscribers = idOf(f, p), p.Subscribers
		if isFrames(ctx) {
			result.IDs = append(result.IDs, result.ID)
			result.Events++
		}
	}
	answer(ctx, fasthttp.StatusOK, result)
}

func (s *Server) servePublishAll(ctx *fasthttp.RequestCtx) {
	buf := scratch.Get()
	defer scratch.Put(buf)
	frames, ok := s.framesOf(ctx, buf)
	if !ok {
		return
	}
	var result allAnswer
	for _, f := range frames {
		var err error
		if result.Keys, result.Subscribers, err = s.publishFrameAll(engine.Frame(f)); err != nil {
			s.refusePublish(ctx, err)
			return
		}
		if isFrames(ctx) {
			result.Events++
		}
	}
	answer(ctx, fasthttp.StatusOK, result)
}

func (s *Server) refusePublish(ctx *fasthttp.RequestCtx, err error) {
	s.metrics.publishFails.Inc()
	status, body := describe(err)
	answer(ctx, status, body)
}

// idOf is the id that the event's subscribers see: the publisher's own or the
// one given, or "" if ids are off.
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

func mediaType(ctx *fasthttp.RequestCtx) string {
	t, params, err := mime.ParseMediaType(string(ctx.Request.Header.ContentType()))
	if err != nil {
		return ""
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return t + "; charset=" + charset
	}
	return t
}

func isFrames(ctx *fasthttp.RequestCtx) bool { return mediaType(ctx) == typeFrames }

// framesOf makes the frames of a publish body in buf, all of them before the
// first is published. It answers the request itself on an error.
func (s *Server) framesOf(ctx *fasthttp.RequestCtx, buf *[]byte) (frames []codec.Frame, ok bool) {
	stamp := !s.settings.Load().PlainIDs
	body := ctx.PostBody()
	if enc := ctx.Request.Header.ContentEncoding(); len(enc) > 0 && !bytes.EqualFold(enc, []byte("identity")) {
		s.metrics.publishFails.Inc()
		fail(ctx, fasthttp.StatusUnsupportedMediaType, "Content-Encoding", fmt.Sprintf("%q is not supported: send the body as it is", enc))
		return nil, false
	}
	var err error
	switch t := mediaType(ctx); t {
	case typeJSON:
		var ev codec.Event
		if ev, err = codec.DecodeJSON(body); err == nil {
			frames, err = appendFrame(frames, buf, ev, stamp)
		}
	case typeText:
		frames, err = appendFrame(frames, buf, codec.Event{Data: body}, stamp)
	case typeFrames:
		frames, *buf, err = codec.ParseFrames(frames, *buf, body, stamp)
	default:
		s.metrics.publishFails.Inc()
		fail(ctx, fasthttp.StatusUnsupportedMediaType, "Content-Type",
			fmt.Sprintf("%q is not a type to publish: send %s (a string or an object with data, event, id, retry), %s (the data) or %s (finished events), in UTF-8", t, typeJSON, typeText, typeFrames))
		return nil, false
	}
	for _, f := range frames {
		if err == nil {
			err = s.checkSize(engine.Frame(f))
		}
	}
	if err != nil {
		s.refusePublish(ctx, err)
		return nil, false
	}
	return frames, true
}

func appendFrame(frames []codec.Frame, buf *[]byte, ev codec.Event, stamp bool) ([]codec.Frame, error) {
	f, err := codec.Encode(*buf, ev, stamp)
	if err != nil {
		return nil, err
	}
	*buf = f.Bytes[:0]
	return append(frames, f), nil
}

// command is a line of a batch, besides the members of the event.
type command struct {
	Op  string `json:"op"`
	Key string `json:"key"`
}

// serveBatch runs a body of NDJSON commands in order and answers a line for
// each. A line that fails does not stop those behind it.
func (s *Server) serveBatch(ctx *fasthttp.RequestCtx) {
	var out []byte
	line := 0
	for rest := ctx.PostBody(); len(rest) > 0; {
		var text []byte
		text, rest, _ = bytes.Cut(rest, []byte("\n"))
		line++
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		result, err := s.run(text)
		if err != nil {
			s.metrics.publishFails.Inc()
			_, f := describe(err)
			f.Line = line
			result = f
		}
		b, err := json.Marshal(result)
		if err != nil {
			b = []byte(`{"error":"the answer could not be encoded"}`)
		}
		out = append(append(out, b...), '\n')
	}
	ctx.SetContentType("application/x-ndjson")
	ctx.SetBody(out)
}

// run runs one command.
func (s *Server) run(text []byte) (any, error) {
	var c command
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, &codec.Error{Field: "line", Offset: -1, Reason: "is not an object with op, key, data, event, id, retry: " + err.Error()}
	}
	o := s.settings.Load()
	if c.Key == "" {
		c.Key = o.CacheKey
	}
	if problem := o.checkKey(c.Key); problem != "" {
		return nil, &codec.Error{Field: "key", Offset: -1, Reason: problem}
	}
	switch c.Op {
	case "", "publish", "publishAll":
	case "close":
		return closedAnswer{s.eng.CloseKey(c.Key)}, nil
	case "closeAll":
		return closedAnswer{s.eng.CloseAll()}, nil
	default:
		return nil, &codec.Error{Field: "op", Offset: -1, Reason: fmt.Sprintf("%q is unknown: use publish, publishAll, close or closeAll", c.Op)}
	}
	ev, err := codec.DecodeJSON(text)
	if err != nil {
		return nil, err
	}
	buf := scratch.Get()
	defer scratch.Put(buf)
	frames, err := appendFrame(nil, buf, ev, !o.PlainIDs)
	if err != nil {
		return nil, err
	}
	if c.Op == "publishAll" {
		keys, subscribers, err := s.publishFrameAll(engine.Frame(frames[0]))
		return allAnswer{Keys: keys, Subscribers: subscribers}, err
	}
	p, err := s.publishFrame(c.Key, engine.Frame(frames[0]))
	return publishAnswer{ID: idOf(frames[0], p), Subscribers: p.Subscribers}, err
}
