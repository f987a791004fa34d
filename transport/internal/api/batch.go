package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/goccy/go-json"
	"github.com/goccy/go-json/jsontext"
	"github.com/valyala/fasthttp"

	"fanfare/auth"
	"fanfare/cluster"
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
	// repeat is the idempotencyKey, and repeated is set if there is one.
	repeat   string
	repeated bool
}

// commandOptions: of equal names the last counts. Bytes that are not UTF-8 were
// refused before; what AllowInvalidUTF8 lets pass is an escaped lone surrogate,
// which becomes U+FFFD as everywhere.
var commandOptions = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// commandOf reads op, key, frame and idempotencyKey of a line that is a valid JSON object. It does
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
		case memberRepeat:
			v = &c.repeat
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
		case &c.repeat:
			c.repeated = token.Kind() == '"'
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
// each. A line that fails, since the sender has no right to it for instance, does not
// stop those after it. A batch over the sender's rate is refused as a whole.
func (a *API) serveBatch(ctx *fasthttp.RequestCtx, who auth.Publisher) {
	c := a.config.Load()
	b, ok := a.readBody(ctx, c.MaxBodyBytes)
	if !ok {
		return
	}
	n := countLines(b.bytes)
	if n > c.MaxBatchLines {
		b.release()
		a.refuse(ctx, route{method: fasthttp.MethodPost}, tooManyLines("lines", n, c.MaxBatchLines))
		return
	}
	if !a.admit(ctx, who, n) {
		b.release()
		return
	}
	ctx.SetContentType("application/x-ndjson")
	answers := &batch{api: a, who: who, body: b, rest: b.bytes, remote: c.Proxies.ClientOf(ctx), conn: ctx.Conn(), began: time.Now()}
	if ctx.Request.Header.IsHTTP11() {
		ctx.SetBodyStream(answers, -1)
		return
	}
	// HTTP/1.0 has no chunks: the answer needs a length.
	all, _ := io.ReadAll(answers) // it has no errors
	_ = answers.Close()
	ctx.SetBody(all)
}

func countLines(text []byte) int {
	n := bytes.Count(text, []byte("\n"))
	if len(text) > 0 && text[len(text)-1] != '\n' {
		n++
	}
	return n
}

func tooManyLines(what string, n, most int) *problem {
	return &problem{status: fasthttp.StatusRequestEntityTooLarge, field: "maxBatchLines", text: fmt.Sprintf("the body has %d %s, more than %d (maxBatchLines): send fewer at once, or raise the limit", n, what, most)}
}

// batch is the answer to a batch, an io.ReadCloser. It runs the commands as the
// client takes the answers, so that few answers are kept at a time. The whole body
// arrived before the first command ran, so a batch that arrived is always run to its
// end: what the client does not read any more is run by Close. It belongs to the
// goroutine that writes the answer.
type batch struct {
	api    *API
	who    auth.Publisher
	body   body
	rest   []byte // of the body
	out    []byte // answers
	at     int    // how many bytes of out Read has returned
	line   int
	failed int
	first  failure // the first line that failed
	halted bool    // the log has not stored an event: no later one is published
	remote string  // the client's address

	conn   net.Conn
	began  time.Time // of the writing, which a slow client must not make last
	ran    time.Duration
	length int // bytes of answers
}

// The answers are made a few at a time.
const answersAtOnce = 32 << 10

func (b *batch) Read(p []byte) (int, error) {
	if b.at == len(b.out) {
		start := time.Now()
		b.out, b.at = b.out[:0], 0
		for len(b.out) < answersAtOnce && b.next() {
		}
		// The time of the commands is not the client's.
		b.ran += time.Since(start)
		b.length += len(b.out)
		_ = b.conn.SetWriteDeadline(b.began.Add(b.ran + answerTime + time.Duration(b.length)*time.Second/minBodyRate))
	}
	if len(b.out) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.out[b.at:])
	b.at += n
	return n, nil
}

// answerTime is how long a client may take besides the time that the length of the
// answer allows.
const answerTime = 10 * time.Second

// next runs the next command, or the next run of commands, and appends the answers to
// out. It returns false at the end.
func (b *batch) next() bool {
	if b.api.backplane != nil {
		return b.nextRun()
	}
	text, ok := b.nextLine()
	if !ok {
		return false
	}
	result, repeatable, err := b.api.run(text, b.who)
	b.answer(b.line, result, repeatable, err)
	return true
}

// nextLine returns the next line that is not blank.
func (b *batch) nextLine() (text []byte, ok bool) {
	for len(text) == 0 {
		if len(b.rest) == 0 {
			return nil, false
		}
		text, b.rest, _ = bytes.Cut(b.rest, []byte("\n"))
		b.line++
		text = bytes.TrimSpace(text)
	}
	return text, true
}

