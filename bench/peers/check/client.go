// Package check tests that each subscriber of a peer gets each event of its key exactly once and in order, and no event of
// another key.
package check

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/template"
	"time"

	"fanfare/bench/peers/catalog"
)

// client renders a peer's routes. It implements HTTP/1.1 itself, because egg-sse's head has a Transfer-Encoding that net/http
// refuses.
type client struct {
	peer    catalog.Peer
	address string // of the stream
	target  string // of publishing
	vars    vars
	trust   *tls.Config // of the stream; nil: http
}

type vars struct{ Base, PublishBase, Key, Payload string }

func newClient(peer catalog.Peer, plan catalog.Plan) (*client, error) {
	c := &client{peer: peer, vars: vars{Base: plan.Base, PublishBase: plan.PublishBase}}
	for _, b := range []struct {
		base string
		to   *string
	}{{plan.Base, &c.address}, {plan.PublishBase, &c.target}} {
		u, err := url.Parse(b.base)
		if err != nil {
			return nil, err
		}
		*b.to = u.Host
		if u.Scheme == "https" {
			text, err := os.ReadFile(plan.CA)
			if err != nil {
				return nil, err
			}
			c.trust = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: u.Hostname(), MinVersion: tls.VersionTLS13}
			c.trust.RootCAs.AppendCertsFromPEM(text)
		}
	}
	return c, nil
}

func (c *client) render(text, key, payload string) (string, error) {
	t, err := template.New("").Funcs(template.FuncMap{"json": func(v any) (string, error) {
		b, err := json.Marshal(v)
		return string(b), err
	}}).Parse(text)
	if err != nil {
		return "", err
	}
	v := c.vars
	v.Key, v.Payload = key, payload
	var b strings.Builder
	err = t.Execute(&b, v)
	return b.String(), err
}

// request opens a connection and sends one request. The deadline of ctx applies to everything on the connection.
func (c *client) request(ctx context.Context, address, method, route, key, payload string, headers []string, body string) (net.Conn, error) {
	target, err := c.render(route, key, payload)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	if body, err = c.render(body, key, payload); err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if c.trust != nil && address == c.address {
		conn = tls.Client(conn, c.trust)
	}
	if deadline, ok := ctx.Deadline(); ok {
		err = conn.SetDeadline(deadline)
	}
	context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // ends reads and writes that are waiting
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, u.RequestURI(), address)
	for _, h := range headers {
		fmt.Fprintf(&b, "%s\r\n", h)
	}
	if method == "POST" {
		fmt.Fprintf(&b, "Content-Length: %d\r\nConnection: close\r\n", len(body))
	}
	fmt.Fprintf(&b, "\r\n%s", body)
	if err == nil {
		_, err = conn.Write(b.Bytes())
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// publish sends one event and waits for the answer.
func (c *client) publish(ctx context.Context, key, payload string) error {
	conn, err := c.request(ctx, c.target, "POST", c.peer.Routes.Publish, key, payload, c.peer.Routes.PublishHeaders, c.peer.Routes.PublishBody)
	if err != nil {
		return err
	}
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return fmt.Errorf("publish: no answer: %w", err)
	}
	if f := strings.Fields(line); len(f) < 2 || f[1][0] != '2' {
		return fmt.Errorf("publish: %s", strings.TrimSpace(line))
	}
	return nil
}

// stream is one subscriber.
type stream struct {
	conn net.Conn
	r    *bufio.Reader // the body, unchunked, once the head has been read
}

func (c *client) subscribe(ctx context.Context, key string) (*stream, error) {
	conn, err := c.request(ctx, c.address, "GET", c.peer.Routes.Subscribe, key, "", []string{"Accept: text/event-stream"}, "")
	if err != nil {
		return nil, err
	}
	return &stream{conn: conn, r: bufio.NewReader(conn)}, nil
}

// head reads and checks the response's head.
func (s *stream) head() error {
	line, err := s.r.ReadString('\n')
	if err != nil {
		return fmt.Errorf("no head: %w", err)
	}
	if f := strings.Fields(line); len(f) < 2 || f[1] != "200" {
		return fmt.Errorf("the head is %q", strings.TrimSpace(line))
	}
	kind, chunked := "", false
	for {
		if line, err = s.r.ReadString('\n'); err != nil {
			return fmt.Errorf("the head does not end: %w", err)
		}
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		value = strings.TrimSpace(value)
		switch {
		case name == "":
			if t, _, _ := strings.Cut(kind, ";"); t != "text/event-stream" {
				return fmt.Errorf("Content-Type is %q", kind)
			}
			if chunked {
				s.r = bufio.NewReader(&chunks{r: s.r})
			}
			return nil
		case strings.EqualFold(name, "Content-Type"):
			kind = value
		case strings.EqualFold(name, "Transfer-Encoding"):
			chunked = strings.EqualFold(value, "chunked")
		}
	}
}

// data waits for the next event and returns its data. It skips comments and blocks without data.
func (s *stream) data() (string, error) {
	var lines []string
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		line = strings.TrimRight(line, "\r\n")
		switch d, ok := strings.CutPrefix(line, "data:"); {
		case ok:
			lines = append(lines, strings.TrimPrefix(d, " "))
		case line == "" && len(lines) > 0:
			return strings.Join(lines, "\n"), nil
		}
	}
}

// chunks decodes the chunked transfer coding (RFC 9112, 7.1).
type chunks struct {
	r    *bufio.Reader
	left int64
	done bool
}

func (c *chunks) Read(b []byte) (int, error) {
	if c.left == 0 {
		if c.done {
			return 0, io.EOF
		}
		line, err := c.r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		if c.left, err = strconv.ParseInt(size, 16, 64); err != nil || c.left < 0 {
			return 0, fmt.Errorf("chunk size %q", line)
		}
		if c.left == 0 {
			c.done = true
			return 0, io.EOF
		}
	}
	n, err := c.r.Read(b[:min(int64(len(b)), c.left)])
	if c.left -= int64(n); c.left == 0 && err == nil {
		_, err = c.r.Discard(len("\r\n"))
	}
	return n, err
}
