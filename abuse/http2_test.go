package abuse_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"fanfare/internal/test/eventually"
)

// http2Attacks are frames of HTTP/2, sent with prior knowledge.
var http2Attacks = group{
	name: "http2",
	start: func(t *testing.T) *victim {
		return startVictim(t, "--max-idle-connections", "1000", "--max-pinned-bytes", "8MiB", "--max-keys", "20000")
	},
	attacks: []attack{
		{name: "http2-silence", run: http2Silence},
		{name: "http2-rapid-reset", peak: 96, run: rapidReset},
		{name: "http2-continuation-flood", run: continuationFlood},
		{name: "http2-header-bomb", run: headerBomb},
		{name: "http2-zero-windows", peak: 128, keys: 1, heap: 17, run: http2ZeroWindows},
		{name: "http2-control-floods", run: controlFloods},
		{name: "http2-table-sizes", peak: 96, run: tableSizes},
		{name: "http2-streams-over-the-limit", run: streamsOverTheLimit},
		{name: "http2-junk-frames", run: junkFrames},
		{name: "http2-injection", run: http2Injection},
	},
}

// h2 is a connection of HTTP/2 whose client may send anything.
type h2 struct {
	net.Conn
	*http2.Framer
	block bytes.Buffer
	hpack *hpack.Encoder

	mu      sync.Mutex // of the framer, for writing
	reading sync.WaitGroup
	seen    [10]atomic.Int64 // frames that came, by type
	away    atomic.Int64     // the code of GOAWAY, or -1
	heads   atomic.Int64     // answers with status 200
	fields  sync.Map         // of answers: "name: value" is a key
	blocks  chan int         // lengths of the first encoded heads that came
	mute    atomic.Bool      // SETTINGS and PING get no answer
}

// dialH2 opens a connection and sends its preface and settings.
func dialH2(i int, v *victim, settings ...http2.Setting) (*h2, error) {
	conn, err := local(i).Dial("tcp", v.stream)
	if err != nil {
		return nil, err
	}
	if v.secure != nil {
		config := v.secure.Clone()
		config.NextProtos = []string{"h2"}
		conn = tls.Client(conn, config)
	}
	_ = conn.SetDeadline(time.Now().Add(eventually.Patience))
	c := &h2{Conn: conn, Framer: http2.NewFramer(conn, conn), blocks: make(chan int, 2)}
	c.away.Store(-1)
	c.AllowIllegalWrites, c.AllowIllegalReads = true, true
	c.hpack = hpack.NewEncoder(&c.block)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return nil, err
	}
	return c, c.WriteSettings(settings...)
}

// read reads frames until the connection ends.
func (c *h2) read() {
	c.reading.Go(func() {
		decoder := hpack.NewDecoder(4096, func(f hpack.HeaderField) {
			if f.Name == ":status" && f.Value == "200" {
				c.heads.Add(1)
			}
			c.fields.Store(f.Name+": "+f.Value, true)
		})
		for {
			f, err := c.ReadFrame()
			if err != nil {
				return
			}
			if t := int(f.Header().Type); t < len(c.seen) {
				c.seen[t].Add(1)
			}
			switch f := f.(type) {
			case *http2.SettingsFrame:
				if !c.mute.Load() && !f.IsAck() {
					_ = c.send(c.WriteSettingsAck)
				}
			case *http2.PingFrame:
				if !c.mute.Load() && !f.IsAck() {
					_ = c.send(func() error { return c.WritePing(true, f.Data) })
				}
			case *http2.HeadersFrame:
				select {
				case c.blocks <- len(f.HeaderBlockFragment()):
				default:
				}
				_, _ = decoder.Write(f.HeaderBlockFragment())
			case *http2.GoAwayFrame:
				c.away.Store(int64(f.ErrCode))
			}
		}
	})
}

// send writes frames. Answers to PING and SETTINGS come from another goroutine.
func (c *h2) send(write func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return write()
}

// end closes the connection, and waits for the end of read.
func (c *h2) end() {
	_ = c.Close()
	c.reading.Wait()
}

