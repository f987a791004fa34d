package transport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// roamer is a client that loses its connection again and again, and accounts
// for each event.
type roamer struct {
	r       *rig
	rng     *rand.Rand
	keys    []string
	parser  codec.Parser
	current *wiretest.Conn

	// next is the sequence that each key goes on with, as far as this client knows.
	next map[string]uint64
	// missed is how many of each key gaps have told of.
	missed   map[string]uint64
	received map[string]uint64
	lastID   string
	problem  error
}

func (c *roamer) fail(format string, args ...any) {
	if c.problem == nil {
		c.problem = fmt.Errorf(format, args...)
	}
}

// event reconciles a message with what came before. Data is "key sequence".
func (c *roamer) event(m codec.Message) {
	c.lastID = string(m.LastEventID)
	if string(m.Type) == "position" {
		return
	}
	if string(m.Type) == "gap" {
		g := wiretest.Message{Type: "gap", Data: string(m.Data)}.Gap(c.r.t)
		p, ok := engine.ParsePosition(g.Next)
		want := c.next[g.Key]
		switch {
		case !ok || g.Missed == nil:
			c.fail("gap %s", m.Data)
		case p.Seq+1 != want+uint64(*g.Missed):
			c.fail("gap %s, but the next was to be %d", m.Data, want)
		default:
			c.next[g.Key] = p.Seq + 1
			c.missed[g.Key] += uint64(*g.Missed)
		}
		return
	}
	key, number, _ := strings.Cut(string(m.Data), " ")
	seq, err := strconv.ParseUint(number[:strings.IndexByte(number+" ", ' ')], 10, 64)
	if err != nil || seq != c.next[key] {
		c.fail("event %.40q, but the next of %q was to be %d", m.Data, key, c.next[key])
		return
	}
	c.next[key]++
	c.received[key]++
}

func (c *roamer) query() string {
	return "connectKey=" + strings.Join(c.keys, "&connectKey=")
}

// connect opens a stream where the last one ended. It reports false if the
// connection could not be made.
func (c *roamer) connect() error {
	conn, err := net.Dial("tcp", c.r.addr)
	if err != nil {
		return err
	}
	c.current = wiretest.New(c.r.t, conn)
	request := c.r.get(c.query())
	switch {
	case c.lastID == "":
	case c.rng.IntN(3) == 0:
		request = c.r.get(c.query() + "&lastEventId=" + c.lastID)
	default:
		request = c.r.get(c.query(), "Last-Event-ID: "+c.lastID)
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		return err
	}
	c.parser.Reset()
	_, err = c.current.TryHead()
	return err
}

// read reads at most n bytes, and returns what came. A cut in the middle of a
// frame is what the limit is for.
func (c *roamer) read(n int) error {
	_ = c.current.NetConn().SetReadDeadline(time.Now().Add(eventually.Patience))
	buf := make([]byte, n)
	n, err := c.current.Body.Read(buf)
	if perr := c.parser.Feed(buf[:n], c.event); perr != nil {
		c.fail("%v", perr)
	}
	if id := c.parser.LastEventID(); len(id) > 0 {
		c.lastID = string(id)
	}
	return err
}

// cut ends the connection in one of the ways that connections end.
func (c *roamer) cut() {
	switch c.rng.IntN(3) {
	case 0:
		c.current.Reset()
	case 1:
		c.current.CloseWrite() // a proxy's half-close; the rest is not read
		c.current.Close()
	default:
		c.current.Close()
	}
}

// done reports whether the client knows of all events.
func (c *roamer) done(published map[string]uint64) bool {
	for _, k := range c.keys {
		if c.next[k] <= published[k] {
			return false
		}
	}
	return true
}