// answer appends the answer of a line to out. repeatable says that the line has an idempotencyKey.
func (b *batch) answer(number int, result any, repeatable bool, err error) {
	if err != nil {
		b.api.metrics.PublishFails.Inc()
		_, f := describe(err, repeatable)
		var denied *auth.Denied
		if errors.As(err, &denied) {
			b.api.metrics.Denied(f.Code)
		}
		f.Line = number
		result = f
		if b.failed++; b.failed == 1 {
			b.first = f
		}
	}
	line, err := json.Marshal(result)
	if err != nil {
		line = []byte(`{"error":"the answer could not be encoded"}`)
	}
	b.out = append(append(b.out, line...), '\n')
}

// Close ends the answer.
func (b *batch) Close() error {
	for b.out = b.out[:0]; b.next(); b.out = b.out[:0] {
	}
	b.out = nil
	b.body.release()
	if b.failed > 0 { // the answer's status is 200, for which logFailure logs nothing
		b.api.log.Refused(clientlog.Refusal{
			Kind: "batch " + b.first.Field, Listener: "admin", Status: fasthttp.StatusOK, Method: fasthttp.MethodPost, Path: "/batch",
			Reason: fmt.Sprintf("lines refused: %d; the first is line %d: %s", b.failed, b.first.Line, b.first.Error), Remote: b.remote,
		})
	}
	b.failed = 0
	return nil
}

// mayRun decides whether the sender may run the command, whose key has been resolved.
func (c *command) mayRun(who auth.Publisher) error {
	switch c.op {
	case "publishAll":
		return who.Check(auth.RightPublishAll)
	case "close":
		return who.Check(auth.RightClose, c.key)
	case "closeAll":
		return who.Check(auth.RightClose)
	case "count":
		return who.Check(auth.RightRead, c.key)
	case "countAll":
		return who.Check(auth.RightRead)
	}
	return who.Check(auth.RightPublish, c.key)
}

// parse reads one command of a sender, and decides whether the sender may run it.
func (a *API) parse(text []byte, who auth.Publisher) (c command, ev codec.Event, err error) {
	if text[0] != '{' {
		return c, ev, &codec.Error{Field: "line", Offset: 0, Reason: "must be an object with op, key and data, event, id, retry or frame"}
	}
	if ev, err = codec.DecodePublish(text, "key", "op", "frame", memberRepeat); err != nil {
		return c, ev, err
	}
	if c, err = commandOf(text); err != nil {
		return c, ev, err
	}
	if err = c.misplaced(); err != nil {
		return c, ev, err
	}
	if err = c.checkMember(); err != nil {
		return c, ev, err
	}
	if c.key, err = a.checkKey(c.key); err != nil {
		return c, ev, err
	}
	if err = c.mayRun(who); err != nil {
		return c, ev, err
	}
	switch c.op {
	case "", "publish", "publishAll", "close", "closeAll", "count", "countAll":
		return c, ev, nil
	}
	return c, ev, &codec.Error{Field: "op", Offset: -1, Reason: fmt.Sprintf("%q is unknown: use publish, publishAll, close, closeAll, count or countAll", clientlog.Cut(c.op))}
}

// publishes reports whether the command publishes an event.
func (c *command) publishes() bool { return c.op == "" || c.op == "publish" || c.op == "publishAll" }

// act runs a command that publishes nothing.
func (a *API) act(c *command) any {
	switch c.op {
	case "close", "closeAll":
		n, _, f := a.askAll(cluster.Question{Op: c.op, Key: c.key})
		return closedAnswer{n, f}
	}
	n, _, f := a.askAll(cluster.Question{Op: c.op, Key: c.key})
	return countAnswer{n, f}
}

// messageOf makes the message of a command that publishes, with its frame in buf.
func (a *API) messageOf(buf *[]byte, c *command, ev codec.Event, who auth.Publisher) (m Message, err error) {
	if m.Frame, err = a.frameOf(buf, c, ev); err != nil {
		return m, err
	}
	if m.All = c.op == "publishAll"; !m.All {
		m.Key = c.key
	}
	m.ID = messageID(who, m.All, m.Key, c.repeat, 0)
	return m, nil
}

// run runs one command of a sender without a backplane. repeatable says that it has an idempotencyKey.
func (a *API) run(text []byte, who auth.Publisher) (result any, repeatable bool, err error) {
	c, ev, err := a.parse(text, who)
	if err != nil {
		return nil, false, err
	}
	if !c.publishes() {
		return a.act(&c), false, nil
	}
	buf := scratch.Get()
	defer scratch.Put(buf)
	m, err := a.messageOf(buf, &c, ev, who)
	if err != nil {
		return nil, false, err
	}
	r := a.publishOne(&m)
	return answerOf(&m, &r), c.repeated, r.Err
}

// answerOf is the answer to a line that publishes.
func answerOf(m *Message, r *Receipt) any {
	more := published{Stored: stored(r, nil), Duplicate: r.Duplicate}
	if m.All {
		return allAnswer{Keys: r.Keys, Subscribers: r.Subscribers, published: more}
	}
	return publishAnswer{ID: r.ID, Subscribers: r.Subscribers, published: more}
}

// frameOf makes the frame of a command in buf: from the members of its event, or
// from the finished event that its publisher has made.
func (a *API) frameOf(buf *[]byte, c *command, ev codec.Event) (codec.Frame, error) {
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
