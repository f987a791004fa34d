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
		server: u, token: o.Token, timeout: o.Timeout, wait: o.Wait, errs: errs,
	}, nil
}

// post sends a request and returns the body of the answer. It tries again while the server cannot be reached, for the time of
// --wait, and as long as the server says that the publisher is too fast. The error is of type *statusError if the answer is not 200, and of type *uncertainError if the server may have
// published the events.
func (c *client) post(ctx context.Context, target, contentType string, body []byte) ([]byte, error) {
	began := time.Now()
	deadline := began.Add(c.wait)
	var pauses remote.Backoff
	maybePublished := false // an attempt has reached the server, and its answer is unknown
	for logged := false; ; logged = true {
		text, err := c.once(ctx, target, contentType, body)
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
		if errors.As(err, &s) && s.status == http.StatusTooManyRequests {
			pause, until = max(pause, s.after), latest(deadline, began.Add(c.timeout))
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
func (c *client) once(ctx context.Context, target, contentType string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var sent atomic.Bool // set by the connection's goroutine
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	at := strings.TrimSuffix(c.server.String(), "/") + target
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "fanfare-pub")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
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
	if resp.StatusCode == http.StatusOK {
		return text, nil
	}
	var a answer
	if json.Unmarshal(text, &a) != nil || a.Error == "" {
		a.Error = fmt.Sprintf("%s answered %s: is this the admin listener of fanfare?", at, resp.Status)
	}
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // 0 without one
	err = &statusError{resp.StatusCode, a.Error, time.Duration(min(seconds, maxRetryAfter)) * time.Second}
	switch resp.StatusCode {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout: // a proxy may have sent the request on
		err = &uncertainError{err}
	}
	return nil, err
}
