package redis

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanfare/engine"
	"fanfare/internal/redisconn"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
	"fanfare/internal/test/wiretest"
)

// A slow connection, and a redis that pauses for less than the timeout, delay events and lose none.
func TestSlowRedis(t *testing.T) {
	r := startRedis(t)
	p := wiretest.NewProxy(t, r.Addr)
	f := startFanfare(t, setup{url: "redis://" + p.Addr(), channels: []string{"c"}, streams: []string{"s"}, timeout: 10 * time.Second})
	c, s := f.subscribe("c"), f.subscribe("s")
	p.Slow(20 * time.Millisecond)
	for i := 1; i <= 200; i++ {
		if i == 100 {
			r.do("CLIENT", "PAUSE", "300", "ALL")
		}
		r.do("PUBLISH", "c", strconv.Itoa(i))
		r.add("s", "x", strconv.Itoa(i))
	}
	checkNumbers(t, c.awaitLast("200"), 1, 200, nil)
	checkNumbers(t, s.awaitLast("200"), 1, 200, nil)
	for _, source := range []string{"pubsub", "streams"} {
		if n := f.Metric("fanfare_redis_reconnects_total", "source="+source); n != 0 {
			t.Errorf("%s: %v reconnects", source, n)
		}
	}
}

// A connection that is open but dead is noticed, in both sources, and what follows is as after any outage.
func TestDeadConnection(t *testing.T) {
	r := startRedis(t)
	p := wiretest.NewProxy(t, r.Addr)
	const timeout = 300 * time.Millisecond
	f := startFanfare(t, setup{url: "redis://" + p.Addr(), channels: []string{"c"}, streams: []string{"s"}, timeout: timeout, backoffMax: 50 * time.Millisecond})
	c, s := f.subscribe("c"), f.subscribe("s")
	r.do("PUBLISH", "c", "1")
	r.add("s", "x", "1")
	c.awaitLast("1")
	s.awaitLast("1")
	p.Hush()
	start := time.Now()
	f.AwaitMetric(0, "fanfare_redis_connected", "source=pubsub")
	f.AwaitMetric(0, "fanfare_redis_connected", "source=streams")
	t.Logf("noticed after %s with a timeout of %s", time.Since(start), timeout)
	r.do("PUBLISH", "c", "2")
	r.add("s", "x", "2")
	eventually.Holds(t, "a timeout in each", func() (bool, string) {
		a := f.Metric("fanfare_redis_errors_total", "source=pubsub", "reason=timeout")
		b := f.Metric("fanfare_redis_errors_total", "source=streams", "reason=timeout")
		return a > 1 && b > 1, fmt.Sprint(a, b)
	})
	p.Cut() // what is still on its way is lost
	p.Speak()
	p.Mend()
	f.AwaitMetric(1, "fanfare_redis_connected", "source=pubsub")
	r.do("PUBLISH", "c", "3")
	r.add("s", "x", "3")
	checkNumbers(t, s.awaitLast("3"), 1, 3, nil)
	if got := c.awaitLast("3"); len(got) != 3 || got[1].Type != "gap" {
		t.Errorf("%v", got)
	}
}

// Close ends at once whatever redis does.
func TestCloseDoesNotWait(t *testing.T) {
	r := startRedis(t)
	p := wiretest.NewProxy(t, r.Addr)
	f := startFanfare(t, setup{url: "redis://" + p.Addr(), channels: []string{"c"}, streams: []string{"s"}, timeout: time.Minute})
	p.Hush()
	start := time.Now()
	f.bridge.Close()
	p.Cut()
	p.Mend()
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("Close took %s", d)
	}
	b := startBridge(t, "redis://"+p.Addr()) // whose first command is never answered
	eventually.Holds(t, "the bridge connects", func() (bool, string) {
		return p.Conns() > 0, fmt.Sprint(p.Conns())
	})
	start = time.Now()
	b.Close()
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("Close took %s while connecting", d)
	}
}

