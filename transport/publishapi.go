package transport

import (
	"bytes"
	"fmt"
	"mime"
	"strings"

	"github.com/goccy/go-json"
	"github.com/goccy/go-json/jsontext"
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
	frames, finished, ok := s.framesOf(ctx, buf)
	if !ok {
		return
	}
	var result publishAnswer
	for _, f := range frames {
		p, err := s.publishFrame(key, f)
		if err != nil {
			s.refusePublish(ctx, err)
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

func (s *Server) servePublishAll(ctx *fasthttp.RequestCtx) {
	buf := scratch.Get()
	defer scratch.Put(buf)
	frames, finished, ok := s.framesOf(ctx, buf)
	if !ok {
		return
	}
	var result allAnswer
	for _, f := range frames {
		var err error
		if result.Keys, result.Subscribers, err = s.publishFrameAll(f); err != nil {
			s.refusePublish(ctx, err)
			return
		}
		if finished {
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

// mediaType is the type of a Content-Type (RFC 9110, 8.3), in lower case, or all
// of it if that is none or not in UTF-8.
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

// plain reports whether the body is as it was made, and answers the request if
// it is compressed.
func (s *Server) plain(ctx *fasthttp.RequestCtx) bool {
	enc := ctx.Request.Header.ContentEncoding()
	if len(enc) == 0 || bytes.EqualFold(enc, []byte("identity")) {
		return true
	}
	s.metrics.publishFails.Inc()
	fail(ctx, fasthttp.StatusUnsupportedMediaType, "Content-Encoding", fmt.Sprintf("%q is not supported: send the body as it is", enc))
	return false
}

// framesOf makes the frames of a publish body in buf, all of them before the
// first is published. finished is set if the publisher had encoded them. It
// answers the request itself on an error.
func (s *Server) framesOf(ctx *fasthttp.RequestCtx, buf *[]byte) (frames []codec.Frame, finished, ok bool) {
	if !s.plain(ctx) {
		return nil, false, false
	}
	body := ctx.PostBody()
	var err error
	t := mediaType(string(ctx.Request.Header.ContentType()))
	switch t {
	case typeJSON, typeText:
		ev := codec.Event{Data: body}
		if t == typeJSON {
			ev, err = codec.DecodeJSON(body)
		}
		frames = make([]codec.Frame, 1)
		if err == nil {
			frames[0], err = s.encode(buf, ev)
		}
	case typeFrames:
		frames, *buf, err = codec.ParseFrames(frames, *buf, body, !s.settings.Load().PlainIDs)
		for i := 0; err == nil && i < len(frames); i++ {
			err = s.checkSize(frames[i])
		}
	default:
		s.metrics.publishFails.Inc()
		fail(ctx, fasthttp.StatusUnsupportedMediaType, "Content-Type",
			fmt.Sprintf("%q is not a type to publish: send %s (a string or an object with data, event, id, retry), %s (the data) or %s (finished events), in UTF-8", t, typeJSON, typeText, typeFrames))
		return nil, false, false
	}
	if err != nil {
		s.refusePublish(ctx, err)
		return nil, false, false
	}
	return frames, t == typeFrames, true
}

// command is a line of a batch, besides the members of the event.
type command struct{ op, key string }

// commandOptions take names as they are, the last of equal ones; bytes that are
// not UTF-8 were refused before, so that what is allowed is an escaped lone
// surrogate, which becomes U+FFFD as everywhere.
var commandOptions = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// commandOf reads op and key of a line that is a valid JSON object. Not by
// json.Unmarshal, which would take "Key" for key.
func commandOf(line []byte) (c command, err error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(line), commandOptions...)
	if _, err := dec.ReadToken(); err != nil {
		return c, err
	}
	for dec.PeekKind() == '"' {
		token, err := dec.ReadToken()
		if err != nil {
			return c, err
		}
		var v *string
		switch token.String() {
		case "op":
			v = &c.op
		case "key":
			v = &c.key
		default:
			if err := dec.SkipValue(); err != nil {
				return c, err
			}
			continue
		}
		name := token.String()
		switch dec.PeekKind() {
		case '"', 'n':
		default:
			return c, &codec.Error{Field: name, Offset: int(dec.InputOffset()), Reason: "must be a string"}
		}
		if token, err = dec.ReadToken(); err != nil {
			return c, err
		}
		if *v = ""; token.Kind() == '"' {
			*v = token.String()
		}
	}
	return c, nil
}

// serveBatch runs a body of NDJSON commands in order and answers a line for
// each. A line that fails does not stop those behind it.
func (s *Server) serveBatch(ctx *fasthttp.RequestCtx) {
	if !s.plain(ctx) {
		return
	}
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
	if text[0] != '{' {
		return nil, &codec.Error{Field: "line", Offset: 0, Reason: "must be an object with op, key, data, event, id, retry"}
	}
	ev, err := codec.DecodeJSON(text)
	if err != nil {
		return nil, err
	}
	c, err := commandOf(text)
	if err != nil {
		return nil, err
	}
	if c.key, err = s.publishKey(c.key); err != nil {
		return nil, err
	}
	switch c.op {
	case "", "publish", "publishAll":
	case "close":
		return closedAnswer{s.eng.CloseKey(c.key)}, nil
	case "closeAll":
		return closedAnswer{s.eng.CloseAll()}, nil
	default:
		return nil, &codec.Error{Field: "op", Offset: -1, Reason: fmt.Sprintf("%q is unknown: use publish, publishAll, close or closeAll", c.op)}
	}
	buf := scratch.Get()
	defer scratch.Put(buf)
	f, err := s.encode(buf, ev)
	if err != nil {
		return nil, err
	}
	if c.op == "publishAll" {
		keys, subscribers, err := s.publishFrameAll(f)
		return allAnswer{Keys: keys, Subscribers: subscribers}, err
	}
	p, err := s.publishFrame(c.key, f)
	return publishAnswer{ID: idOf(f, p), Subscribers: p.Subscribers}, err
}
