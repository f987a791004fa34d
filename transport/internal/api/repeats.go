package api

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"fanfare/auth"
	"fanfare/codec"
)

// A publisher that repeats a request, because it did not get the answer, sends the same Idempotency-Key with it. The event
// is then published once, and both answers have the same id. With a backplane the log recognizes the repetition by the
// message's ID, on whichever node it arrives. Without one repeats does, in the memory of this process.

// fieldRepeat is the header field of a request, memberRepeat the member of a line of a batch.
const (
	fieldRepeat  = "Idempotency-Key"
	memberRepeat = "idempotencyKey"
)

// maxRepeatKey bounds an Idempotency-Key, in bytes.
const maxRepeatKey = 255

// checkRepeatKey returns what is wrong with an Idempotency-Key, "" if nothing is. The characters are the visible ones of
// ASCII, which every HTTP library sends and every proxy passes on as they are.
func checkRepeatKey(key string) string {
	if key == "" {
		return "is empty: send a value of your own for each event, such as a random UUID, or leave it out"
	}
	if len(key) > maxRepeatKey {
		return fmt.Sprintf("has %d bytes, more than %d: use a shorter value", len(key), maxRepeatKey)
	}
	for i := range len(key) {
		if c := key[i]; c <= ' ' || c > '~' {
			return fmt.Sprintf("has the byte 0x%02x at offset %d: use visible ASCII characters without spaces", c, i)
		}
	}
	return ""
}

// checkRepeatField decides about the Idempotency-Key field of a request. A batch has one for each line, and a
// request that publishes nothing needs none.
func (r route) checkRepeatField(h *fasthttp.RequestHeader) *problem {
	values := h.PeekAll(fieldRepeat)
	if len(values) == 0 || !r.publishes {
		return nil
	}
	refused := func(text string) *problem {
		return &problem{status: fasthttp.StatusBadRequest, field: fieldRepeat, text: fieldRepeat + " " + text}
	}
	switch {
	case !r.typed:
		return refused("cannot be used with a batch, whose lines are events of their own: put the member " + memberRepeat + " into each line")
	case len(values) > 1:
		return refused(fmt.Sprintf("is given %d times: send it once", len(values)))
	}
	if reason := checkRepeatKey(string(values[0])); reason != "" {
		return refused(reason)
	}
	return nil
}

// repeatKeyOf returns the Idempotency-Key of a request, which checkRepeatField has found to be valid, or "".
func repeatKeyOf(ctx *fasthttp.RequestCtx) string {
	return string(ctx.Request.Header.Peek(fieldRepeat))
}

// checkMember refuses an idempotencyKey that is not valid, or where nothing is published.
func (c *command) checkMember() error {
	if !c.repeated {
		return nil
	}
	if c.op != "" && c.op != "publish" && c.op != "publishAll" {
		return &codec.Error{Field: memberRepeat, Offset: -1, Reason: fmt.Sprintf("cannot be used with the op %s, which does not publish: remove it", c.op)}
	}
	if reason := checkRepeatKey(c.repeat); reason != "" {
		return &codec.Error{Field: memberRepeat, Offset: -1, Reason: reason}
	}
	return nil
}

// messageID is the ID of a publisher's message with an Idempotency-Key, "" without one. index is the place of the event
// among those of a request. Keys of two publishers, of two keys of the server, or of an event of one key and one of all keys
// are different messages. The body is not part of it: a publisher that uses a key twice means the same event.
func messageID(who auth.Publisher, all bool, key, repeat string, index int) string {
	if repeat == "" {
		return ""
	}
	return hashOf("k:", who.Name, strconv.FormatBool(all), key, repeat, strconv.Itoa(index))
}

// hashOf is a short ID that other parts do not have.
func hashOf(prefix string, parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s,", len(part), part)
	}
	return prefix + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}

// repeats remembers the IDs of messages that were published, for a time. The zero value is ready for use.
type repeats struct {
	mu    sync.Mutex
	known map[string]*remembered
	order []*remembered // by age, the oldest first; some may not be in known any more
}

// remembered is a message that is being published, or was.
type remembered struct {
	id      string
	at      time.Time
	done    sync.WaitGroup // ends when receipt is set
	receipt Receipt
}

// limitRepeats is the setting that bounds the table.
const limitRepeats = "maxIdempotencyKeys"

// errRepeats says that the table is full.
var errRepeats = errors.New("too many events with an Idempotency-Key were published within the last seconds (maxIdempotencyKeys), and this one is not published: send it again later, or raise the limit")

// do publishes a message unless one with the same ID was published within the window. Of two at the same time, the second
// waits for the first. A message that failed is not remembered, though it counts until the window has passed.
// There are at most so many as most says: a new one is then refused, since to forget an older one would break the promise
// that its publisher was given.
func (t *repeats) do(id string, window time.Duration, most int, publish func() Receipt) Receipt {
	for {
		e, first, full := t.enter(id, window, most)
		if full {
			return Receipt{Err: errRepeats}
		}
		if first {
			return t.publish(e, publish)
		}
		e.done.Wait()
		if e.receipt.Err == nil {
			r := e.receipt
			r.Duplicate = true
			return r
		}
		// It has failed and is forgotten: try again.
	}
}

// enter returns the entry of an ID. first is set if the caller is to publish the message.
func (t *repeats) enter(id string, window time.Duration, most int) (e *remembered, first, full bool) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now.Add(-window))
	if e, known := t.known[id]; known {
		return e, false, false
	}
	if len(t.order) >= most {
		return nil, false, true
	}
	if t.known == nil {
		t.known = map[string]*remembered{}
	}
	e = &remembered{id: id, at: now}
	e.done.Add(1)
	t.known[id] = e
	t.order = append(t.order, e)
	return e, true, false
}

// publish publishes the message of an entry, and forgets the entry if that fails or panics.
func (t *repeats) publish(e *remembered, publish func() Receipt) Receipt {
	e.receipt.Err = errors.New("the message was not published")
	defer func() {
		if e.receipt.Err != nil {
			t.mu.Lock()
			delete(t.known, e.id)
			t.mu.Unlock()
		}
		e.done.Done()
	}()
	e.receipt = publish()
	return e.receipt
}

// expire forgets what is older than before. The caller holds mu.
func (t *repeats) expire(before time.Time) {
	n := 0
	for n < len(t.order) && t.order[n].at.Before(before) {
		if e := t.order[n]; t.known[e.id] == e {
			delete(t.known, e.id)
		}
		t.order[n] = nil
		n++
	}
	t.order = t.order[n:]
	if len(t.order) == 0 {
		t.order = nil
	}
}

// IdempotencyKeys is the number of IDs that count for Config.MaxIdempotencyKeys.
func (p *Publisher) IdempotencyKeys() int {
	t := &p.repeats
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(time.Now().Add(-p.config.Load().DuplicateWindow))
	return len(t.order)
}