// run reconnects as often as said while events are published, then goes on to
// the last one.
func (c *roamer) run(reconnects int, finished <-chan map[string]uint64) {
	for i := 0; c.problem == nil; i++ {
		if err := c.connect(); err != nil {
			c.fail("reconnect %d: %v", i, err)
			return
		}
		if i == reconnects {
			break
		}
		// A random number of random reads, of as little as a byte.
		for range c.rng.IntN(6) {
			if c.read(1+c.rng.IntN(1<<c.rng.IntN(13))) != nil {
				break
			}
		}
		if c.rng.IntN(40) == 0 {
			time.Sleep(time.Duration(c.rng.IntN(30)) * time.Millisecond) // long enough to be overtaken by the history
		}
		c.cut()
	}
	published := <-finished
	for c.problem == nil && !c.done(published) {
		if err := c.read(32 << 10); err != nil {
			c.fail("at the end: %v", err)
		}
	}
	c.current.Close()
}

// TestReconnectsReconcile: two clients of each kind lose their connections 500
// times while three publishers are at work. Each event is received once and in
// its place, or counted by a gap.
func TestReconnectsReconcile(t *testing.T) {
	plainOnly(t)
	const reconnects = 500
	onBoth(t, rigOptions{Engine: engine.Options{Key: engine.KeyOptions{History: 256}}}, func(t *testing.T, r *rig) {
		clients := []*roamer{
			{keys: []string{"a"}},
			{keys: []string{"a", "b"}},
		}
		finished := make(chan map[string]uint64)
		var running, publishing sync.WaitGroup
		for i, c := range clients {
			c.r, c.rng = r, rand.New(rand.NewPCG(uint64(i), 42))
			c.next, c.missed, c.received = map[string]uint64{}, map[string]uint64{}, map[string]uint64{}
			for _, k := range c.keys {
				c.next[k] = 1
			}
			// Before the first event, so that nothing is missed without a word.
			if err := c.connect(); err != nil {
				t.Fatal(err)
			}
			for c.lastID == "" {
				if err := c.read(100); err != nil {
					t.Fatal(err)
				}
			}
			c.cut()
			running.Go(func() { c.run(reconnects, finished) })
		}
		// The key's sequence is in the data: one publisher at a time takes a number
		// and publishes it.
		var stop atomic.Bool
		var mu sync.Mutex
		published := map[string]uint64{}
		for p := range 3 {
			publishing.Go(func() {
				pad := strings.Repeat(" pad", 10*p)
				for i := 0; !stop.Load(); i++ {
					key := [...]string{"a", "b"}[(i+p)%2]
					mu.Lock()
					published[key]++
					_, err := r.srv.Publish(key, codec.Event{Data: fmt.Appendf(nil, "%s %d%s", key, published[key], pad)})
					mu.Unlock()
					if err != nil {
						t.Error(err)
						return
					}
					if i%8 == 0 {
						time.Sleep(time.Millisecond)
					}
				}
			})
		}
		ended := make(chan struct{})
		go func() { running.Wait(); close(ended) }()
		for through, before := 0, 0.0; through < len(clients); { // their reconnects are made, or have failed
			select {
			case finished <- func() map[string]uint64 {
				mu.Lock()
				defer mu.Unlock()
				return map[string]uint64{"a": published["a"], "b": published["b"]}
			}():
				through++
			case <-ended:
				through = len(clients)
			case <-time.After(eventually.Patience):
				opened := r.metric("fanfare_connections_opened_total")
				if opened == before {
					t.Fatal("the clients do not come back")
				}
				before = opened
			}
		}
		stop.Store(true)
		publishing.Wait()
		select {
		case <-ended:
		case <-time.After(eventually.Patience):
			t.Fatal("the clients do not reach the end")
		}
		for i, c := range clients {
			if c.problem != nil {
				t.Errorf("client %d: %v", i, c.problem)
			}
			for _, k := range c.keys {
				if c.received[k]+c.missed[k] != c.next[k]-1 || c.received[k] == 0 {
					t.Errorf("client %d, key %s: %d received and %d missed of %d", i, k, c.received[k], c.missed[k], c.next[k]-1)
				}
				t.Logf("client %d, key %s: %d received, %d missed", i, k, c.received[k], c.missed[k])
			}
		}
		r.waitOpen(0)
	})
}
