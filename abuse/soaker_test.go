package abuse_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"fanfare/codec"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// channel is a key with its publisher. Its events are numbered from 1; data is the key, the number and filler.
type channel struct {
	key   string
	size  int
	pause time.Duration

	sent     atomic.Int64 // the number of the newest event that the server has taken
	repeated atomic.Int64
	last     atomic.Int64 // sent, once there are no more
	again    sync.Map     // numbers of requests whose first answer is not known: subscribers may see these events twice
}

// publish sends events until the end, and each of them until the server takes it.
func (s *soak) publish(c *channel) {
	client := &http.Client{Transport: &http.Transport{}, Timeout: eventually.Patience}
	defer client.CloseIdleConnections()
	filler := strings.Repeat("x", c.size)
	for n := int64(1); ; n++ {
		for deadline := time.Now().Add(eventually.Patience); ; time.Sleep(20 * time.Millisecond) {
			req, err := http.NewRequest(http.MethodPost, "http://"+s.v.admin+"/publish?key="+c.key, strings.NewReader(fmt.Sprintf("%s %d %s", c.key, n, filler)))
			if err != nil {
				s.fail("%v", err)
				return
			}
			req.Header.Set("Content-Type", "text/plain")
			req.Header.Set("Authorization", "Bearer "+publishToken)
			resp, err := client.Do(req)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					break
				}
				if resp.StatusCode != http.StatusServiceUnavailable { // it drains
					s.fail("key %s, event %d: %s", c.key, n, resp.Status)
					return
				}
			}
			if err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
				c.again.Store(n, true)
			}
			c.repeated.Add(1)
			if time.Now().After(deadline) {
				s.fail("key %s, event %d cannot be published: %v", c.key, n, err)
				return
			}
		}
		c.sent.Store(n)
		select {
		case <-s.stop:
			c.last.Store(n)
			return
		case <-time.After(c.pause):
		}
	}
}

// seen is what a subscriber knows of one key. It belongs to the subscriber's goroutine until that has ended.
type seen struct {
	channel  *channel
	next     int64 // the number that the next event should have
	jump     bool  // a gap of unknown size has been reported
	received int64
	missed   int64 // reported, with their number
	unknown  int64 // reported, without it
	gaps     int64
}

// soaker is a subscriber that comes back whenever its stream ends, and accounts for each event.
type soaker struct {
	s        *soak
	name     string // its subject
	http2    bool
	channels []*channel
	seen     map[string]*seen
	ready    atomic.Bool  // it has a position
	behind   atomic.Int64 // keys whose last event it has not got

	stall, slow atomic.Int64 // what a fault asks for: nanoseconds, and small reads

	mu   sync.Mutex
	conn *net.TCPConn

	lastID string
}

func (c *soaker) begin() {
	c.seen = map[string]*seen{}
	for _, ch := range c.channels {
		c.seen[ch.key] = &seen{channel: ch, next: 1}
	}
}

// cut resets the connection.
func (c *soaker) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		_ = c.conn.SetLinger(0)
		_ = c.conn.Close()
	}
}

// halfClose ends the direction to the server.
func (c *soaker) halfClose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		_ = c.conn.CloseWrite()
	}
}

// complete reports whether the last event of each key has arrived.
func (c *soaker) complete() bool { return c.behind.Load() == 0 }

func (c *soaker) over() bool {
	select {
	case <-c.s.ended:
		return true
	default:
		return c.s.problem.Load() != nil
	}
}

func (c *soaker) run() {
	c.behind.Store(1)
	for lastStream := time.Now(); !c.over(); time.Sleep(time.Duration(20+rand.IntN(200)) * time.Millisecond) {
		c.s.connects.Add(1)
		streamed, err := c.connect()
		if streamed {
			lastStream = time.Now()
		} else {
			c.s.refused.Add(1)
		}
		if time.Since(lastStream) > eventually.Patience {
			c.s.fail("%s gets no stream any more: %v", c.name, err)
		}
	}
}

// connect opens a stream and reads it to its end.
func (c *soaker) connect() (streamed bool, err error) {
	conn, err := net.Dial("tcp", c.s.v.stream)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	if c.channels[0].size > 1<<15 {
		_ = conn.(*net.TCPConn).SetReadBuffer(8 << 10) // so that the history overtakes who stalls
	}
	c.mu.Lock()
	c.conn = conn.(*net.TCPConn)
	c.mu.Unlock()
	if c.over() { // it would not be cut
		return false, nil
	}
	target := "/stream?"
	for _, ch := range c.channels {
		target += "&connectKey=" + ch.key
	}
	fields := []string{"Cookie: who=" + c.name}
	if c.lastID != "" {
		fields = append(fields, "Last-Event-ID: "+c.lastID)
	}
	_ = conn.SetDeadline(time.Now().Add(eventually.Patience))
	resp, end, err := c.request(conn, target, fields)
	if err != nil {
		return false, err
	}
	defer end()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusServiceUnavailable {
			c.s.fail("%s: %s %.200s", c.name, resp.Status, text)
		}
		return false, fmt.Errorf("%s", resp.Status)
	}
	return c.read(conn, resp.Body)
}

