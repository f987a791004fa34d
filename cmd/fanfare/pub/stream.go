package pub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"time"

	"fanfare/cmd/fanfare/remote"
)

const (
	// batchBytes and batchLines bound one request. Lines that arrive during a request form the next batch. So a fast pipe makes
	// large batches, and a line of a slow pipe never waits for others. batchLines is half of a server's default history, so
	// that a single request cannot overtake a subscriber.
	batchBytes = 256 << 10
	batchLines = 512
	// flushTimeout bounds the time, after an interrupt, to publish the lines that were read before it.
	flushTimeout = 5 * time.Second
)

// item is a line of a batch.
type item struct {
	line int // of the input, from 1
	body []byte
}

// stream publishes the lines of in, in their order.
func (p *publisher) stream(ctx context.Context, in io.Reader) error {
	q := newQueue()
	// A read of a pipe cannot be interrupted. The reading goroutine is abandoned, and ends when it finds the queue closed.
	stop := context.AfterFunc(ctx, q.close)
	defer stop()
	durable := p.client.durable(ctx)
	go func() { q.end(p.read(in, q, durable)) }()

	// The lines that were read before an interrupt are still published.
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(flushTimeout, cancel) })()

	lines := 0
	for {
		batch, err := q.take()
		for _, r := range batch {
			lines++
			if r.refusal != "" {
				p.refuse(r.line, r.refusal)
			}
		}
		if err := p.send(sending, batch.items()); err != nil {
			return err
		}
		if err := p.out.Flush(); err != nil {
			return err
		}
		if len(batch) == 0 {
			if err != nil {
				return fmt.Errorf("standard input: %w", err)
			}
			break
		}
	}
	if p.refused > 0 {
		return fmt.Errorf("%d of %d lines were refused", p.refused, lines)
	}
	return nil
}

// byteOffset matches the end of a server's error that has a position in the line of the batch, which is not the line of the
// input.
var byteOffset = regexp.MustCompile(` \(byte \d+\)$`)

// send publishes a batch, and repeats the lines that the server has not stored, for the time of --repeat.
func (p *publisher) send(ctx context.Context, batch []item) error {
	var pauses remote.Backoff
	for until := time.Now().Add(p.o.Repeat); len(batch) > 0; {
		later, why, err := p.sendOnce(ctx, batch)
		if err != nil || len(later) == 0 {
			return err
		}
		pause := pauses.Next()
		first, last := later[0].line, later[len(later)-1].line
		if time.Now().Add(pause).After(until) || ctx.Err() != nil {
			return fmt.Errorf("lines %d to %d may or may not have been published, later lines were not: %s", first, last, why)
		}
		if p.repeating != first {
			fmt.Fprintf(p.errs, "fanfare: line %d: %s; repeating for %s\n", first, why, time.Until(until).Round(time.Second))
		}
		p.repeating = first
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
		batch = later
	}
	return nil
}

// sendOnce publishes a batch. It returns the lines that may be published later, and why: after the first line that the server has
// not stored, all that have failed. It sends a batch that is too large for the server in halves.
func (p *publisher) sendOnce(ctx context.Context, batch []item) (later []item, why string, err error) {
	var body []byte
	for _, it := range batch {
		body = append(append(body, it.body...), '\n')
	}
	text, err := p.client.post(ctx, request{target: "/batch", contentType: "application/x-ndjson", body: body})
	first, last := batch[0].line, batch[len(batch)-1].line
	switch {
	case tooLarge(err) && len(batch) == 1:
		p.refuse(first, err.Error())
		return nil, "", nil
	case tooLarge(err):
		half := len(batch) / 2
		if err := p.send(ctx, batch[:half]); err != nil {
			return nil, "", err
		}
		return nil, "", p.send(ctx, batch[half:])
	case uncertain(err):
		return nil, "", fmt.Errorf("lines %d to %d may or may not have been published, later lines were not: %w", first, last, err)
	case err != nil:
		return nil, "", fmt.Errorf("lines %d to %d and all later lines were not published: %w", first, last, err)
	}
	answers := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	if len(answers) != len(batch) {
		return nil, "", fmt.Errorf("lines %d to %d: the server answered %d of %d lines", first, last, len(answers), len(batch))
	}
	for i, text := range answers {
		var a answer
		switch err := json.Unmarshal(text, &a); {
		case err != nil:
			return nil, "", fmt.Errorf("line %d: the server's answer cannot be read: %w", batch[i].line, err)
		case a.later() || a.Error != "" && len(later) > 0: // one that was refused for another reason is refused again
			if later = append(later, batch[i]); len(later) == 1 {
				why = a.Error
			}
		case a.Error != "":
			p.refuse(batch[i].line, byteOffset.ReplaceAllString(a.Error, ""))
		default:
			p.print(batch[i].line, a, text)
		}
	}
	return later, why, nil
}

