package abuse_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// edgeAttacks use up what a listener has: descriptors, connections, goroutines, buffers, keys.
var edgeAttacks = group{
	name: "edge",
	start: func(t *testing.T) *victim {
		return startVictim(t, "--max-idle-connections", "1000", "--max-admin-connections", "300", "--max-keys", "20000", "--min-read-rate", "64KiB", "--max-pinned-bytes", "8MiB")
	},
	attacks: []attack{
		{name: "silent-connections", run: silentConnections},
		{name: "half-open-requests", run: halfOpenRequests},
		{name: "slow-heads-and-bodies", run: slowRequests},
		{name: "connect-and-reset", run: connectAndReset},
		{name: "streams-that-reset", run: streamsThatReset},
		{name: "key-flood", keys: 5, run: keyFlood},
		{name: "resume-flood", keys: 1, run: resumeFlood},
		{name: "zero-windows", peak: 96, keys: 1, heap: 17, run: zeroWindows},
		{name: "junk-after-the-request", run: junkAfterTheRequest},
		{name: "pipelining-flood", run: pipeliningFlood},
	},
}

// flood does n things, some at a time. The first error ends it.
func flood(t *testing.T, n, atATime int, do func(i int) error) {
	t.Helper()
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var workers sync.WaitGroup
	for range atATime {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && failed.Load() == nil; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	workers.Wait()
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
}

// broken reports whether an error is an answer that a server may give to an attack: it has closed the connection.
func broken(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// local is one of loopback's addresses: connections from one have 28,000 ports, and closed ones keep theirs for a minute.
func local(i int) *net.Dialer {
	return &net.Dialer{Timeout: eventually.Patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1+byte(i>>8&0x7f), byte(i))}}
}

// holdChild opens connections, sends the same text on each, and holds them until its input ends.
func holdChild(args []string) int {
	addr := args[0]
	n, _ := strconv.Atoi(args[1])
	text, _ := strconv.Unquote(args[2]) // it may have bytes that an argument may not
	dialer := local(rand.IntN(1 << 15))
	var open []net.Conn
	for range n {
		c, err := dialer.Dial("tcp", addr)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		_, _ = io.WriteString(c, text) // the server may have closed it
		open = append(open, c)
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	for _, c := range open {
		_ = c.Close()
	}
	return 0
}

// hold holds connections from processes of their own, half of them on each listener.
func hold(t *testing.T, v *victim, n int, text string) {
	t.Helper()
	const each = 5000 // of a process
	var stops []func()
	for _, addr := range []string{v.stream, v.admin} {
		for left := n / 2; left > 0; left -= each {
			stops = append(stops, startChild(t, "hold", addr, min(left, each), strconv.Quote(text)))
		}
	}
	for name, most := range map[string]int{"fanfare_idle_connections": 1000, "fanfare_admin_connections": 300} {
		if got := v.count(t, name); got > most+10 {
			t.Errorf("%s is %d", name, got)
		}
	}
	for _, stop := range stops {
		stop()
	}
}

func silentConnections(t *testing.T, v *victim) { hold(t, v, sized(3000, 20_000), "") }

func halfOpenRequests(t *testing.T, v *victim) {
	hold(t, v, sized(2000, 20_000), "GET /stream?connectKey=half HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
}

// slow is a request that never ends.
type slow struct {
	addr, begin string
	rest        byte // again and again
	connections int
}

// drip sends such requests byte by byte, until the server has closed all connections.
func drip(t *testing.T, requests ...slow) {
	t.Helper()
	var all []slow
	for _, r := range requests {
		for range r.connections {
			all = append(all, r)
		}
	}
	flood(t, len(all), len(all), func(i int) error {
		c, err := net.Dial("tcp", all[i].addr)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := io.WriteString(c, all[i].begin); err != nil {
			return fmt.Errorf("at the start: %w", err)
		}
		go func() { _, _ = io.Copy(io.Discard, c) }() // an answer would reset the connection
		for end := time.Now().Add(eventually.Patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if _, err := c.Write([]byte{all[i].rest}); err != nil {
				return nil
			}
		}
		return fmt.Errorf("%q and a byte now and then hold a connection", all[i].begin)
	})
}

// slowRequests are heads, and bodies: those of clients without a token, which are refused at once, and of some that have one.
func slowRequests(t *testing.T, v *victim) {
	drip(t,
		slow{v.stream, "GET /stream?connectKey=slow", 'w', 200},
		slow{v.stream, "GET /stream HTTP/1.1\r\nHost: x\r\n", 'x', 50},
		slow{v.admin, "GET /metrics HTTP/1.1\r\nX: ", 'x', 50},
		slow{v.admin, wiretest.Request("POST", "/publish?key=slow", "Content-Type: text/plain", "Content-Length: 1000000"), 'x', 50},
		slow{v.admin, wiretest.Request("POST", "/publish?key=slow", "Content-Type: text/plain", "Content-Length: 10000", "Authorization: Bearer "+publishToken), 'x', 20},
	)
}

func connectAndReset(t *testing.T, v *victim) {
	request := wiretest.Request("GET", "/stream?connectKey=reset")
	flood(t, sized(4000, 100_000), 50, func(i int) error {
		c, err := local(i).Dial("tcp", [...]string{v.stream, v.admin}[i%2])
		if err != nil {
			return err
		}
		_, _ = io.WriteString(c, request[:i%len(request)])
		if i%3 > 0 {
			_ = c.(*net.TCPConn).SetLinger(0)
		}
		return c.Close()
	})
}

func streamsThatReset(t *testing.T, v *victim) {
	flood(t, sized(2000, 50_000), 50, func(i int) error {
		c, err := local(i).Dial("tcp", v.stream)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(eventually.Patience))
		_, _ = io.WriteString(c, wiretest.Request("GET", fmt.Sprintf("/stream?connectKey=bystander&connectKey=reset-%d", i%100)))
		if _, err := c.Read(make([]byte, 100)); err != nil {
			return err
		}
		if i%3 > 0 {
			_ = c.(*net.TCPConn).SetLinger(0)
		}
		return nil
	})
}

// keyFlood opens streams of fresh, long keys. Publishers still create theirs.
func keyFlood(t *testing.T, v *victim) {
	var refused atomic.Int64
	filler := strings.Repeat("k", 900)
	flood(t, sized(1500, 30_000), 30, func(i int) error {
		target := "/stream?"
		for k := range 16 {
			target += fmt.Sprintf("&connectKey=%d-%d-%s", i, k, filler)
		}
		c, err := local(i).Dial("tcp", v.stream)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(eventually.Patience))
		_, _ = io.WriteString(c, wiretest.Request("GET", target))
		b := make([]byte, 1<<10)
		n, err := c.Read(b)
		if err != nil || !strings.HasPrefix(string(b[:n]), "HTTP/1.1 200 ") {
			return fmt.Errorf("stream %d: %q, %w", i, b[:n], err)
		}
		if i%100 == 0 {
			if a := v.Publish(fmt.Sprint("of-a-publisher-", i%500), `"x"`); a.ID == "" {
				refused.Add(1)
			}
		}
		return nil
	})
	if refused.Load() > 0 {
		t.Errorf("%d publishers got no key", &refused)
	}
}

