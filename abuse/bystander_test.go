package abuse_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/codec"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// bystanders are a publisher and a subscriber of one key. Its events are numbered from 1.
type bystanders struct {
	t    *testing.T
	v    *victim
	key  string
	conn net.Conn

	client  *http.Client
	stop    chan struct{}
	running sync.WaitGroup

	sent, received atomic.Int64
	again          sync.Map // of sent events: who repeats a request does not know whether it was the first one
	repeated       atomic.Int64
	last           atomic.Int64 // set once the publisher has stopped
	problem        atomic.Pointer[string]
}

// pace is the time between two events of a publisher that behaves well.
const pace = 10 * time.Millisecond

// bystanders starts them.
func (v *victim) bystanders(t *testing.T) *bystanders {
	t.Helper()
	b := &bystanders{t: t, v: v, key: "bystander", stop: make(chan struct{}), client: &http.Client{Transport: &http.Transport{}, Timeout: eventually.Patience}}
	b.last.Store(-1)
	b.conn = v.open(t)
	if _, err := io.WriteString(b.conn, wiretest.Request("GET", "/stream?connectKey="+b.key)); err != nil {
		t.Fatal(err)
	}
	subscribed := make(chan struct{})
	b.running.Go(func() { b.subscribe(subscribed) })
	select {
	case <-subscribed:
	case <-time.After(eventually.Patience):
		t.Fatal("the subscriber gets no stream")
	}
	b.running.Go(b.publish)
	t.Cleanup(func() { // after a failure
		b.halt()
		_ = b.conn.Close()
		b.running.Wait()
		b.client.CloseIdleConnections()
	})
	return b
}

func (b *bystanders) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.problem.CompareAndSwap(nil, &text)
}

func (b *bystanders) check() {
	b.t.Helper()
	if p := b.problem.Load(); p != nil {
		b.t.Fatalf("who behaves well suffers: %s", *p)
	}
}

// publish numbers and publishes events. Somebody whose connection breaks sends the request again, and so does somebody who is told
// to come back, because others use up maxBodyTotalBytes.
func (b *bystanders) publish() {
	for n := int64(1); ; n++ {
		deadline := time.Now().Add(eventually.Patience)
		for attempt := 0; ; attempt++ {
			status, err := b.post(n)
			if status == http.StatusOK {
				break
			}
			if status == http.StatusServiceUnavailable && time.Now().Before(deadline) {
				attempt--
				time.Sleep(pace)
				continue
			}
			if err == nil || attempt == 20 {
				b.fail("event %d, attempt %d: status %d, %v", n, attempt+1, status, err)
				return
			}
			b.again.Store(n, true)
			b.repeated.Add(1)
		}
		b.sent.Store(n)
		select {
		case <-b.stop:
			b.last.Store(n)
			return
		case <-time.After(pace):
		}
	}
}

func (b *bystanders) post(n int64) (status int, err error) {
	req, err := http.NewRequest(http.MethodPost, b.v.Admin+"/publish?key="+b.key, strings.NewReader(strconv.FormatInt(n, 10)))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "text/plain")
	req.Header.Set("Authorization", "Bearer "+publishToken)
	resp, err := b.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// subscribe reads the stream until the last event.
func (b *bystanders) subscribe(subscribed chan struct{}) {
	var parser codec.Parser
	next := int64(1)
	buf := make([]byte, 16<<10)
	head := true
	for {
		n, err := b.conn.Read(buf)
		in := buf[:n]
		if head && n > 0 {
			head = false
			if !bytes.HasPrefix(in, []byte("HTTP/1.1 200 ")) {
				b.fail("the stream begins with %q", in[:min(n, 200)])
				return
			}
			close(subscribed)
			// The head ends with the first empty line, and is not in two parts on loopback.
			_, in, _ = bytes.Cut(in, []byte("\r\n\r\n"))
		}
		perr := parser.Feed(in, func(m codec.Message) {
			if string(m.Type) == "position" {
				return
			}
			got, err := strconv.ParseInt(string(m.Data), 10, 64)
			_, repeated := b.again.Load(got)
			switch {
			case err != nil || string(m.Type) != "message":
				b.fail("the subscriber gets %s %.200q", m.Type, m.Data)
			case got == next:
				next++
				b.received.Store(got)
			case !repeated || got > next:
				b.fail("the subscriber gets event %d, the next is %d", got, next)
			}
		})
		switch {
		case b.problem.Load() != nil || b.last.Load() == next-1:
			return
		case err != nil || perr != nil:
			b.fail("the stream ends after event %d: %v, %v", next-1, err, perr)
			return
		}
	}
}

// await waits until n more events have arrived.
func (b *bystanders) await(n int64) {
	b.t.Helper()
	to := b.received.Load() + n
	eventually.True(b.t, "events arrive", func() bool { b.check(); return b.received.Load() >= to })
}

// fresh opens another stream and publishes to it, as somebody who comes after the attack.
func (b *bystanders) fresh(t *testing.T) {
	t.Helper()
	b.await(10)
	w := wiretest.New(t, b.v.open(t))
	w.Send(wiretest.Request("GET", "/stream?connectKey="+b.key))
	if w.ReadHead(); w.Status != http.StatusOK {
		t.Fatalf("who comes now gets status %d", w.Status)
	}
	e := wiretest.NewEvents(w)
	e.Next()
	e.Close()
}

func (b *bystanders) halt() {
	select {
	case <-b.stop:
	default:
		close(b.stop)
	}
}

// end stops the publisher, and waits until the subscriber has everything.
func (b *bystanders) end() (events, repeated int64) {
	b.t.Helper()
	b.halt()
	eventually.True(b.t, "the last event arrives", func() bool {
		b.check()
		last := b.last.Load()
		return last > 0 && b.received.Load() == last
	})
	_ = b.conn.Close()
	b.running.Wait()
	b.client.CloseIdleConnections()
	return b.received.Load(), b.repeated.Load()
}