// headers encodes a request. More are names and values.
func (c *h2) headers(path string, more ...string) []byte {
	c.block.Reset()
	fields := append([]string{":method", "GET", ":scheme", "http", ":authority", "127.0.0.1", ":path", path}, more...)
	for i := 0; i < len(fields); i += 2 {
		_ = c.hpack.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(c.block.Bytes())
}

// get opens a stream.
func (c *h2) get(stream uint32, path string, more ...string) error {
	block := c.headers(path, more...)
	return c.send(func() error {
		return c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block, EndHeaders: true, EndStream: true})
	})
}

// attackH2 opens connections, some at a time. An error of a write means that the server has had enough.
func attackH2(t *testing.T, v *victim, n, atATime int, do func(i int, c *h2) error) {
	t.Helper()
	flood(t, n, atATime, func(i int) error {
		c, err := dialH2(i, v)
		if err != nil {
			return err
		}
		c.read()
		defer c.end()
		if err := do(i, c); err != nil && !broken(err) {
			return err
		}
		return nil
	})
}

// http2Silence is prefaces, parts of them, and connections that have had a request or will never have one.
func http2Silence(t *testing.T, v *victim) {
	const n = 600
	for _, text := range []string{http2.ClientPreface, http2.ClientPreface[:20], http2.ClientPreface[:3], http2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"} {
		hold(t, v, n, text)
	}
}

// rapidReset opens streams and resets them at once (CVE-2023-44487).
func rapidReset(t *testing.T, v *victim) {
	each := sized(2000, 50_000)
	attackH2(t, v, 20, 10, func(i int, c *h2) error {
		for n := range each {
			id := uint32(2*n + 1)
			if err := c.get(id, fmt.Sprintf("/stream?connectKey=rapid-%d-%d", i, n)); err != nil {
				return err
			}
			if err := c.send(func() error { return c.WriteRSTStream(id, http2.ErrCodeCancel) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// continuationFlood sends a head that never ends (CVE-2023-45288), also one of empty frames.
func continuationFlood(t *testing.T, v *victim) {
	attackH2(t, v, 10, 10, func(i int, c *h2) error {
		block := c.headers("/stream?connectKey=flood")
		if err := c.send(func() error { return c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block}) }); err != nil {
			return err
		}
		c.block.Reset()
		_ = c.hpack.WriteField(hpack.HeaderField{Name: "x-flood", Value: strings.Repeat("x", 8<<10), Sensitive: true}) // not in the table
		more := bytes.Clone(c.block.Bytes())
		if i%2 == 0 {
			more = nil
		}
		for n := 0; n < 1_000_000; n++ {
			if err := c.send(func() error { return c.WriteContinuation(1, false, more) }); err != nil {
				return nil
			}
		}
		return errors.New("a head of a million frames goes on")
	})
}

// headerBomb names one large field of the table thousands of times.
func headerBomb(t *testing.T, v *victim) {
	attackH2(t, v, 20, 10, func(_ int, c *h2) error {
		block := c.headers("/stream?connectKey=bomb", "x-bomb", strings.Repeat("b", 3900))
		index := byte(0x80 | 62) // the newest field of the dynamic table (RFC 7541, 2.3.3)
		block = append(block, bytes.Repeat([]byte{index}, 12_000)...)
		err := c.send(func() error {
			return c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true, EndStream: true})
		})
		return errors.Join(err, c.get(3, "/healthz"))
	})
	if n := v.count(t, "fanfare_keys"); n > 5 {
		t.Errorf("%d keys", n)
	}
}

// http2ZeroWindows opens streams whose windows stay shut.
func http2ZeroWindows(t *testing.T, v *victim) {
	const conns, each = 10, 30
	var all []*h2
	for i := range conns {
		c, err := dialH2(i, v, http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i % 2 * 65535)}) // or the connection's window is used up
		if err != nil {
			t.Fatal(err)
		}
		c.read()
		defer c.end()
		for n := range each {
			if err := c.get(uint32(2*n+1), "/stream?connectKey=shut"); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, c)
	}
	v.AwaitCount("shut", conns*each)
	event := strings.Repeat("x", 1<<20)
	for range sized(20, 200) {
		v.PublishText("shut", event)
	}
	v.AwaitCount("shut", 0)
	for _, c := range all { // the connections themselves are fine
		if c.away.Load() > 0 {
			t.Errorf("GOAWAY with code %d", c.away.Load())
		}
	}
}

