package redis

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// durable has Redis lose nothing that it has answered for, even if it is killed.
var durable = []string{"--appendonly", "yes", "--appendfsync", "always"}

// checkNumbers fails unless the events are the numbers from first to last in order, with these ids, and nothing else.
func checkNumbers(t *testing.T, events []wiretest.Message, first, last int, ids map[int]string) {
	t.Helper()
	if len(events) != last-first+1 {
		t.Errorf("%d events, want %d", len(events), last-first+1)
	}
	for i, e := range events {
		if e.Type != "message" || e.Data != strconv.Itoa(first+i) || ids != nil && e.ID != ids[first+i] {
			t.Fatalf("event %d is %v, want %d (id %s)", i, e, first+i, ids[first+i])
		}
	}
}

// onlyGap returns the one gap among the events, decoded, and the others.
func onlyGap(t *testing.T, events []wiretest.Message) (g wiretest.Gap, others []wiretest.Message) {
	t.Helper()
	gaps := 0
	for _, e := range events {
		if e.Type != "gap" {
			others = append(others, e)
			continue
		}
		gaps++
		g = e.Gap(t)
	}
	if gaps != 1 {
		t.Errorf("%d gaps in %v", gaps, events)
	}
	return g, others
}

func TestEntriesReachSubscribers(t *testing.T) {
	r := startRedis(t)
	f := startFanfare(t, setup{url: r.URL(), streams: []string{"orders", "t:*"}, rules: []string{"t:* -> ticker/*", "* -> *"}, pollInterval: 20 * time.Millisecond})
	orders, ticker := f.subscribe("orders"), f.subscribe("ticker/a", "orders")
	a := r.add("orders", "data", "one", "event", "e")
	b := r.add("orders", "x", `{"data":"two","id":"its own"}`)
	r.add("orders", "data", "bad", "event", "a\nb")
	c := r.add("orders", "item", "book", "qty", "2")
	want := []wiretest.Message{
		{Type: "e", Data: "one", ID: a}, {Type: "message", Data: "two", ID: b}, {Type: "message", Data: `{"item":"book","qty":"2"}`, ID: c},
	}
	for i, e := range orders.await(3) {
		if e != want[i] {
			t.Errorf("%v, want %v", e, want[i])
		}
	}
	if ticker.await(3); f.Metric("fanfare_redis_streams") != 1 {
		t.Error("more streams are read than there are")
	}
	// A stream that is made later is found, and read from its beginning.
	first := r.add("t:a", "x", "1")
	r.add("t:a", "x", "2")
	r.do("SET", "t:b", "no stream")
	if got := ticker.awaitLast("2"); len(got) != 5 || got[3].Data != "1" || !strings.HasPrefix(got[3].ID, first+"~") || !strings.Contains(got[3].ID, ","+c+"~") {
		t.Errorf("%v", got)
	}
	for reason, want := range map[string]float64{"invalid": 1, "noStream": 0} {
		if n := f.Metric("fanfare_redis_refused_total", "source=streams", "reason="+reason); n != want {
			t.Errorf("%s: %v", reason, n)
		}
	}
	f.AwaitMetric(2, "fanfare_redis_streams")
	f.AwaitMetric(0, "fanfare_redis_behind_entries")
}