// request sends a request on a connection, and returns the response. Call end after it.
func (c *soaker) request(conn net.Conn, target string, fields []string) (resp *http.Response, end func(), err error) {
	if c.http2 {
		return c.requestHTTP2(conn, target, fields)
	}
	if c.s.tls != nil {
		conn = tls.Client(conn, c.s.tls)
	}
	if _, err := io.WriteString(conn, wiretest.Request("GET", target, fields...)); err != nil {
		return nil, nil, err
	}
	resp, err = http.ReadResponse(bufio.NewReaderSize(conn, 4<<10), nil)
	return resp, func() {}, err
}

func (c *soaker) requestHTTP2(conn net.Conn, target string, fields []string) (resp *http.Response, end func(), err error) {
	config := c.s.tls.Clone()
	config.NextProtos = []string{"h2"}
	tr := &http.Transport{
		ForceAttemptHTTP2: true,
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			secure := tls.Client(conn, config)
			return secure, secure.HandshakeContext(ctx)
		},
	}
	req, err := http.NewRequest(http.MethodGet, "https://"+c.s.v.stream+target, nil)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		req.Header.Set(name, value)
	}
	resp, err = tr.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	return resp, func() { _ = resp.Body.Close(); tr.CloseIdleConnections() }, nil
}

func (c *soaker) read(conn net.Conn, body io.Reader) (streamed bool, err error) {
	var parser codec.Parser
	buf := make([]byte, 16<<10)
	for {
		if d := c.stall.Swap(0); d > 0 {
			select {
			case <-time.After(time.Duration(d)):
			case <-c.s.ended:
			}
		}
		in := buf
		if c.slow.Load() > 0 {
			c.slow.Add(-1)
			in = buf[:200]
			time.Sleep(20 * time.Millisecond)
		}
		_ = conn.SetReadDeadline(time.Now().Add(eventually.Patience))
		n, err := body.Read(in)
		perr := parser.Feed(in[:n], func(m codec.Message) { c.event(m) })
		if id := parser.LastEventID(); len(id) > 0 {
			c.lastID, streamed = string(id), true
			c.ready.Store(true)
		}
		c.count()
		var timeout net.Error
		switch {
		case perr != nil || errors.As(err, &timeout) && timeout.Timeout():
			c.s.fail("%s: %v, %v", c.name, perr, err)
			return streamed, err
		case err != nil || c.s.problem.Load() != nil:
			return streamed, err
		}
	}
}

// count says how many keys are not complete.
func (c *soaker) count() {
	var n int64
	for _, k := range c.seen {
		if last := k.channel.last.Load(); last == 0 || k.next <= last {
			n++
		}
	}
	c.behind.Store(n)
}

// event reconciles an event with what came before.
func (c *soaker) event(m codec.Message) {
	switch string(m.Type) {
	case "position":
		return
	case "gap":
		c.gap(m)
		return
	}
	key, rest, _ := strings.Cut(string(m.Data), " ")
	number, _, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseInt(number, 10, 64)
	k := c.seen[key]
	if err != nil || k == nil {
		c.s.fail("%s gets %s %.100q", c.name, m.Type, m.Data)
		return
	}
	_, again := k.channel.again.Load(n)
	switch {
	case n == k.next:
	case n < k.next && again:
		return // a second time, and the first one has counted
	case n > k.next && k.jump:
		k.unknown += n - k.next
	default:
		c.s.fail("%s gets event %d of %s, the next is %d", c.name, n, key, k.next)
		return
	}
	k.next, k.jump = n+1, false
	k.received++
}

func (c *soaker) gap(m codec.Message) {
	var g wiretest.Gap
	err := json.Unmarshal(m.Data, &g)
	k := c.seen[g.Key]
	if err != nil || k == nil {
		c.s.fail("%s gets the gap %.200s: %v", c.name, m.Data, err)
		return
	}
	k.gaps++
	if g.Missed == nil {
		k.jump = true
		return
	}
	k.next += *g.Missed
	k.missed += *g.Missed
}
