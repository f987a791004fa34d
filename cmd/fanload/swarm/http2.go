//go:build linux

package swarm

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"

	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/wire"
)

// The frames of HTTP/2 (RFC 9113), as far as a client of event streams needs them: it opens streams, reads their headers and data,
// gives windows back, and cancels. x/net's Framer encodes, decodes and validates the frames.

// The windows are those of a browser (Chromium). Each is given back when half of it is used.
const (
	streamWindow     = 6 << 20
	connectionWindow = 15 << 20
	firstWindow      = 65_535  // of a connection, by the standard
	frameHeader      = 9       // bytes
	frameBytes       = 16_384  // the longest frame that this client allows, by the standard's default
	headerTable      = 4_096   // of HPACK, by the standard's default
	fieldBytes       = 1 << 17 // the longest name or value of a header field
	maxStreams       = 1 << 30 // until the server's SETTINGS say fewer
	lastStream       = 1<<31 - 1
)

var errNotHTTP2 = errors.New("the server does not answer in HTTP/2: leave out --http2, or give the address of a server that supports it without " +
	"TLS by prior knowledge")

// response is a response's header while its frames arrive.
type response struct {
	head wire.Head
	err  error
	ends bool // the stream ends with it
	to   uint32
}

// greet sends the connection's preface.
func (l *loop) greet(c *carrier) error {
	c.state = greeting
	if err := l.watchCarrier(unix.EPOLL_CTL_MOD, c, unix.EPOLLIN); err != nil {
		return err
	}
	c.out.WriteString(http2.ClientPreface)
	err := errors.Join(
		c.framer.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow}),
		c.framer.WriteWindowUpdate(0, connectionWindow-firstWindow),
	)
	if err != nil {
		return err
	}
	return l.flushCarrier(c)
}

// openStream sends a subscriber's request.
func (l *loop) openStream(c *carrier, s *subscriber) error {
	switch {
	case len(c.streams) >= int(c.limit):
		return fmt.Errorf("HTTP/2: the server allows %d streams on a connection: give --streams-per-connection %d", c.limit, c.limit)
	case c.next > lastStream:
		return errors.New("HTTP/2: the connection has no more stream numbers")
	}
	if err := encode(c, s.out, l.trust != nil); err != nil {
		return err
	}
	s.out, s.stream, s.taken = nil, c.next, 0
	c.streams[s.stream] = s
	c.next += 2
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: s.stream, BlockFragment: c.block.Bytes(), EndStream: true, EndHeaders: true})
	if err != nil {
		return err
	}
	s.state = heading
	if l.plan.Ready == plan.ReadySent {
		l.subscribed(s)
	}
	if err := l.flushCarrier(c); err != nil {
		l.breakCarrier(c, err)
	}
	return nil
}

// encode writes the fields of an HTTP/1.1 request into c.block.
func encode(c *carrier, request []byte, secure bool) error {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
	if err != nil {
		return err
	}
	scheme := "http"
	if secure {
		scheme = "https"
	}
	c.block.Reset()
	fields := []hpack.HeaderField{
		{Name: ":method", Value: r.Method}, {Name: ":scheme", Value: scheme}, {Name: ":authority", Value: r.Host}, {Name: ":path", Value: r.RequestURI},
	}
	for name, values := range r.Header {
		switch name = strings.ToLower(name); name {
		case "connection", "content-length", "transfer-encoding", "host", "keep-alive", "upgrade", "proxy-connection":
			continue // HTTP/1.1's own (RFC 9113 8.2.2), and there is no body
		}
		for _, v := range values {
			fields = append(fields, hpack.HeaderField{Name: name, Value: v})
		}
	}
	for _, f := range fields {
		if err := c.encoder.WriteField(f); err != nil {
			return err
		}
	}
	if c.block.Len() > frameBytes {
		return fmt.Errorf("the request's header has %d bytes, more than the %d of a frame", c.block.Len(), frameBytes)
	}
	return nil
}

// detach ends a subscriber's stream from this side, if it has one, or removes it from those that wait for the connection.
func (l *loop) detach(s *subscriber) {
	c := s.carrier
	if s.stream == 0 {
		c.waiting = slices.DeleteFunc(c.waiting, func(w *subscriber) bool { return w == s })
		return
	}
	number := s.stream
	l.endStream(s)
	if c.state != up {
		return
	}
	err := c.framer.WriteRSTStream(number, http2.ErrCodeCancel)
	if err == nil {
		err = l.flushCarrier(c)
	}
	if err != nil {
		l.breakCarrier(c, err)
	}
}

// endStream forgets a stream that has ended. After a GOAWAY the last one ends the connection.
func (l *loop) endStream(s *subscriber) {
	c := s.carrier
	delete(c.streams, s.stream)
	s.stream = 0
	if c.closing {
		l.replace(c)
	}
}

// replace ends a connection that has no more streams, and connects again if subscribers wait.
func (l *loop) replace(c *carrier) {
	if len(c.streams) > 0 {
		return
	}
	waiting := c.waiting
	l.closeCarrier(c)
	if c.waiting = waiting; len(waiting) > 0 {
		l.dialCarrier(c)
	}
}