// Entries are numbered while redis is killed and started again, and Fanfare is too, on the same address: a client that
// stays and one that resumes by Last-Event-ID get every number once, in order, and no gap.
func TestNothingIsMissedOrTwice(t *testing.T) {
	r := startRedis(t, durable...)
	s := setup{url: r.URL(), streams: []string{"s"}, channels: []string{"c"}, backoffMax: 50 * time.Millisecond}
	ids := map[int]string{}
	last := 0
	for range 100 { // before Fanfare has ever run
		last++
		ids[last] = r.add("s", "data", strconv.Itoa(last))
	}
	f := startFanfare(t, s)
	s.addr = f.Addr
	stays := f.subscribe("s")
	twoKeys := f.subscribe("c", "s")
	first := last + 1

	var mu sync.Mutex
	var adding sync.WaitGroup
	stop := make(chan struct{})
	adding.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			m, err := r.try("XADD", "s", "*", "data", strconv.Itoa(last+1))
			if err == nil {
				id, _ := m.ToString()
				mu.Lock()
				last++
				ids[last] = id
				mu.Unlock()
				continue
			}
			// The connection broke: the entry is there or not. Find out, as a careful publisher would.
			for {
				m, err := r.try("XREVRANGE", "s", "+", "-", "COUNT", "1")
				if err != nil {
					continue
				}
				list, err := parseEntries(m)
				if err != nil || len(list) != 1 {
					t.Errorf("%v, %v", list, err)
					return
				}
				mu.Lock()
				if n, _ := strconv.Atoi(list[0].fields[0].value); n == last+1 {
					last++
					ids[last] = list[0].id.String()
				}
				mu.Unlock()
				break
			}
		}
	})
	for i := range 4 {
		stays.await(len(stays.seen()) + 100)
		if i%2 == 0 {
			reconnects := f.Metric("fanfare_redis_reconnects_total", "source=streams")
			r.Kill()
			f.AwaitMetric(0, "fanfare_redis_connected", "source=streams")
			r.up()
			f.AwaitMetric(reconnects+1, "fanfare_redis_reconnects_total", "source=streams")
			continue
		}
		f.Stop()
		stays.leave()
		twoKeys.leave()
		f = startFanfare(t, s)
		stays.resume(f)
		twoKeys.resume(f)
	}
	stays.await(len(stays.seen()) + 100)
	close(stop)
	adding.Wait()
	checkNumbers(t, stays.awaitLast(strconv.Itoa(last)), first, last, ids)

	var own []wiretest.Message
	gapsOfPubSub := 0
	for _, e := range twoKeys.awaitLast(strconv.Itoa(last)) {
		if e.Type == "gap" {
			gapsOfPubSub++ // of the key c: two outages, and two lives of the key
			continue
		}
		own = append(own, e)
	}
	checkNumbers(t, own, first, last, nil)
	if gapsOfPubSub < 2 {
		t.Errorf("%d gaps of the other key", gapsOfPubSub)
	}
	if n := f.Metric("fanfare_redis_gaps_total", "source=streams"); n != 0 {
		t.Errorf("%v gaps of a stream that lost nothing", n)
	}
	t.Logf("%d entries, two outages of redis, two restarts", last)

	// The history is as long as the key's, and who has nothing yet gets none of it.
	newcomer := f.subscribe("s")
	mu.Lock()
	last++
	ids[last] = r.add("s", "data", strconv.Itoa(last))
	mu.Unlock()
	checkNumbers(t, newcomer.awaitLast(strconv.Itoa(last)), last, last, ids)
}

