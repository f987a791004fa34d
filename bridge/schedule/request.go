package schedule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	maxRedirects   = 5
	maxAnswerHead  = 64 << 10 // bytes
	maxErrorBody   = 4 << 10  // bytes to read of an error's body, to reuse the connection
	connectTimeout = 10 * time.Second
)

// newClient makes the HTTP client of all schedules. It keeps connections for the next run.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    connectTimeout,
			MaxIdleConnsPerHost:    2,
			MaxIdleConns:           64,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: maxAnswerHead,
		},
		CheckRedirect: checkRedirect,
	}
}

// headerFields is the context key for the configured header fields of a request.
type headerFields struct{}

// checkRedirect bounds the number of redirects. It removes the configured header fields, which may be secret, from requests
// to origins other than that of the URL. net/http on its own removes only Authorization and cookies.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects: use the URL that they lead to", maxRedirects)
	}
	first := via[0].URL
	if req.URL.Scheme == first.Scheme && req.URL.Host == first.Host {
		return nil
	}
	fields, _ := req.Context().Value(headerFields{}).(http.Header)
	for name := range fields {
		if http.CanonicalHeaderKey(name) != "User-Agent" {
			req.Header.Del(name)
		}
	}
	return nil
}

// get returns the body of a 2xx answer.
func (r *Runner) get(ctx context.Context, url string, header http.Header, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(context.WithValue(ctx, headerFields{}, header), http.MethodGet, url, nil)
	if err != nil {
		return nil, &failure{reasonRequest, err}
	}
	req.Header.Set("User-Agent", "fanfare")
	for name, values := range header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, fetchError(ctx, reasonRequest, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		_, _ = io.CopyN(io.Discard, resp.Body, maxErrorBody)
		return nil, fetchError(ctx, reasonStatus, errors.New("the server answered "+resp.Status))
	}
	if resp.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, fetchError(ctx, reasonRequest, err)
	case int64(len(body)) > limit:
		return nil, tooLarge(limit)
	}
	return body, nil
}