// controlFloods are frames that make the server answer, at clients that read no answer (CVE-2019-9512, 9515, 9518), and that make it
// work for nothing (9511, 9513, 9514, 9517).
func controlFloods(t *testing.T, v *victim) {
	most := sized(30_000, 1_000_000)
	floods := []func(c *h2, n int) error{
		func(c *h2, n int) error { return c.WritePing(false, [8]byte{byte(n)}) },
		func(c *h2, n int) error {
			return c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(n)})
		},
		func(c *h2, n int) error {
			return c.WritePriority(uint32(2*(n%1000)+1), http2.PriorityParam{StreamDep: uint32(2 * (n % 7)), Weight: byte(n)})
		},
		func(c *h2, n int) error { return c.WriteWindowUpdate(0, 1) },
		func(c *h2, n int) error { return c.WriteData(1, false, nil) },
		func(c *h2, n int) error { return c.WriteRSTStream(uint32(2*n+1), http2.ErrCodeCancel) },
		func(c *h2, n int) error {
			return c.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*n + 1), EndHeaders: true, EndStream: true})
		},
		func(c *h2, n int) error { return c.WriteRawFrame(0xbb, 0, uint32(n), nil) },
	}
	flood(t, len(floods), 4, func(i int) error {
		c, err := dialH2(i, v)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(eventually.Patience))
		if err := c.WriteSettingsAck(); err != nil {
			return err
		}
		_ = c.get(1, "/stream?connectKey=control")
		for n := range most { // without reading
			if err := floods[i](c, n); err != nil {
				return nil
			}
		}
		return nil
	})
}

// tableSizes changes the size of the table with which the server encodes its answers, while it does. Without http2NoTable in transport
// that ends the process.
func tableSizes(t *testing.T, v *victim) {
	if raceBinary {
		t.Log("the detector reports net/http's race for numbers that mean nothing: this runs without it")
		return
	}
	// The crash needs luck and time, so look for its condition, too: with a table, the second one of two equal heads is shorter.
	attackH2(t, v, 1, 1, func(_ int, c *h2) error {
		first, second := 0, 0
		if err := c.get(1, "/healthz"); err != nil {
			return err
		}
		for n, at := range []*int{&first, &second} {
			select {
			case *at = <-c.blocks:
			case <-time.After(eventually.Patience):
				return errors.New("no answer")
			}
			if err := c.get(uint32(2*n+3), "/healthz"); err != nil {
				return err
			}
		}
		if second < first-4 { // the first one may announce the size of the table
			return fmt.Errorf("answers are encoded with a table: %d bytes, then %d", first, second)
		}
		return nil
	})
	attackH2(t, v, 20, 20, func(_ int, c *h2) error {
		c.mute.Store(true)
		for n := range sized(2000, 100_000) {
			err := c.send(func() (err error) {
				for size := range 6 {
					err = errors.Join(err, c.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: uint32(size % 2 * 4096)}))
				}
				return err
			})
			if err = errors.Join(err, c.get(uint32(2*n+1), "/healthz", "origin", fmt.Sprintf("https://%d.example", n))); err != nil {
				return err
			}
		}
		return nil
	})
}

// streamsOverTheLimit opens a thousand streams on a connection that may have 250.
func streamsOverTheLimit(t *testing.T, v *victim) {
	attackH2(t, v, 4, 4, func(_ int, c *h2) error {
		for n := range 1000 {
			if err := c.get(uint32(2*n+1), "/stream?connectKey=many"); err != nil {
				return err
			}
		}
		eventually.Within(eventually.Patience, func() bool { return c.heads.Load() >= 250 || c.away.Load() >= 0 })
		if n := c.heads.Load(); n > 250 {
			return fmt.Errorf("%d streams on a connection", n)
		}
		return nil
	})
	if n := v.count(t, "fanfare_connections"); n > 1+4*250 {
		t.Errorf("%d streams", n)
	}
}