// startBridge starts a bridge without a server, and does not wait until it has settled.
func startBridge(t *testing.T, url string) *Bridge {
	t.Helper()
	names, err := NewNames([]string{"c"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	eng := engine.New(engine.Options{})
	t.Cleanup(eng.Close)
	b, err := New(Options{URL: url, Names: names, Engine: eng, Publish: nobody, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	b.Start()
	return b
}

// A wrong password is logged with what to do, without the password, and does not make a busy loop; once it is right in
// redis, everything works.
func TestWrongPassword(t *testing.T) {
	const password, wrong = "k0rrekt-secret", "wr0ng-secret"
	r := startRedis(t, "--requirepass", password)
	for _, test := range []struct{ login, hint string }{
		{"user:" + wrong + "@", "the user name or the password in redisURL is wrong"},
		{":" + wrong + "@", "the user name or the password in redisURL is wrong"},
		{"", "redis requires a password"},
	} {
		f := startFanfare(t, setup{url: "redis://" + test.login + r.Addr, channels: []string{"c"}, streams: []string{"s"}, backoffMax: 100 * time.Millisecond})
		eventually.Holds(t, "some attempts", func() (bool, string) {
			n := f.Metric("fanfare_redis_errors_total", "source=pubsub", "reason=login")
			return n >= 5, fmt.Sprint(n)
		})
		log := f.Log.String()
		if strings.Count(log, test.hint) != 2 || strings.Contains(log, "secret") { // one line for each source
			t.Errorf("login %q: the log says\n%s", test.login, log)
		}
		f.Stop()
	}

	f := startFanfare(t, setup{url: "redis://:" + wrong + "@" + r.Addr, channels: []string{"c"}, backoffMax: 100 * time.Millisecond})
	start := time.Now()
	f.AwaitMetric(12, "fanfare_redis_errors_total", "source=pubsub", "reason=login")
	// Pauses of at least half of 5, 10, 20, 40, 80 and then 100 ms.
	if d := time.Since(start); d < 250*time.Millisecond {
		t.Errorf("12 attempts in %s", d)
	}
	r.do("CONFIG", "SET", "requirepass", wrong)
	f.AwaitMetric(1, "fanfare_redis_connected", "source=pubsub")
	c := f.subscribe("c")
	r.do("PUBLISH", "c", "in")
	c.awaitLast("in")
}

func TestPermissions(t *testing.T) {
	r := startRedis(t)
	r.do("ACL", "SETUSER", "reader", "on", ">pw", "resetchannels", "&c", "%R~s", "-@all",
		"+subscribe", "+psubscribe", "+ping", "+xread", "+xrange", "+xrevrange", "+xinfo|stream", "+scan", "+multi", "+exec")
	url := "redis://reader:pw@" + r.Addr
	// What docs/redis.md says is enough.
	f := startFanfare(t, setup{url: url, channels: []string{"c"}, streams: []string{"s", "s*"}})
	c, s := f.subscribe("c"), f.subscribe("s")
	r.do("PUBLISH", "c", "1")
	r.add("s", "x", "2")
	c.awaitLast("1")
	s.awaitLast("2")
	for _, bad := range []setup{{channels: []string{"other"}}, {streams: []string{"other"}}} {
		bad.url = url
		f := startFanfare(t, bad)
		if !strings.Contains(f.Log.String(), "reason=permission") || !strings.Contains(f.Log.String(), "docs/redis.md") {
			t.Errorf("%+v: %s", bad, f.Log)
		}
	}
}

// Redis cuts off a subscriber to which it can't send as fast as messages come: an outage like any other.
func TestHugePayload(t *testing.T) {
	r := startRedis(t)
	f := startFanfare(t, setup{url: r.URL(), channels: []string{"c"}, streams: []string{"s"}, maxEventBytes: 1 << 20, backoffMax: 50 * time.Millisecond})
	c, s := f.subscribe("c"), f.subscribe("s")
	huge := strings.Repeat("x", 40<<20) // more than client-output-buffer-limit pubsub
	r.do("PUBLISH", "c", huge)
	f.AwaitMetric(1, "fanfare_redis_reconnects_total", "source=pubsub")
	r.do("PUBLISH", "c", "after")
	if got := c.awaitLast("after"); len(got) != 2 || got[0].Type != "gap" {
		t.Errorf("%v", got)
	}
	r.add("s", "x", huge)
	r.add("s", "x", "after")
	if got := s.awaitLast("after"); len(got) != 1 {
		t.Errorf("%v", got)
	}
	if n := f.Metric("fanfare_redis_refused_total", "source=streams", "reason=maxEventBytes"); n != 1 {
		t.Errorf("refused: %v", n)
	}
}

// Whatever else listens there is told as an error.
func TestNotRedis(t *testing.T) {
	answers := []string{"HTTP/1.1 400 Bad Request\r\n\r\n", "\r\n", "", "+OK\r\n", "$5\r\nhel", "*-7\r\n", "-ERR max number of clients reached\r\n"}
	ln := wiretest.Serve(t, func(n int, c *net.TCPConn) { _, _ = io.WriteString(c, answers[n%len(answers)]) })
	f := startFanfare(t, setup{url: "redis://" + ln.Addr().String(), channels: []string{"c"}, streams: []string{"s"}, timeout: 200 * time.Millisecond, backoffMax: 10 * time.Millisecond})
	eventually.Holds(t, "many errors", func() (bool, string) {
		n := 0.0
		for _, reason := range redisconn.Reasons {
			n += f.Metric("fanfare_redis_errors_total", "source=pubsub", "reason="+reason)
		}
		return n >= 30, fmt.Sprint(n)
	})
	if n := f.Metric("fanfare_redis_connected", "source=pubsub"); n != 0 {
		t.Error("connected to something that is not redis")
	}
}

func TestSeveralAddressesTakeTurns(t *testing.T) {
	r := startRedis(t)
	f := startFanfare(t, setup{url: "redis://" + proctest.FreeAddr(t) + "?addr=" + r.Addr, channels: []string{"c"}})
	f.AwaitMetric(1, "fanfare_redis_connected", "source=pubsub")
	c := f.subscribe("c")
	r.do("PUBLISH", "c", "hello")
	c.awaitLast("hello")
}

func TestOptionsAreChecked(t *testing.T) {
	eng := engine.New(engine.Options{})
	defer eng.Close()
	names, err := NewNames([]string{"c"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	none, err := NewNames(nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{
		{},
		{URL: "redis://h", Names: none, Engine: eng, Publish: nobody},
		{URL: "redis://h", Names: names, Publish: nobody},
		{URL: "redis://h", Names: names, Engine: eng},
		{URL: "redis://:secret@h:x", Names: names, Engine: eng, Publish: nobody},
	} {
		if b, err := New(o); err == nil || b != nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	b, err := New(Options{URL: "redis://h", Names: names, Engine: eng, Publish: nobody})
	if err != nil {
		t.Fatal(err)
	}
	b.Close() // before Start
}
