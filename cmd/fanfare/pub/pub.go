package pub

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"fanfare/cmd/fanfare/remote"
)

// Run runs the command. When ctx ends, it stops reading, publishes what it has read, and returns; that may take up to
// flushTimeout. It writes the answers to out, and a line for each refused event to errs. The returned error sums up the
// refusals. Errors in the options are of type *remote.UsageError.
func Run(ctx context.Context, o Options, in io.Reader, out, errs io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	c, err := newClient(o, errs)
	if err != nil {
		return err
	}
	defer c.http.CloseIdleConnections()
	p := &publisher{o: o, client: c, out: bufio.NewWriter(out), errs: errs, key: "pub-" + rand.Text()}
	if o.Lines || o.NDJSON {
		err = p.stream(ctx, in)
	} else {
		err = p.single(ctx, in)
	}
	return errors.Join(err, p.out.Flush())
}

type publisher struct {
	o       Options
	client  *client
	out     *bufio.Writer
	errs    io.Writer
	refused int    // lines
	key     string // begins the Idempotency-Keys of this run
	queued  bool   // it was reported that an event waits in the server
	// repeating is the first line of those that were repeated last, and reported.
	repeating int
}

// answer is the server's answer for one event.
type answer struct {
	ID          string `json:"id"`
	Subscribers *int   `json:"subscribers"`
	Closed      *int   `json:"closed"`
	Count       *int   `json:"count"`
	Stored      *bool  `json:"stored"` // false: it waits in the server
	Error       string `json:"error"`
	Code        string `json:"code"`
}

// Codes of a server that has not stored an event.
const (
	codeUnconfirmed = "unconfirmed" // perhaps it has
	codeAway        = "away"
	codeFull        = "full"
)

// later reports whether the event may be published later.
func (a *answer) later() bool {
	return a.Error != "" && (a.Code == codeUnconfirmed || a.Code == codeAway || a.Code == codeFull)
}

// event is the body of a publish request, or, with Key and Op, a line of a batch.
type event struct {
	Op    string  `json:"op,omitempty"`
	Key   string  `json:"key,omitempty"`
	Event string  `json:"event,omitempty"`
	ID    string  `json:"id,omitempty"`
	Retry int64   `json:"retry,omitempty"`
	Data  *string `json:"data,omitempty"`
	// Repeat is the Idempotency-Key, in a line of a batch.
	Repeat string `json:"idempotencyKey,omitempty"`
}

// template is an event with what the options say about every event. With a key, or --all, it is a line of a batch.
func (o *Options) template() event {
	e := event{Key: o.Key, Event: o.Event, ID: o.ID, Retry: o.Retry.Milliseconds()}
	if o.All {
		e.Op = "publishAll"
	}
	return e
}

// encode returns the event as JSON, without escapes for HTML.
func encode(e event) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(e)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// checkText refuses bytes that JSON would change.
func checkText(what, text string) error {
	for i, r := range text {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(text[i:]); n == 1 {
				return fmt.Errorf("%s is not valid UTF-8 (byte %d): send binary data as base64", what, i)
			}
		}
	}
	return nil
}

// single publishes one event.
func (p *publisher) single(ctx context.Context, in io.Reader) error {
	data := p.o.Data
	if !p.o.HasData {
		b, err := p.readAll(ctx, in)
		if err != nil {
			return err
		}
		data = string(bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r")))
	}
	if len(data) > p.o.MaxBytes {
		return fmt.Errorf("the data has more than %d bytes: shorten it, or raise --max-bytes", p.o.MaxBytes)
	}
	if err := checkText("the data", data); err != nil {
		return err
	}
	ev := p.o.template()
	ev.Op, ev.Key, ev.Data = "", "", &data
	body, err := encode(ev)
	if err != nil {
		return err
	}
	target := "/publish?key=" + url.QueryEscape(p.o.Key)
	if p.o.All {
		target = "/publishAll"
	}
	text, err := p.client.post(ctx, request{target: target, contentType: "application/json", body: body, key: p.key})
	switch {
	case uncertain(err):
		return fmt.Errorf("the event may or may not have been published: %w", err)
	case err != nil:
		return err
	}
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return fmt.Errorf("the answer of %s is not that of a publish API: %w", remote.Show(p.client.server), err)
	}
	p.print(0, a, text)
	return nil
}

// readAll reads standard input, up to the limit and a line end. A read of a pipe cannot be interrupted; if ctx ends, the
// reading goroutine is abandoned.
func (p *publisher) readAll(ctx context.Context, in io.Reader) ([]byte, error) {
	if remote.IsTerminal(in) {
		fmt.Fprintln(p.errs, "fanfare: reading the data from the terminal: press Ctrl-D at the beginning of a line to end it")
	}
	var b []byte
	var err error
	done := make(chan struct{}) // closed after b and err are set
	go func() {
		defer close(done)
		b, err = io.ReadAll(io.LimitReader(in, int64(p.o.MaxBytes)+2))
	}()
	select {
	case <-ctx.Done():
		return nil, errors.New("interrupted before the end of standard input: nothing was published")
	case <-done:
	}
	if err != nil {
		return nil, fmt.Errorf("standard input: %w", err)
	}
	if len(b) == 0 {
		return nil, errors.New("standard input is empty: nothing was published; for an event with empty data write fanfare pub KEY ''")
	}
	return b, nil
}

// print prints the server's answer for an event that it has published.
func (p *publisher) print(line int, a answer, text []byte) {
	if a.Stored != nil && !*a.Stored && !p.queued {
		p.queued = true
		fmt.Fprintln(p.errs, "fanfare: the server cannot reach its backplane: it keeps events in memory, and they are lost if it stops before it can store them")
	}
	switch {
	case p.o.JSON && line > 0:
		fmt.Fprintf(p.out, "{\"line\":%d,%s\n", line, bytes.TrimPrefix(bytes.TrimSpace(text), []byte("{")))
	case p.o.JSON:
		fmt.Fprintf(p.out, "%s\n", bytes.TrimSpace(text))
	case p.o.Verbose:
		n := ""
		switch {
		case a.Subscribers != nil:
			n = strconv.Itoa(*a.Subscribers)
		case a.Closed != nil:
			n = "closed " + strconv.Itoa(*a.Closed)
		case a.Count != nil:
			n = "count " + strconv.Itoa(*a.Count)
		}
		id := a.ID
		if id == "" {
			id = "-"
		}
		fmt.Fprintf(p.out, "%s %s\n", id, n)
	}
}

// maxRefusals is how many refused lines are reported one by one.
const maxRefusals = 20

// refuse counts a line that was not published, and reports the reason.
func (p *publisher) refuse(line int, why string) {
	p.refused++
	switch {
	case p.refused <= maxRefusals:
		fmt.Fprintf(p.errs, "fanfare: line %d: %s\n", line, why)
	case p.refused == maxRefusals+1:
		fmt.Fprintln(p.errs, "fanfare: more lines were refused; they are not listed")
	}
}

// statusError is an answer other than 200.
type statusError struct {
	status int
	text   string
	after  time.Duration // Retry-After, 0 without one
}

func (e *statusError) Error() string {
	switch e.status {
	case http.StatusUnauthorized:
		return e.text + " (set it by --token or FANFARE_PUBLISH_TOKEN)"
	}
	return e.text
}

// tooLarge reports whether the server refused a body of this size.
func tooLarge(err error) bool {
	var s *statusError
	return errors.As(err, &s) && s.status == http.StatusRequestEntityTooLarge
}