// junkFrames break the rules of RFC 9113 in other ways.
func junkFrames(t *testing.T, v *victim) {
	junk := map[string]func(c *h2) error{
		"DATA before any stream": func(c *h2) error { return c.WriteData(1, true, []byte("x")) },
		"DATA on stream 0":       func(c *h2) error { return c.WriteData(0, true, []byte("x")) },
		"an even stream":         func(c *h2) error { return c.get(2, "/stream") },
		"a stream again":         func(c *h2) error { return errors.Join(c.get(5, "/stream"), c.get(3, "/stream")) },
		"HEADERS in HEADERS": func(c *h2) error {
			return errors.Join(c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1}), c.get(3, "/stream"))
		},
		"CONTINUATION of nothing":  func(c *h2) error { return c.WriteContinuation(1, true, nil) },
		"a window too large":       func(c *h2) error { return c.WriteWindowUpdate(0, 1<<31-1) },
		"a window of 0":            func(c *h2) error { return c.WriteWindowUpdate(0, 0) },
		"a huge frame":             func(c *h2) error { return c.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 1<<20)) },
		"a frame of 16 MiB":        func(c *h2) error { _, err := c.Write([]byte{0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1}); return err },
		"SETTINGS of a bad length": func(c *h2) error { return c.WriteRawFrame(http2.FrameSettings, 0, 0, []byte{1, 2, 3}) },
		"SETTINGS of a stream":     func(c *h2) error { return c.WriteRawFrame(http2.FrameSettings, 0, 1, nil) },
		"PUSH_PROMISE":             func(c *h2) error { return c.WriteRawFrame(http2.FramePushPromise, 4, 1, make([]byte, 4)) },
		"padding too long":         func(c *h2) error { return c.WriteRawFrame(http2.FrameHeaders, 0x8|0x4, 1, []byte{0xff, 0x82}) },
		"HPACK out of the table": func(c *h2) error {
			return c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0x0f}, EndHeaders: true})
		},
		"HPACK cut off": func(c *h2) error {
			return c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x40, 0x7f, 0xff}, EndHeaders: true})
		},
		"depends on itself": func(c *h2) error { return c.WritePriority(1, http2.PriorityParam{StreamDep: 1}) },
		"no pseudo fields": func(c *h2) error {
			c.block.Reset()
			_ = c.hpack.WriteField(hpack.HeaderField{Name: "a", Value: "b"})
			return c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block.Bytes(), EndHeaders: true, EndStream: true})
		},
		"HTTP/1.1 after it": func(c *h2) error { _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); return err },
		"a body for a stream": func(c *h2) error {
			err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.headers("/stream?connectKey=body", "content-length", "100000000"), EndHeaders: true})
			for range 100 {
				err = errors.Join(err, c.WriteData(1, false, make([]byte, 16<<10)))
			}
			return err
		},
	}
	for name, do := range junk {
		flood(t, 5, 5, func(i int) error {
			c, err := dialH2(i, v)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			c.mute.Store(true)
			c.read()
			defer c.end()
			_ = do(c) // the server may have closed the connection
			_ = c.get(11, "/healthz")
			return nil
		})
	}
}

// http2Injection puts line ends into the fields of a request. The frames carry any bytes.
func http2Injection(t *testing.T, v *victim) {
	for _, text := range injections {
		for _, fields := range [][]string{
			{"last-event-id", "x" + text}, {"origin", "https://x" + text}, {"access-control-request-headers", "x" + text}, {"x-a" + text, "b"}, {"x-forwarded-for", "192.0.2.1" + text}, {"cookie", "a" + text},
			{":path", "/stream" + text}, {":authority", "x" + text}, {":method", "GET" + text}, {"transfer-encoding", "chunked"}, {"connection", "close" + text}, {"fanfare-body-skipped", "1"},
		} {
			for _, path := range []string{"/stream?connectKey=k", "/nothing", "/healthz"} {
				c, err := dialH2(0, v)
				if err != nil {
					t.Fatal(err)
				}
				c.read()
				if err := errors.Join(c.get(1, path, fields...), c.get(3, "/healthz")); err != nil && !broken(err) {
					t.Fatal(err)
				}
				eventually.True(t, "an answer", func() bool { // to the second request, or the end of the connection
					return c.heads.Load() > 0 || c.away.Load() >= 0
				})
				c.fields.Range(func(key, _ any) bool {
					if f := key.(string); strings.HasPrefix(strings.ToLower(f), "x-injected") || strings.ContainsAny(f, "\r\n\x00") {
						t.Errorf("%q of %s answers with %q", fields, path, f)
					}
					return true
				})
				c.end()
			}
		}
	}
}