// frames processes bytes that were read from the connection.
func (l *loop) frames(c *carrier, b []byte) error {
	if len(c.in) > 0 {
		c.in = append(c.in, b...)
		b = c.in
	}
	generation := c.generation
	for len(b) >= frameHeader {
		n := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		switch {
		case n > frameBytes && c.state == greeting:
			return errNotHTTP2
		case n > frameBytes:
			return fmt.Errorf("HTTP/2: a frame of %d bytes is longer than the %d that are allowed", n, frameBytes)
		}
		n += frameHeader
		if len(b) < n {
			break
		}
		c.source.Reset(b[:n])
		f, err := c.framer.ReadFrame()
		if err == nil {
			err = l.frame(c, f)
		} else {
			err = fmt.Errorf("HTTP/2: %w", err)
		}
		if err != nil || c.generation != generation { // the frame may have ended the connection
			return err
		}
		b = b[n:]
	}
	c.in = append(c.in[:0], b...)
	return nil
}

// frame processes a frame. An error ends the connection.
func (l *loop) frame(c *carrier, f http2.Frame) error {
	if _, first := f.(*http2.SettingsFrame); c.state == greeting && !first {
		return errNotHTTP2
	}
	switch f := f.(type) {
	case *http2.DataFrame:
		return l.data(c, f)
	case *http2.HeadersFrame:
		c.begin(f.StreamID, f.StreamEnded())
		return l.fields(c, f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.ContinuationFrame:
		return l.fields(c, f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.SettingsFrame:
		return l.serverSettings(c, f)
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.framer.WritePing(true, f.Data)
		}
	case *http2.RSTStreamFrame:
		if s := c.streams[f.StreamID]; s != nil {
			l.over(s, fmt.Errorf("HTTP/2: the server reset the stream: %s", f.ErrCode))
		}
	case *http2.GoAwayFrame:
		l.goAway(c, f)
	case *http2.PushPromiseFrame:
		return errors.New("HTTP/2: the server pushes, which this client has switched off")
	}
	return nil
}

// over handles a stream that the server has ended.
func (l *loop) over(s *subscriber, why error) {
	l.endStream(s)
	l.lose(s, why)
}

func (l *loop) serverSettings(c *carrier, f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if n, ok := f.Value(http2.SettingMaxConcurrentStreams); ok {
		c.limit = min(n, maxStreams)
	}
	if n, ok := f.Value(http2.SettingHeaderTableSize); ok {
		c.encoder.SetMaxDynamicTableSizeLimit(n)
	}
	if err := c.framer.WriteSettingsAck(); err != nil {
		return err
	}
	if c.state == up {
		return nil
	}
	c.state = up
	waiting := c.waiting
	c.waiting = nil
	for _, s := range waiting {
		l.attach(s)
	}
	return nil
}

// goAway handles the server's announcement that it ends the connection. Streams that it has not seen are opened on the next
// connection (RFC 9113 6.8), which is made when the others have ended.
func (l *loop) goAway(c *carrier, f *http2.GoAwayFrame) {
	c.closing = true
	for number, s := range c.streams {
		switch {
		case number <= f.LastStreamID:
		case s.state != heading: // with --ready sent it counts as subscribed
			l.over(s, fmt.Errorf("HTTP/2: the server ends the connection: %s", f.ErrCode))
		default:
			delete(c.streams, number)
			s.stream = 0
			if err := l.dial(s); err != nil { // renders the request again
				l.lose(s, err)
			}
		}
	}
	if c.closing && c.state == up { // not yet replaced
		l.replace(c)
	}
}

// begin begins a response's header, or trailer.
func (c *carrier) begin(stream uint32, ends bool) {
	r := &response{ends: ends, to: stream, head: wire.Head{Length: -1}}
	c.answer = r
	c.decoder.SetEmitFunc(func(f hpack.HeaderField) {
		var err error
		switch {
		case f.Name == ":status":
			r.head.Status, err = strconv.Atoi(f.Value)
		default:
			err = r.head.Field(f.Name, f.Value)
		}
		if r.err == nil {
			r.err = err
		}
	})
}

// fields processes a part of a header.
func (l *loop) fields(c *carrier, fragment []byte, last bool) error {
	if _, err := c.decoder.Write(fragment); err != nil {
		return fmt.Errorf("HTTP/2: %w", err)
	}
	if !last {
		return nil
	}
	if err := c.decoder.Close(); err != nil {
		return fmt.Errorf("HTTP/2: %w", err)
	}
	r := c.answer
	s := c.streams[r.to]
	if s == nil {
		return nil // it was canceled
	}
	switch trailer := s.head.Status >= 200; {
	case trailer:
	case r.err != nil:
		l.lose(s, r.err)
		return nil
	case r.head.Status < 200 && !r.ends:
		return nil // an interim response (RFC 9110 15.2)
	default:
		s.head = r.head
		l.headed(s)
	}
	if r.ends {
		l.over(s, errEnded)
	}
	return nil
}

// data processes a DATA frame. Its length with padding counts in the windows, also on streams that were canceled.
func (l *loop) data(c *carrier, f *http2.DataFrame) error {
	if c.taken += f.Length; c.taken > connectionWindow/2 {
		if err := c.framer.WriteWindowUpdate(0, c.taken); err != nil {
			return err
		}
		c.taken = 0
	}
	s := c.streams[f.StreamID]
	if s == nil {
		return nil
	}
	if s.head.Status < 200 {
		l.lose(s, errors.New("HTTP/2: data before the header"))
		return nil
	}
	if s.taken += f.Length; s.taken > streamWindow/2 && !f.StreamEnded() {
		if err := c.framer.WriteWindowUpdate(s.stream, s.taken); err != nil {
			return err
		}
		s.taken = 0
	}
	generation := s.stream
	err := l.content(s, f.Data())
	switch {
	case s.stream != generation: // it has left meanwhile
	case f.StreamEnded() && err == nil:
		l.over(s, errEnded)
	case err != nil:
		l.lose(s, err)
	}
	return nil
}
