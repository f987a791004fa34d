package watch

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fanfare/chaos/record"
	"fanfare/codec"
)

// subscriber is one client. Its goroutine owns what is not guarded otherwise, until it has ended.
type subscriber struct {
	s      *Swarm
	index  int
	node   int // where it connects next
	slow   bool
	target string
	parser codec.Parser
	lastID string
	opened int64 // when the first position arrived, in Unix microseconds

	ready atomic.Bool

	mu       sync.Mutex // guards accounts' next for behind, and conn
	conn     *net.TCPConn
	accounts []account // of its keys, and of record.Broadcast in the end if there are broadcasts

	reasons map[string]int64 // gaps by reason
	places  []place          // the last id, by parts
	moved   bool             // a gap that may begin an epoch has come since the last id
}

// place is the last position of one part of the ids.
type place struct {
	name string
	n    uint64
}

func newSubscriber(s *Swarm, index int) *subscriber {
	c := &s.c
	sub := &subscriber{s: s, index: index, node: index % c.Pin, slow: c.Slow > 0 && index%c.Slow == 0}
	query := url.Values{}
	for k := range c.PerStream {
		key := c.Keys[(index+k*max(1, len(c.Keys)/c.PerStream))%len(c.Keys)]
		query.Add("connectKey", key)
		sub.accounts = append(sub.accounts, account{key: key, next: 1})
	}
	if c.Broadcasts {
		sub.accounts = append(sub.accounts, account{key: record.Broadcast, next: 1})
	}
	sub.target = "/stream?" + query.Encode()
	return sub
}

// dialing bounds how many connections are under way in one process.
var dialing = make(chan struct{}, 100)

// run connects again and again.
func (c *subscriber) run() {
	first := true
	for c.s.ctx.Err() == nil {
		if !first || c.s.c.Subscribers > 1000 {
			c.pause(first)
		}
		first = false
		if c.s.paused.Load() || c.s.ctx.Err() != nil {
			continue
		}
		err := c.connect()
		if err != nil && c.s.ctx.Err() == nil {
			c.s.failed.Add(1)
		}
		if n := len(c.s.c.Nodes); n > 1 {
			c.node = (c.node + 1 + rand.IntN(n-1)) % n // another one
		}
	}
}

// pause waits as long as the server's retry, or the swarm, says at most.
func (c *subscriber) pause(first bool) {
	d := time.Duration(c.s.spread.Load())
	if retry, ok := c.parser.Retry(); ok && !first {
		d = min(d, retry)
	}
	select {
	case <-c.s.ctx.Done():
	case <-time.After(time.Duration(rand.Int64N(int64(d) + 1))):
	}
}

// cut resets the connection.
func (c *subscriber) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		_ = c.conn.SetLinger(0)
		_ = c.conn.Close()
	}
}

// connect opens a stream and reads it to its end. The error says why there was none.
func (c *subscriber) connect() error {
	addr := c.s.c.Nodes[c.node]
	d := &net.Dialer{Timeout: 10 * time.Second}
	if loopback(addr) {
		d = dialer(c.index)
	}
	dialing <- struct{}{}
	conn, err := d.DialContext(c.s.ctx, "tcp", addr)
	<-dialing
	if err != nil {
		return err
	}
	defer conn.Close()
	if c.slow {
		_ = conn.(*net.TCPConn).SetReadBuffer(8 << 10)
	}
	c.mu.Lock()
	c.conn = conn.(*net.TCPConn)
	c.mu.Unlock()
	if c.s.ctx.Err() != nil { // it would not be cut
		return nil
	}

	// Ask for the stream.
	request := "GET " + c.target + " HTTP/1.1\r\nHost: " + addr + "\r\n"
	if c.lastID != "" {
		request += "Last-Event-ID: " + c.lastID + "\r\n"
	}
	_ = conn.SetDeadline(time.Now().Add(c.s.c.Silence))
	if _, err := conn.Write([]byte(request + "\r\n")); err != nil {
		return err
	}

	// Read the head.
	buf := make([]byte, 4<<10)
	have := 0
	for !bytes.Contains(buf[:have], []byte("\r\n\r\n")) {
		n, err := conn.Read(buf[have:])
		if have += n; err != nil || have == len(buf) {
			return fmt.Errorf("head: %w", errors.Join(err, errors.New(strconv.Quote(string(buf[:min(have, 200)])))))
		}
	}
	head, _, _ := bytes.Cut(buf[:have], []byte("\r\n\r\n"))
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) || !bytes.Contains(head, []byte("text/event-stream")) {
		return fmt.Errorf("%.100q", head)
	}
	c.s.streams.Add(1)
	c.s.open.Add(1)
	defer c.s.open.Add(-1)
	c.parser.Reset()
	c.read(conn, buf, len(head)+4, have)
	return nil
}

// read feeds buf[from:to], and what follows on the connection, to the parser until the stream ends.
func (c *subscriber) read(conn net.Conn, buf []byte, from, to int) {
	for {
		if !c.feed(buf[from:to]) {
			return
		}
		from = 0
		in := buf
		if c.slow {
			in = buf[:512]
			time.Sleep(20 * time.Millisecond)
		}
		_ = conn.SetReadDeadline(time.Now().Add(c.s.c.Silence))
		var err error
		if to, err = conn.Read(in); err != nil && to <= 0 {
			return
		}
	}
}

