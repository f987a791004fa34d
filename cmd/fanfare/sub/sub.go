package sub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"fanfare/cmd/fanfare/remote"
	"fanfare/codec"
)

const (
	// defaultRetry is the reconnection delay if the server sends none. longestRetry bounds its growth.
	defaultRetry = time.Second
	longestRetry = 30 * time.Second
	// answerTimeout is how long a server may take to send the head of its response.
	answerTimeout = 30 * time.Second
	// stableAfter is how long a stream without events must last to count as a success.
	stableAfter = 5 * time.Second
)

// Run runs the command. It prints events to out, and notes about the connection to notes. It returns nil when ctx ends, after
// Options.Count events, or at Options.Timeout if there is no count. Errors in the options are of type *remote.UsageError.
func Run(ctx context.Context, o Options, out, notes io.Writer) error {
	target, fields, err := o.target()
	if err != nil {
		return err
	}
	t, err := o.TLS.Transport(target)
	if err != nil {
		return err
	}
	t.DisableCompression = true
	t.ResponseHeaderTimeout = answerTimeout
	remote.UseSocket(t, target)
	w := &watcher{
		o: o, url: target, fields: fields, http: &http.Client{Transport: t},
		show: newPrinter(o, out, notes), lastID: o.Since, retry: defaultRetry, began: time.Now(),
	}
	defer t.CloseIdleConnections()
	w.parser.MaxBytes = o.MaxBytes
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.Timeout, errTimeout)
		defer cancel()
	}
	err = w.watch(ctx)
	w.show.summary(w.streams)
	switch {
	case context.Cause(ctx) == errTimeout && o.Count > 0 && w.show.events < o.Count:
		return fmt.Errorf("only %d of %d events arrived within %s", w.show.events, o.Count, o.Timeout)
	case ctx.Err() != nil, errors.Is(err, errEnough):
		err = nil
	}
	return errors.Join(err, w.show.flush())
}

var (
	errTimeout = errors.New("the time is over")
	errEnough  = errors.New("enough events")
)

// watcher is one run of the command. It belongs to one goroutine.
type watcher struct {
	o      Options
	url    *url.URL
	fields http.Header
	http   *http.Client
	show   *printer
	parser codec.Parser

	lastID  string        // to resume from
	retry   time.Duration // the server's reconnection delay
	streams int           // opened so far
	pauses  remote.Backoff
	began   time.Time
}

// fatal is an error for which another attempt is of no use.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

// watch follows one stream after another.
func (w *watcher) watch(ctx context.Context) error {
	for {
		pause, err := w.once(ctx)
		var f fatal
		switch {
		case ctx.Err() != nil, errors.Is(err, errEnough):
			return err
		case errors.As(err, &f):
			return f.error
		case w.streams > 0 && !w.o.Reconnect:
			w.show.note("the stream has ended: %v", err)
			return nil
		case w.streams == 0 && time.Since(w.began)+pause > w.o.Wait:
			return err
		}
		w.show.trouble("%v; next try in %s", err, pause.Round(10*time.Millisecond))
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// once opens a stream and follows it to its end. It returns why the stream ended, and the pause before the next attempt.
func (w *watcher) once(ctx context.Context) (pause time.Duration, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, pause, err := w.open(ctx)
	if err != nil {
		return max(pause, w.nextPause()), err
	}
	defer resp.Body.Close()
	opened, before := time.Now(), w.show.events
	w.streams++
	w.show.connected(w.url, w.lastID, w.streams > 1)
	err = w.follow(resp.Body)
	if w.show.events > before || time.Since(opened) > stableAfter {
		w.pauses.Reset()
	}
	if d, ok := w.parser.Retry(); ok {
		w.retry = d
	}
	return w.nextPause(), err
}

// nextPause is the server's reconnection delay at first. It grows with each failure in a row.
func (w *watcher) nextPause() time.Duration {
	w.pauses.First, w.pauses.Max = max(w.retry, time.Millisecond), max(w.retry, longestRetry)
	return w.pauses.Next()
}

// open sends the request. A response that is not a stream is an error; pause is then the delay that the server asks for.
func (w *watcher) open(ctx context.Context) (_ *http.Response, pause time.Duration, err error) {
	target := *w.url
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, 0, fatal{err}
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Cache-Control", "no-cache")
	req.Header.Set("User-Agent", "fanfare-sub")
	for name, values := range w.fields {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if w.lastID != "" {
		w.setLastID(req)
	}
	resp, err := w.http.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot reach %s: %s", remote.Show(w.url), remote.Explain(err))
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode == http.StatusOK && kind == "text/event-stream" {
		return resp, 0, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	why := fmt.Errorf("%s answered %s: %s", remote.Show(w.url), resp.Status, clean(strings.TrimSpace(string(text))))
	switch {
	case resp.StatusCode == http.StatusOK:
		hint := ""
		if w.url.Path == "" || w.url.Path == "/" {
			hint = "; the default path of streams is /stream: try " + remote.Show(w.url.JoinPath("stream"))
		}
		return nil, 0, fatal{fmt.Errorf("%s is not an event stream: its type is %q%s", remote.Show(w.url), resp.Header.Get("Content-Type"), hint)}
	case resp.StatusCode == http.StatusNoContent:
		return nil, 0, fatal{fmt.Errorf("%s answered 204, which asks clients not to reconnect", remote.Show(w.url))}
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return nil, time.Duration(min(max(seconds, 0), 3600)) * time.Second, why
	}
	return nil, 0, fatal{why}
}

// setLastID sets the id to resume from: in the header, or in the query if the id has bytes that a header must not have.
func (w *watcher) setLastID(req *http.Request) {
	if strings.ContainsFunc(w.lastID, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		query := req.URL.Query()
		query.Set("lastEventId", w.lastID)
		req.URL.RawQuery = query.Encode()
		return
	}
	req.Header.Set("Last-Event-ID", w.lastID)
}

// follow prints the events of a stream until it ends.
func (w *watcher) follow(body io.Reader) error {
	w.parser.Reset()
	w.show.begin()
	enough := false
	buf := make([]byte, 64<<10)
	for {
		n, err := body.Read(buf)
		parseErr := w.parser.Feed(buf[:n], func(m codec.Message) {
			if !enough {
				w.show.event(m)
				enough = w.o.Count > 0 && w.show.events >= w.o.Count
			}
		})
		if id := w.parser.LastEventID(); id != nil {
			w.lastID = string(id)
		}
		if flushErr := w.show.flush(); flushErr != nil {
			return fatal{flushErr}
		}
		switch {
		case enough:
			return errEnough
		case parseErr != nil:
			return fatal{fmt.Errorf("%w: raise --max-bytes", parseErr)}
		case errors.Is(err, io.EOF):
			return errors.New("the server ended the stream")
		case err != nil:
			return fmt.Errorf("the connection was lost: %s", remote.Explain(err))
		}
	}
}
