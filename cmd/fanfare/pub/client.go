package pub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"fanfare/cmd/fanfare/remote"
)

// maxAnswer bounds the answer to one request: a line of some 100 bytes for each event.
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
	u, err := remote.ParseURL("--server", o.Server)
	if err != nil {
		return nil, err
	}
	if u.RawQuery != "" {
		return nil, remote.Usage("--server %q must not have a query: it is the address of the admin listener", o.Server)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	return &client{
		http:   &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		server: u, token: o.Token, timeout: o.Timeout, wait: o.Wait, errs: errs,
	}, nil
}

// post returns the body of the answer 200. While the server can't be reached it tries again, until the time to wait is
// over. Other answers are of type *statusError.
func (c *client) post(ctx context.Context, target, contentType string, body []byte) ([]byte, error) {
	deadline := time.Now().Add(c.wait)
	var pauses remote.Backoff
	for told := false; ; told = true {
		text, err := c.once(ctx, target, contentType, body)
		if err == nil || ctx.Err() != nil || !passing(err) {
			return text, err
		}
		pause := pauses.Next()
		if time.Now().Add(pause).After(deadline) {
			return nil, err
		}
		if !told {
			fmt.Fprintf(c.errs, "fanfare: %v; trying again for %s\n", err, time.Until(deadline).Round(time.Second))
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

// passing reports whether another attempt may succeed.
func passing(err error) bool {
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

func (c *client) once(ctx context.Context, target, contentType string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
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
		return nil, fmt.Errorf("can't publish to %s: %s", c.server.Redacted(), remote.Explain(err))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("the answer of %s broke off: %s", c.server.Redacted(), remote.Explain(err))
	}
	if resp.StatusCode == http.StatusOK {
		return text, nil
	}
	var a answer
	if json.Unmarshal(text, &a) != nil || a.Error == "" {
		a.Error = fmt.Sprintf("%s answers %s: is this the admin listener of a fanfare?", at, resp.Status)
	}
	return nil, &statusError{resp.StatusCode, a.Error}
}