func (c *subscriber) feed(chunk []byte) bool {
	err := c.parser.Feed(chunk, c.event)
	if err != nil {
		c.s.problems.add(Broken, "subscriber %d: %v", c.index, err)
		return false
	}
	if id := c.parser.LastEventID(); string(id) != c.lastID {
		c.lastID = string(id)
	}
	return true
}

// event notes an event.
func (c *subscriber) event(m codec.Message) {
	switch string(m.Type) {
	case "position":
		c.place(string(m.LastEventID), false)
		c.begin()
		return
	case "gap":
		c.gap(m)
		c.begin()
		return
	case "message":
	default:
		c.s.problems.add(Invented, "subscriber %d: event %q: %.200q", c.index, m.Type, m.Data)
		return
	}
	c.s.events.Add(1)
	id := string(m.LastEventID)
	key, n, ok := record.Parse(m.Data)
	a := c.account(key)
	if !ok || a == nil {
		c.s.problems.add(Invented, "subscriber %d: %.200q", c.index, m.Data)
		return
	}
	if other, ok := c.s.ids.note(id, c.s.c.shared(), a.key, n); !ok {
		c.s.problems.add(SameID, "subscriber %d: id %s is event %d of %s, and was %s", c.index, id, n, a.key, other)
	}
	if !c.place(id, true) {
		c.s.problems.add(Order, "subscriber %d: event %d of %s has the id %s, which is not above %v", c.index, n, a.key, id, c.places)
	}
	c.mu.Lock()
	a.event(n)
	c.mu.Unlock()
	c.begin()
}

// begin notes that the subscriber has a place in the log.
func (c *subscriber) begin() {
	if !c.ready.Load() {
		c.opened = time.Now().UnixMicro()
		c.ready.Store(true)
	}
}

// account is that of the key; nil if the subscriber does not follow it.
func (c *subscriber) account(key []byte) *account {
	for i := range c.accounts {
		if c.accounts[i].key == string(key) {
			return &c.accounts[i]
		}
	}
	return nil
}

// gap notes what a gap event accounts for: the events of its key, and those to all keys. An epoch ends for all keys.
func (c *subscriber) gap(m codec.Message) {
	g, err := parseGap(m.Data)
	if err != nil {
		c.s.problems.add(Broken, "subscriber %d: gap %.200q: %v", c.index, m.Data, err)
		return
	}
	c.s.gaps.Add(1)
	if c.reasons == nil {
		c.reasons = map[string]int64{}
	}
	c.reasons[g.Reason]++
	c.mu.Lock()
	defer c.mu.Unlock()
	known := false
	for i := range c.accounts {
		known = known || g.Key != nil && c.accounts[i].key == *g.Key
	}
	for i := range c.accounts {
		a := &c.accounts[i]
		switch own := g.Key != nil && a.key == *g.Key; {
		case !known, g.Reason == "epoch":
			a.gap(nil, g.Reason)
		case own:
			a.gap(g.Missed, g.Reason)
		case a.key == record.Broadcast:
			a.gap(nil, "") // not counted twice
		}
	}
	if g.Reason == "epoch" || g.Reason == "unknown" {
		c.moved = true
	}
	c.place(string(m.LastEventID), false)
}

// behind returns how many of the events with these numbers have not arrived.
func (c *subscriber) behind(last map[string]int64) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.accounts {
		if a := &c.accounts[i]; a.next <= last[a.key] {
			n++
		}
	}
	return n
}

// place compares an id with the last one. Each of its parts is "<name>-<number>" or "<number>~<name>", and numbers of the
// same name only grow; at least one does if the id is an event's. A new name is another epoch, which a gap must have
// reported in a fleet.
func (c *subscriber) place(id string, event bool) (ok bool) {
	if id == "" {
		return true
	}
	grown, ok, begun := false, true, len(c.places) > 0
	for part := range strings.SplitSeq(id, ",") {
		name, n, valid := cutPart(part)
		if !valid {
			return true // a publisher's own
		}
		at := -1
		for i := range c.places {
			if c.places[i].name == name {
				at = i
			}
		}
		switch {
		case at < 0:
			if c.s.c.Partitions > 0 && begun && !c.moved {
				c.s.problems.add(Epoch, "subscriber %d: id %s after %v, without a gap", c.index, id, c.places)
			}
			if c.s.c.Partitions == 1 {
				c.places = c.places[:0]
			}
			c.places = append(c.places, place{name, n})
			grown = true
		case n > c.places[at].n:
			c.places[at].n, grown = n, true
		case n < c.places[at].n:
			ok = false
		}
	}
	c.moved = c.moved && !event
	return ok && (grown || !event)
}

// cutPart splits a part of an id.
func cutPart(part string) (name string, n uint64, ok bool) {
	tag := ""
	if at := strings.IndexByte(part, '~'); at >= 0 {
		part, tag = part[:at], part[at:]
	}
	at := strings.LastIndexByte(part, '-')
	if at < 0 {
		return "", 0, false
	}
	n, err := strconv.ParseUint(part[at+1:], 10, 64)
	return part[:at] + tag, n, err == nil
}
