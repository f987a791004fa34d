package api

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/goccy/go-json"
	"github.com/goccy/go-json/jsontext"
	"github.com/valyala/fasthttp"

	"fanfare/codec"
	"fanfare/transport/internal/clientlog"
)

// command is a line of a batch, besides the members of the event.
type command struct {
	op, key string
	// frame is a finished event in place of the members. framed is set if there is
	// one, and member then names a member that is present as well.
	frame  string
	framed bool
	member string
	// keyed is set if there is a key, data if there is data.
	keyed, data bool
}

// commandOptions: of equal names the last counts. Bytes that are not UTF-8 were
// refused before; what AllowInvalidUTF8 lets pass is an escaped lone surrogate,
// which becomes U+FFFD as everywhere.
var commandOptions = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// commandOf reads op, key and frame of a line that is a valid JSON object. It does
// not use json.Unmarshal, which would take "Key" for key.
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
		case "frame":
			v = &c.frame
		default:
			switch name := token.String(); name {
			case "data", "event", "id", "retry":
				c.member, c.data = name, c.data || name == "data"
			}
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
		switch v {
		case &c.frame:
			c.framed = token.Kind() == '"'
		case &c.key:
			c.keyed = token.Kind() == '"'
		}
	}
	return c, nil
}

// misplaced refuses members that the op would silently ignore: a key where all keys
// are meant, and an event where nothing is published.
func (c *command) misplaced() error {
	switch c.op {
	case "publishAll", "closeAll", "countAll":
		if c.keyed {
			return &codec.Error{Field: "key", Offset: -1, Reason: fmt.Sprintf("cannot be used with the op %s, which acts on all keys: remove it, or use the op %s", c.op, strings.TrimSuffix(c.op, "All"))}
		}
	}
	switch c.op {
	case "close", "closeAll", "count", "countAll":
		field := ""
		if c.framed {
			field = "frame"
		} else if c.data {
			field = "data"
		}
		if field != "" {
			return &codec.Error{Field: field, Offset: -1, Reason: fmt.Sprintf("cannot be used with the op %s, which does not publish: publish it in a line of its own", c.op)}
		}
	}
	return nil
}

// serveBatch runs a body of NDJSON commands in order and answers a line for
// each. A line that fails does not stop those after it.
func (a *API) serveBatch(ctx *fasthttp.RequestCtx) {
	if !a.plain(ctx) {
		return
	}
	var out []byte
	line, failed := 0, 0
	var first failure
	for rest := ctx.PostBody(); len(rest) > 0; {
		var text []byte
		text, rest, _ = bytes.Cut(rest, []byte("\n"))
		line++
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		result, err := a.run(text)
		if err != nil {
			a.metrics.PublishFails.Inc()
			_, f := describe(err)
			f.Line = line
			result = f
			if failed++; failed == 1 {
				first = f
			}
		}
		b, err := json.Marshal(result)
		if err != nil {
			b = []byte(`{"error":"the answer could not be encoded"}`)
		}
		out = append(append(out, b...), '\n')
	}
	if failed > 0 { // the answer's status is 200, for which logFailure logs nothing
		a.log.Refused(clientlog.Refusal{
			Kind: "batch " + first.Field, Listener: "admin", Status: fasthttp.StatusOK, Method: fasthttp.MethodPost, Path: "/batch",
			Reason: fmt.Sprintf("lines refused: %d; the first is line %d: %s", failed, first.Line, first.Error),
			Remote: a.config.Load().Proxies.ClientOf(ctx),
		})
	}
	ctx.SetContentType("application/x-ndjson")
	ctx.SetBody(out)
}

// run runs one command.
func (a *API) run(text []byte) (any, error) {
	if text[0] != '{' {
		return nil, &codec.Error{Field: "line", Offset: 0, Reason: "must be an object with op, key and data, event, id, retry or frame"}
	}
	ev, err := codec.DecodePublish(text, "key", "op", "frame")
	if err != nil {
		return nil, err
	}
	c, err := commandOf(text)
	if err != nil {
		return nil, err
	}
	if err := c.misplaced(); err != nil {
		return nil, err
	}
	if c.key, err = a.checkKey(c.key); err != nil {
		return nil, err
	}
	switch c.op {
	case "", "publish", "publishAll":
	case "close":
		return closedAnswer{a.eng.CloseKey(c.key)}, nil
	case "closeAll":
		return closedAnswer{a.eng.CloseAll()}, nil
	case "count":
		return countAnswer{a.eng.Count(c.key)}, nil
	case "countAll":
		return countAnswer{a.eng.CountAll()}, nil
	default:
		return nil, &codec.Error{Field: "op", Offset: -1, Reason: fmt.Sprintf("%q is unknown: use publish, publishAll, close, closeAll, count or countAll", c.op)}
	}
	buf := scratch.Get()
	defer scratch.Put(buf)
	f, err := a.frameOf(buf, c, ev)
	if err != nil {
		return nil, err
	}
	if c.op == "publishAll" {
		keys, subscribers, err := a.publishAll(f)
		return allAnswer{Keys: keys, Subscribers: subscribers}, err
	}
	p, err := a.publish(c.key, f)
	return publishAnswer{ID: idOf(f, p), Subscribers: p.Subscribers}, err
}

// frameOf makes the frame of a command in buf: from the members of its event, or
// from the finished event that its publisher has made.
func (a *API) frameOf(buf *[]byte, c command, ev codec.Event) (codec.Frame, error) {
	switch {
	case !c.framed:
		return a.encode(buf, ev)
	case c.member != "":
		return codec.Frame{}, &codec.Error{Field: "frame", Offset: -1, Reason: fmt.Sprintf("is the whole event, and %s is present as well: send one of them", c.member)}
	}
	f, out, err := codec.ParseFrame(*buf, []byte(c.frame), !a.config.Load().PlainIDs)
	if err != nil {
		return codec.Frame{}, err
	}
	*buf = out
	return f, a.check(f, string(codec.EventName(f.Bytes)))
}
