package pub

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"fanfare/cmd/fanfare/remote"
)

// maxAnswer bounds the answer to one request. It has a line of about 100 bytes for each event.
const maxAnswer = 16 << 20

// client posts to the admin listener.
type client struct {
	http    *http.Client
	server  *url.URL
	token   string
	timeout time.Duration
	wait    time.Duration
	repeat  time.Duration
	errs    io.Writer
}

func newClient(o Options, errs io.Writer) (*client, error) {
	from := cmp.Or(o.serverFrom, "--server")
	u, err := remote.ParseURL(from, o.Server, defaultServer)
	if err != nil {
		return nil, err
	}
	if u.RawQuery != "" {
		return nil, remote.Usage("%s %q must not have a query: it is the address of the admin listener, such as %s", from, o.Server, defaultServer)
	}
	t, err := o.TLS.Transport(u)
	if err != nil {
		return nil, err
	}
	remote.UseSocket(t, u)
	return &client{
		http:   &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		server: u, token: o.Token, timeout: o.Timeout, wait: o.Wait, repeat: o.Repeat, errs: errs,
	}, nil
}

// request is what post sends.
type request struct {
	target, contentType string
	body                []byte
	key                 string // Idempotency-Key; "": none
}

// post sends a request and returns the body of the answer. It tries again while the server cannot be reached, for the time of
// --wait, while it cannot store the events, for the time of --repeat, and as long as it says that the publisher is too fast. The
// error is of type *statusError if the answer is not 200 or 202, and of type *uncertainError if the server may have published the
// events.
func (c *client) post(ctx context.Context, r request) ([]byte, error) {
	began := time.Now()
	deadline := began.Add(c.wait)
	var pauses remote.Backoff
	maybePublished := false // an attempt has reached the server, and its answer is unknown
	for logged := false; ; logged = true {
		text, err := c.once(ctx, r)
		if err == nil {
			return text, nil
		}
		var u *uncertainError
		if maybePublished = maybePublished || errors.As(err, &u); maybePublished && u == nil {
			err = &uncertainError{err}
		}
		if ctx.Err() != nil || !temporary(err) {
			return nil, err
		}
		pause, until := pauses.Next(), deadline
		var s *statusError
		if errors.As(err, &s) {
			switch s.status {
			case http.StatusTooManyRequests:
				pause, until = max(pause, s.after), latest(deadline, began.Add(c.timeout))
			case http.StatusServiceUnavailable:
				pause, until = max(pause, s.after), latest(deadline, began.Add(c.repeat))
			}
		}
		if time.Now().Add(pause).After(until) {
			return nil, err
		}
		if !logged {
			fmt.Fprintf(c.errs, "fanfare: %v; trying again for %s\n", err, time.Until(until).Round(time.Second))
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		case <-timer.C:
		}
	}
}

// maxRetryAfter bounds what a server may ask for, in seconds.
const maxRetryAfter = 24 * 60 * 60

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// uncertainError is a failure after which it is unknown whether the server has published the events.
type uncertainError struct{ err error }

func (e *uncertainError) Error() string { return e.err.Error() }

func (e *uncertainError) Unwrap() error { return e.err }

// uncertain reports whether the server may have published the events in spite of the error.
func uncertain(err error) bool {
	var u *uncertainError
	return errors.As(err, &u)
}

// temporary reports whether another attempt may succeed.
func temporary(err error) bool {
	var s *statusError
	if errors.As(err, &s) {
		switch s.status {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	return true
}

// once makes one attempt.
func (c *client) once(ctx context.Context, r request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var sent atomic.Bool // set by the connection's goroutine
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	at := strings.TrimSuffix(c.server.String(), "/") + r.target
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", r.contentType)
	req.Header.Set("User-Agent", "fanfare-pub")
	c.authorize(req)
	if r.key != "" {
		req.Header.Set("Idempotency-Key", r.key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		err = fmt.Errorf("cannot publish to %s: %s", remote.Show(c.server), remote.Explain(err))
		if sent.Load() {
			err = &uncertainError{err}
		}
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, &uncertainError{fmt.Errorf("the answer of %s was cut off: %s", remote.Show(c.server), remote.Explain(err))}
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusAccepted {
		return text, nil
	}
	var a answer
	if json.Unmarshal(text, &a) != nil || a.Error == "" {
		a.Error = fmt.Sprintf("%s answered %s: is this the admin listener of fanfare?", at, resp.Status)
	}
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // 0 without one
	err = &statusError{resp.StatusCode, a.Error, time.Duration(min(seconds, maxRetryAfter)) * time.Second}
	switch {
	case a.Code == codeUnconfirmed,
		resp.StatusCode == http.StatusInternalServerError, resp.StatusCode == http.StatusBadGateway, resp.StatusCode == http.StatusGatewayTimeout: // a proxy may have sent the request on
		err = &uncertainError{err}
	}
	return nil, err
}

func (c *client) authorize(req *http.Request) {
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
}

// durable reports whether the server stores events in a backplane, which it says in its health. Only then a line may fail although
// the request succeeds. A server without one keeps Idempotency-Keys in memory, and fast pipes would fill it.
func (c *client) durable(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.server.String(), "/")+"/healthz", nil)
	if err != nil {
		return false
	}
	c.authorize(req)
	resp, err := c.http.Do(req)
	if err != nil {
		return false // the first batch reports it
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return err == nil && resp.StatusCode == http.StatusOK && bytes.Contains(text, []byte("\nbroker: "))
}