// read puts the lines of in into q, each as a line of a batch or with the reason why it is refused. With keyed, each has an
// Idempotency-Key.
func (p *publisher) read(in io.Reader, q *queue, keyed bool) error {
	lines := newLines(in, p.o.MaxBytes)
	for n := 1; ; n++ {
		text, err := lines.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errTooLong):
			err = fmt.Errorf("is longer than %d bytes: raise --max-bytes, or split the line", p.o.MaxBytes)
		case err != nil:
			return err
		}
		r := read{item: item{line: n}}
		if err == nil {
			if p.o.NDJSON && len(bytes.TrimSpace(text)) == 0 {
				continue
			}
			key := ""
			if keyed {
				key = p.key + "-" + strconv.Itoa(n)
			}
			r.body, err = p.line(text, key)
		}
		if err != nil {
			r.refusal = err.Error()
		}
		if !q.put(r) {
			return nil
		}
	}
}

// line converts a line of the input to a line of a batch, with this Idempotency-Key unless it is "".
func (p *publisher) line(text []byte, key string) ([]byte, error) {
	if err := checkText("the line", string(text)); err != nil {
		return nil, err
	}
	e := p.o.template()
	e.Repeat = key
	if p.o.Lines {
		data := string(text)
		e.Data = &data
		return encode(e)
	}
	if !json.Valid(text) {
		return nil, fmt.Errorf("is not valid JSON: %s", jsonProblem(text))
	}
	text = bytes.TrimSpace(text)
	switch text[0] {
	case '"':
		if p.o.Key == "" && !p.o.All {
			return nil, errors.New("is a string, which has no key: give KEY, or write an object with key and data")
		}
		head, err := encode(e)
		return append(splice(head, []byte(`"data":`)), append(bytes.Clone(text), '}')...), err
	case '{':
	default:
		return nil, errors.New("must be a string or an object with data, event, id, retry, key")
	}
	if key != "" || p.o.Key == "" && !p.o.All {
		var members map[string]json.RawMessage // a map, because names are case-sensitive to the server
		if err := json.Unmarshal(text, &members); err != nil {
			return nil, err
		}
		op := string(members["op"])
		if p.o.Key == "" && !p.o.All && members["key"] == nil && op != `"publishAll"` && op != `"closeAll"` && op != `"countAll"` {
			return nil, errors.New("has no key: give KEY, or add the member key")
		}
		if op != "" && op != `"publish"` && op != `"publishAll"` {
			e.Repeat = "" // it publishes nothing
		}
	}
	// The last of several members with the same name counts, so those of the line override the options.
	head, err := encode(e)
	return splice(head, bytes.TrimLeft(text[1:], " \t\r\n")), err
}

// splice appends rest, the members of an object up to its brace, to the members of the object head.
func splice(head, rest []byte) []byte {
	open := bytes.TrimSuffix(head, []byte("}"))
	if len(open) > 1 && rest[0] != '}' {
		open = append(open, ',')
	}
	return append(open, rest...)
}

// jsonProblem says why text is not valid JSON.
func jsonProblem(text []byte) string {
	var v json.RawMessage
	err := json.Unmarshal(text, &v)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Sprintf("%s (byte %d)", syntax, syntax.Offset)
	}
	return fmt.Sprint(err)
}