// resumeFlood names ids that nobody has published, positions that never were, and those of other servers, of keys with a long
// history of ids that publishers have set.
func resumeFlood(t *testing.T, v *victim) {
	var batch strings.Builder
	for i := range 8000 {
		fmt.Fprintf(&batch, `{"key":"resume","data":"x","id":"own-%d"}`+"\n", i)
	}
	if status, answer := v.Do("POST", "/batch", "application/x-ndjson", batch.String()); status != 200 || strings.Contains(answer, "error") {
		t.Fatalf("%d %.300s", status, answer)
	}
	ids := []string{"nobody-%d", "hofi1upedr4c-%d", "18446744073709551615-%d", "own-%d-", "%d,%d,%d", "zzzzzzzzzzzzz-%d"}
	flood(t, sized(1500, 30_000), 64, func(i int) error {
		c, err := local(i).Dial("tcp", v.stream)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(eventually.Patience))
		id := strings.ReplaceAll(ids[i%len(ids)], "%d", strconv.Itoa(100_000+i))
		_, _ = io.WriteString(c, wiretest.Request("GET", "/stream?connectKey=resume", "Last-Event-ID: "+id))
		in := bufio.NewReader(c)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
			if line == "event: gap\n" {
				return nil
			}
			if strings.HasPrefix(line, "data: x") || line == "event: position\n" {
				return fmt.Errorf("%s is not a known id, and nobody says so: %q", id, line)
			}
		}
	})
}

// zeroWindows are clients that ask for much and read nothing.
func zeroWindows(t *testing.T, v *victim) {
	const readers = 100
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(err, c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 2048) }))
	}}
	for range readers {
		c, err := dialer.Dial("tcp", v.stream)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, wiretest.Request("GET", "/stream?connectKey=window"))
	}
	v.AwaitCount("window", readers)
	event := strings.Repeat("x", 1<<20)
	for range sized(20, 200) {
		v.PublishText("window", event)
	}
	v.AwaitCount("window", 0) // they are closed, not only forgotten: the descriptors are compared
}

func junkAfterTheRequest(t *testing.T, v *victim) {
	junk := make([]byte, 32<<10)
	flood(t, sized(50, 500), 50, func(i int) error {
		c, err := local(i).Dial("tcp", v.stream)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(eventually.Patience))
		_, _ = io.WriteString(c, wiretest.Request("GET", "/stream?connectKey=junk"))
		for { // until the server has enough
			if _, err := c.Write(junk); err != nil {
				if !broken(err) {
					return err
				}
				return nil
			}
		}
	})
}

// pipeliningFlood sends thousands of requests at once, and reads answers late or never.
func pipeliningFlood(t *testing.T, v *victim) {
	each := sized(3000, 30_000)
	requests := strings.Repeat(wiretest.Request("GET", "/healthz"), each)
	flood(t, 40, 40, func(i int) error {
		c, err := local(i).Dial("tcp", [...]string{v.stream, v.admin}[i%2])
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(eventually.Patience))
		if i%4 < 2 { // never: the server must not wait indefinitely
			if _, err := io.WriteString(c, requests+requests+requests); err != nil && !broken(err) {
				return err
			}
			return nil
		}
		go func() { _, _ = io.WriteString(c, requests) }()
		in := bufio.NewReader(c)
		for n := range each {
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				return fmt.Errorf("answer %d: %w", n, err)
			}
			if _, err = io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
				return fmt.Errorf("answer %d: %s, %w", n, resp.Status, err)
			}
		}
		return nil
	})
}
