//go:build linux

package fleet

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"fanfare/bench/peers/report"
)

// connection is an HTTP/1.1 connection that is kept alive. net/http's client would do, but hands each request and each answer from
// one goroutine to another; the servers are to have the processor.
type connection struct {
	net.Conn
	r    *bufio.Reader
	host string
}

// dial connects to a node. The connection is closed at the end of the context.
func dial(ctx context.Context, host string) (*connection, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = c.Close() })
	return &connection{Conn: c, r: bufio.NewReaderSize(c, 4096), host: host}, nil
}

// post sends a request and reads the answer.
func (c *connection) post(path, contentType, body string) (status int, answer []byte, err error) {
	request := make([]byte, 0, 512)
	request = fmt.Appendf(request, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", path, c.host, contentType, len(body), body)
	if _, err := c.Write(request); err != nil {
		return 0, nil, err
	}
	response, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	if err == nil && response.Close {
		err = errors.New("the node closed a connection that was to be kept alive")
	}
	return response.StatusCode, answer, err
}

// publish publishes an event to the node of a connection.
func (c *connection) publish(f *Fleet, key string, number int) error {
	path, contentType, body := f.Publish(key, string(payload(nil, key, number)))
	status, answer, err := c.post(path, contentType, body)
	if err != nil {
		return fmt.Errorf("publish to %s: %w", c.host, err)
	}
	if status/100 != 2 || f.Accepted != nil && !f.Accepted(answer) {
		return fmt.Errorf("publish to %s is answered with %d: %.200s", c.host, status, answer)
	}
	return nil
}

// EventSize is the size of the events' data, as in the other scenarios of this module.
const EventSize = 64

// numbered precedes the number of an event in its data.
const numbered = `"n":`

// payload appends the data of an event, which is JSON because Centrifugo's API requires that.
func payload(b []byte, key string, number int) []byte {
	begin := len(b)
	b = append(append(append(b, `{"key":"`...), key...), `",`+numbered...)
	b = append(strconv.AppendInt(b, int64(number), 10), `,"x":"`...)
	for len(b)-begin < EventSize-2 {
		b = append(b, 'x')
	}
	return append(b, `"}`...)
}

// subscriber is one stream. It notes when each event arrives, and what is wrong.
type subscriber struct {
	key     string
	arrived func(number int)     // is called for each event when it arrives for the first time
	node    func(number int) int // to which an event is published

	mu      sync.Mutex
	begun   bool
	at      []time.Time // of each event
	got     int
	highest [Nodes]int // number that has arrived, of those that were published to each node
	faults  report.FleetFaults
}

// read reads the stream until it ends. permits bounds the streams that are opened at the same time.
func (s *subscriber) read(ctx context.Context, host, path string, permits chan struct{}) error {
	permits <- struct{}{}
	lines, c, err := openStream(ctx, host, path)
	<-permits
	if err != nil {
		return err
	}
	defer c.Close()
	scratch := make([]byte, 0, 2*EventSize)
	for lines.Scan() {
		line := lines.Bytes()
		i := bytes.Index(line, []byte(numbered))
		if i < 0 {
			continue // the head of an event, a greeting, a heartbeat
		}
		now := time.Now()
		number, valid := leadingNumber(line[i+len(numbered):])
		scratch = payload(scratch[:0], s.key, number)
		s.note(number, valid && bytes.Contains(line, scratch), now)
	}
	return fmt.Errorf("a stream of %s ended: %w", host, errors.Join(lines.Err(), context.Cause(ctx)))
}

func openStream(ctx context.Context, host, path string) (*bufio.Scanner, *connection, error) {
	c, err := dial(ctx, host)
	if err != nil {
		return nil, nil, err
	}
	response, err := c.get(path)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("a stream of %s is answered with %s", host, response.Status)
	}
	if err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	return bufio.NewScanner(response.Body), c, nil
}

func (c *connection) get(path string) (*http.Response, error) {
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", path, c.host); err != nil {
		return nil, err
	}
	return http.ReadResponse(c.r, nil)
}

func leadingNumber(text []byte) (n int, valid bool) {
	end := 0
	for end < len(text) && (text[end] >= '0' && text[end] <= '9' || end == 0 && text[end] == '-') {
		end++
	}
	n, err := strconv.Atoi(string(text[:end]))
	return n, err == nil
}

// note notes an event. Negative numbers are those of probes, which show only that the stream receives events.
func (s *subscriber) note(number int, intact bool, at time.Time) {
	s.mu.Lock()
	first := false
	switch {
	case !intact || number >= len(s.at):
		s.faults.Foreign++
	case number < 0:
		s.begun = true
	case !s.at[number].IsZero():
		s.faults.Repeated++
	default:
		first = true
		s.at[number] = at
		s.got++
		node := s.node(number)
		switch {
		case number < s.highest[node]:
			s.faults.Disordered++
		case number < slices.Max(s.highest[:]):
			s.faults.Overtaken++
		}
		s.highest[node] = max(s.highest[node], number)
	}
	s.mu.Unlock()
	if first {
		s.arrived(number)
	}
}

func (s *subscriber) started() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun
}

func (s *subscriber) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got
}