// A client that has had no event yet resumes exactly, after a restart too: its first id is that of the newest entry.
func TestResumeBeforeTheFirstEvent(t *testing.T) {
	r := startRedis(t)
	r.add("s", "x", "old")
	s := setup{url: r.URL(), streams: []string{"s"}}
	f := startFanfare(t, s)
	c := f.subscribe("s")
	eventually.Holds(t, "the opening id", func() (bool, string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.lastID != "", c.lastID
	})
	f.Stop()
	c.leave()
	r.add("s", "x", "new")
	c.open(startFanfare(t, s))
	if got := c.awaitLast("new"); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

func TestBackfillIsBounded(t *testing.T) {
	r := startRedis(t)
	ids := map[int]string{}
	for i := 1; i <= 100; i++ {
		ids[i] = r.add("s", "x", strconv.Itoa(i))
	}
	f := startFanfare(t, setup{url: r.URL(), streams: []string{"s"}, key: engine.KeyOptions{History: 32}})
	for _, test := range []struct {
		after, first int
		gap          bool
	}{{99, 100, false}, {68, 69, true}, {69, 70, false}} {
		c := &client{keys: []string{"s"}, lastID: ids[test.after]}
		c.open(f)
		events := c.awaitLast("100")
		if test.gap {
			_, events = onlyGap(t, events)
		}
		checkNumbers(t, events, test.first, 100, ids)
	}
	if n := f.Metric("fanfare_redis_messages_total", "source=streams"); n != 32 {
		t.Errorf("%v entries were read for a history of 32", n)
	}
}

func TestTrimmedDuringAnOutage(t *testing.T) {
	r := startRedis(t, durable...)
	p := wiretest.NewProxy(t, r.Addr)
	f := startFanfare(t, setup{url: "redis://" + p.Addr(), streams: []string{"s"}, backoffMax: 50 * time.Millisecond})
	c := f.subscribe("s")
	last := ""
	for i := 1; i <= 10; i++ {
		last = r.add("s", "x", strconv.Itoa(i))
	}
	c.awaitLast("10")
	p.Cut()
	for i := 11; i <= 100; i++ {
		r.add("s", "x", strconv.Itoa(i))
	}
	r.do("XTRIM", "s", "MAXLEN", "20")
	p.Mend()
	g, events := onlyGap(t, c.awaitLast("100"))
	if g.Key != "s" || g.Reason != "source" || g.Missed == nil || *g.Missed != 70 || g.After != last || g.Next != "" {
		t.Errorf("%+v", g)
	}
	checkNumbers(t, events[10:], 81, 100, nil)

	// Trimmed up to what was read and no further: nothing is missing.
	p.Cut()
	for i := 101; i <= 120; i++ {
		r.add("s", "x", strconv.Itoa(i))
	}
	r.do("XTRIM", "s", "MAXLEN", "20")
	p.Mend()
	if _, events = onlyGap(t, c.awaitLast("120")); len(events) != 10+20+20 {
		t.Errorf("%d events", len(events))
	}
}

// A stream that keeps one entry loses each with the next: no gap, as long as every one is read.
func TestStreamOfOneEntry(t *testing.T) {
	r := startRedis(t)
	f := startFanfare(t, setup{url: r.URL(), streams: []string{"s"}})
	c := f.subscribe("s")
	for i := 1; i <= 50; i++ {
		r.do("XADD", "s", "MAXLEN", "1", "*", "x", strconv.Itoa(i))
		c.awaitLast(strconv.Itoa(i))
	}
	checkNumbers(t, c.seen(), 1, 50, nil)
	// Several at once, of which all but the last are gone before anybody can read them.
	r.do("EVAL", `for i = 51, 60 do redis.call("XADD", "s", "MAXLEN", "1", "*", "x", i) end`, "0")
	g, events := onlyGap(t, c.awaitLast("60"))
	if g.Missed == nil || *g.Missed != 9 {
		t.Errorf("%+v", g)
	}
	checkNumbers(t, events[50:], 60, 60, nil)
}

func TestDeletedAndMadeAgain(t *testing.T) {
	r := startRedis(t)
	f := startFanfare(t, setup{url: r.URL(), streams: []string{"s"}, pollInterval: 20 * time.Millisecond})
	c := f.subscribe("s")
	r.do("XADD", "s", "100-0", "x", "1")
	r.do("XADD", "s", "200-0", "x", "2")
	c.awaitLast("2")
	r.do("FLUSHALL")
	c.await(3)
	// Lower ids than before, which XREAD would never bring.
	r.do("XADD", "s", "5-0", "x", "3")
	r.do("XADD", "s", "6-0", "x", "4")
	_, events := onlyGap(t, c.awaitLast("4"))
	checkNumbers(t, events, 1, 4, map[int]string{1: "100-0", 2: "200-0", 3: "5-0", 4: "6-0"})

	// At one moment, between two looks.
	r.do("EVAL", `redis.call("DEL", "s"); redis.call("XADD", "s", "1-0", "x", "5"); redis.call("XADD", "s", "2-0", "x", "6")`, "0")
	events = c.awaitLast("6")
	if len(events) != 8 || events[5].Type != "gap" || events[6].Data != "5" || events[6].ID != "1-0" {
		t.Errorf("%v", events)
	}
}

// A redis that saves now and then loses its newest entries when it is killed. The clients have had them: they are told,
// and nothing comes twice.
func TestRedisLosesItsNewestEntries(t *testing.T) {
	r := startRedis(t)
	f := startFanfare(t, setup{url: r.URL(), streams: []string{"s"}, backoffMax: 50 * time.Millisecond})
	c := f.subscribe("s")
	for i := 1; i <= 10; i++ {
		r.add("s", "x", strconv.Itoa(i))
		if i == 5 {
			r.do("SAVE")
		}
	}
	c.awaitLast("10")
	r.Kill()
	r.up()
	r.add("s", "x", "11")
	g, events := onlyGap(t, c.awaitLast("11"))
	if g.Missed != nil {
		t.Errorf("%+v", g)
	}
	checkNumbers(t, events, 1, 11, nil)
}

// Whoever comes before redis was ever reached is told so, and gets the history when it is.
func TestRedisComesLater(t *testing.T) {
	r := startRedis(t, durable...)
	for i := 1; i <= 5; i++ {
		r.add("s", "x", strconv.Itoa(i))
	}
	r.Kill()
	f := startFanfare(t, setup{url: r.URL(), streams: []string{"s"}, channels: []string{"c"}, backoffMax: 50 * time.Millisecond})
	s, p, nobody := f.subscribe("s"), f.subscribe("c"), f.subscribe("x")
	r.up()
	_, events := onlyGap(t, s.awaitLast("5"))
	checkNumbers(t, events, 1, 5, nil)
	if g, _ := onlyGap(t, p.await(1)); g.Key != "c" {
		t.Errorf("%+v", g)
	}
	r.do("PUBLISH", "c", "hello")
	p.awaitLast("hello")
	if got := nobody.seen(); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestStreamsThatAreNotRead(t *testing.T) {
	r := startRedis(t)
	r.do("SET", "text", "x")
	for _, name := range []string{"a:1", "b:1", "c:1", "c:2", "x"} {
		r.add(name, "x", "1")
	}
	f := startFanfare(t, setup{url: r.URL(), streams: []string{"text", "a:1", "b:*", "c:*", "x"}, maxStreams: 4,
		rules: []string{"a:* -> *", "b:* -> *", "c:* -> c*", "text -> text"}, pollInterval: 20 * time.Millisecond})
	c := f.subscribe("1")
	r.add("b:1", "x", "not this one")
	r.add("a:1", "x", "this one")
	if got := c.awaitLast("this one"); len(got) != 1 {
		t.Errorf("%v", got)
	}
	for _, reason := range []string{"noStream", "keyTaken", "name"} {
		if f.Metric("fanfare_redis_refused_total", "source=streams", "reason="+reason) == 0 {
			t.Errorf("nothing is refused for %s", reason)
		}
	}
	if n := f.Metric("fanfare_redis_streams"); n != 4 {
		t.Errorf("%v streams", n)
	}
	r.add("c:3", "x", "one too many")
	eventually.Holds(t, "a stream over the limit", func() (bool, string) {
		n := f.Metric("fanfare_redis_refused_total", "source=streams", "reason=redisMaxStreams")
		return n > 0, fmt.Sprint(n)
	})
	// What becomes a stream is read.
	text := f.subscribe("text")
	r.do("DEL", "text")
	r.add("text", "x", "now a stream")
	text.awaitLast("now a stream")
}

// A burst, large entries among it: in order, none missing, none twice.
func TestStreamBurst(t *testing.T) {
	const total = 10_000
	r := startRedis(t)
	f := startFanfare(t, setup{url: r.URL(), streams: []string{"s"}})
	c := f.subscribe("s")
	start := time.Now()
	commands := make([]rueidis.Completed, total)
	for i := range commands {
		commands[i] = r.client.B().Arbitrary("XADD", "s", "*", "x", strconv.Itoa(i)).Build()
	}
	for _, result := range r.client.DoMulti(t.Context(), commands...) {
		if err := result.Error(); err != nil {
			t.Fatal(err)
		}
	}
	published := time.Since(start)
	events := c.await(total)
	t.Logf("%d entries: added in %s, all there after %s", total, published, time.Since(start))
	checkNumbers(t, events, 0, total-1, nil)
}
