package redis

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

func TestPublishReachesSubscribers(t *testing.T) {
	r := startRedis(t)
	f := startFanfare(t, setup{url: r.URL(), channels: []string{"news", "ticker.*", "n*s"}})
	news, ticker, both := f.subscribe("news"), f.subscribe("ticker.a"), f.subscribe("ticker.b", "news")
	for _, p := range [][2]string{
		{"news", "hello"}, {"ticker.a", "1"}, {"ticker.b", "2"}, {"elsewhere", "lost"}, {"nails", "by a pattern"},
		{"news", `{"event":"e","id":"own","data":{"a":1}}`}, {"news", "two\nlines"}, {"news", `{"a":1}`},
	} {
		if n, err := r.do("PUBLISH", p[0], p[1]).AsInt64(); err != nil || p[0] != "elsewhere" && n == 0 {
			t.Fatalf("%v: %d receivers, %v", p, n, err)
		}
	}
	// "news" is subscribed to by name and by a pattern, and comes once.
	want := []wiretest.Message{
		{Type: "message", Data: "hello"}, {Type: "e", Data: `{"a":1}`, ID: "own"}, {Type: "message", Data: "two\nlines"}, {Type: "message", Data: `{"a":1}`},
	}
	got := news.await(len(want))
	for i, w := range want {
		if got[i].Type != w.Type || got[i].Data != w.Data || w.ID != "" && got[i].ID != w.ID || got[i].ID == "" {
			t.Errorf("news: %v, want %v", got[i], w)
		}
	}
	if got := ticker.await(1); len(got) != 1 || got[0].Data != "1" {
		t.Errorf("ticker.a: %v", got)
	}
	if got := both.await(5); len(got) != 5 || got[0].Data != "2" && got[0].Data != "hello" {
		t.Errorf("ticker.b and news: %v", got)
	}
	if n := f.Metric("fanfare_redis_messages_total", "source=pubsub"); n != 7 {
		t.Errorf("%v messages", n)
	}
}

func TestRulesNameKeys(t *testing.T) {
	r := startRedis(t)
	f := startFanfare(t, setup{url: r.URL(), channels: []string{"app:*", "alarm.*", "other"}, rules: []string{"app:* -> *", "alarm.* -> alarms"}})
	news, alarms := f.subscribe("news"), f.subscribe("alarms")
	r.do("PUBLISH", "app:news", "a")
	r.do("PUBLISH", "alarm.fire", "b")
	r.do("PUBLISH", "alarm.flood", "c")
	r.do("PUBLISH", "other", "x")
	r.do("PUBLISH", "app:", "x")
	r.do("PUBLISH", "app:news", "d")
	if got := news.awaitLast("d"); len(got) != 2 || got[0].Data != "a" {
		t.Errorf("news: %v", got)
	}
	if got := alarms.await(2); got[0].Data != "b" || got[1].Data != "c" {
		t.Errorf("alarms: %v", got)
	}
	if n := f.Metric("fanfare_redis_refused_total", "source=pubsub", "reason=name"); n != 2 {
		t.Errorf("%v messages without a key", n)
	}
	if !strings.Contains(f.Log.String(), `name=other error="no rule of redisKeys gives this name a key: add one"`) || strings.Contains(f.Log.String(), "app:") {
		t.Error("the log has not one line, of the first message without a key")
	}
}

func TestWhatIsRefusedLeavesTheRest(t *testing.T) {
	r := startRedis(t)
	f := startFanfare(t, setup{url: r.URL(), channels: []string{"*"}, maxEventBytes: 1 << 20})
	c := f.subscribe("k")
	r.do("PUBLISH", "k", "\xff")
	r.do("PUBLISH", "k", strings.Repeat("x", 1<<20))
	r.do("PUBLISH", "k", strings.Repeat("x", 16<<20))
	r.do("PUBLISH", "k", `{"data":"x","event":"a\nb"}`)
	r.do("PUBLISH", strings.Repeat("k", 2000), "x")
	r.do("PUBLISH", "\xff", "x")
	r.do("PUBLISH", "k", strings.Repeat("y", 1<<20-100))
	r.do("PUBLISH", "k", "end")
	if got := c.awaitLast("end"); len(got) != 2 || len(got[0].Data) != 1<<20-100 {
		t.Errorf("%v", got)
	}
	for reason, want := range map[string]float64{"maxEventBytes": 2, "invalid": 4} {
		if n := f.Metric("fanfare_redis_refused_total", "source=pubsub", "reason="+reason); n != want {
			t.Errorf("%s: %v, want %v", reason, n, want)
		}
		if n := strings.Count(f.Log.String(), "reason="+reason); n != 1 {
			t.Errorf("%s: logged %d times", reason, n)
		}
	}
}

func TestMaxKeysRefuses(t *testing.T) {
	r := startRedis(t)
	f := startFanfare(t, setup{url: r.URL(), channels: []string{"*"}, early: func(f *fanfare) {
		f.Eng.Reconfigure(engine.Options{MaxKeys: 1})
	}})
	c := f.subscribe("k")
	r.do("PUBLISH", "another", "x")
	r.do("PUBLISH", "k", "end")
	c.awaitLast("end")
	if n := f.Metric("fanfare_redis_refused_total", "source=pubsub", "reason=maxKeys"); n != 1 {
		t.Errorf("refused: %v", n)
	}
}

// A publisher numbers its messages per channel while redis is killed and started again. Every subscriber gets the
// numbers in order, each once at most; wherever some are missing there is a gap before the next.
func TestKillDuringTraffic(t *testing.T) {
	r := startRedis(t)
	f := startFanfare(t, setup{url: r.URL(), channels: []string{"a", "p.*"}, backoffMax: 100 * time.Millisecond})
	channels := []string{"a", "p.1", "p.2"}
	var clients []*client
	for _, k := range channels {
		clients = append(clients, f.subscribe(k))
	}
	idle := f.subscribe("p.idle")
	uncovered := f.subscribe("q")

	var publishing sync.WaitGroup
	stop, sent := make(chan struct{}), make([]int, len(channels))
	for i, channel := range channels {
		publishing.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := r.try("PUBLISH", channel, strconv.Itoa(sent[i]+1)); err == nil {
					sent[i]++ // a publish that failed may have been carried out: then the number comes twice
				} else if _, ok := rueidis.IsRedisErr(err); !ok {
					sent[i]++
				}
			}
		})
	}
	const kills = 3
	for k := range kills {
		for _, c := range clients {
			c.await(len(c.seen()) + 50)
		}
		r.Kill()
		f.AwaitMetric(0, "fanfare_redis_connected", "source=pubsub")
		r.up()
		f.AwaitMetric(float64(k+1), "fanfare_redis_reconnects_total", "source=pubsub")
	}
	for _, c := range clients {
		c.await(len(c.seen()) + 50)
	}
	close(stop)
	publishing.Wait()
	for i, c := range clients {
		r.do("PUBLISH", channels[i], "0")
		events := c.awaitLast("0")
		list, gaps := numbers(t, events[:len(events)-1])
		if gaps != kills {
			t.Errorf("%s: %d gaps for %d outages", channels[i], gaps, kills)
		}
		last, told, missed := 0, true, 0
		for _, e := range events[:len(events)-1] {
			if e.Type == "gap" {
				told = true
				continue
			}
			n, _ := strconv.Atoi(e.Data)
			if n <= last || n != last+1 && !told {
				t.Fatalf("%s: %d after %d, gap told: %v", channels[i], n, last, told)
			}
			missed += n - last - 1
			last, told = n, false
		}
		if len(list)+missed != last || last > sent[i] {
			t.Errorf("%s: %d came and %d are missing up to %d of %d", channels[i], len(list), missed, last, sent[i])
		}
		t.Logf("%s: %d sent, %d came, %d missing behind %d gaps", channels[i], sent[i], len(list), missed, gaps)
	}
	for _, e := range idle.await(kills) {
		if g := e.Gap(t); g != (wiretest.Gap{Key: "p.idle", Reason: "source"}) {
			t.Errorf("%s: %v", e, g)
		}
	}
	if got := uncovered.seen(); len(got) != 0 {
		t.Errorf("a key that no subscription covers got %v", got)
	}
	if n := f.Metric("fanfare_redis_gaps_total", "source=pubsub"); n != kills*4 {
		t.Errorf("%v gaps told, want %d", n, kills*4)
	}
}

// A client that was away during an outage hears of it when it resumes.
func TestGapWaitsForThoseWhoResume(t *testing.T) {
	r := startRedis(t)
	f := startFanfare(t, setup{url: r.URL(), channels: []string{"k"}, backoffMax: 50 * time.Millisecond})
	c := f.subscribe("k")
	r.do("PUBLISH", "k", "before")
	c.awaitLast("before")
	c.leave()
	r.Kill()
	r.up()
	f.AwaitMetric(1, "fanfare_redis_reconnects_total", "source=pubsub")
	r.do("PUBLISH", "k", "after")
	c.open(f)
	got := c.awaitLast("after")
	if len(got) != 3 || got[1].Type != "gap" {
		t.Errorf("%v", got)
	}
}

// A burst: in order, none missing, none twice.
func TestBurst(t *testing.T) {
	const total = 10_000
	r := startRedis(t)
	f := startFanfare(t, setup{url: r.URL(), channels: []string{"b.*"}})
	c := f.subscribe("b.1")
	start := time.Now()
	commands := make([]rueidis.Completed, total)
	for i := range commands {
		commands[i] = r.client.B().Publish().Channel("b.1").Message(strconv.Itoa(i)).Build()
	}
	for _, result := range r.client.DoMulti(t.Context(), commands...) {
		if err := result.Error(); err != nil {
			t.Fatal(err)
		}
	}
	published := time.Since(start)
	list, gaps := numbers(t, c.await(total))
	t.Logf("%d messages: published in %s, all there after %s", total, published, time.Since(start))
	for i, n := range list {
		if n != i {
			t.Fatalf("number %d is %d", i, n)
		}
	}
	if len(list) != total || gaps != 0 {
		t.Errorf("%d messages, %d gaps", len(list), gaps)
	}
}

// Many publishers, subscribers that come and go, outages in between: nothing races, everything ends.
func TestHammer(t *testing.T) {
	r := startRedis(t, "--appendonly", "yes", "--appendfsync", "no")
	f := startFanfare(t, setup{url: r.URL(), channels: []string{"h.*", "h.1"}, streams: []string{"s.*"},
		backoffMax: 20 * time.Millisecond, pollInterval: 20 * time.Millisecond})
	var publishers, subscribers sync.WaitGroup
	stopPublishing, stopSubscribing := make(chan struct{}), make(chan struct{})
	// until calls step with 0, 1, 2, … until stop is closed.
	until := func(stop chan struct{}, step func(n int)) func() {
		return func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
					step(n)
				}
			}
		}
	}
	for i := range 4 {
		publishers.Go(until(stopPublishing, func(n int) {
			_, _ = r.try("PUBLISH", fmt.Sprintf("h.%d", n%5), "x")
			_, _ = r.try("XADD", fmt.Sprintf("s.%d", (n+i)%5), "MAXLEN", "~", "100", "*", "data", "x")
			if n%50 == 0 {
				_, _ = r.try("DEL", fmt.Sprintf("s.%d", i))
			}
		}))
		subscribers.Go(until(stopSubscribing, func(n int) {
			c := f.subscribe(fmt.Sprintf("h.%d", n%5), fmt.Sprintf("s.%d", (n+i)%5))
			c.await(1)
			c.leave()
			_, _ = f.Srv.Publish(fmt.Sprintf("s.%d", i), codec.Event{Data: []byte("from the side")})
		}))
	}
	for range 3 {
		reconnects := f.Metric("fanfare_redis_reconnects_total", "source=streams")
		before := f.Metric("fanfare_redis_messages_total", "source=streams")
		eventually.Holds(t, "messages", func() (bool, string) {
			n := f.Metric("fanfare_redis_messages_total", "source=streams")
			return n > before+200, fmt.Sprint(n)
		})
		r.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		r.do("CLIENT", "KILL", "TYPE", "pubsub")
		eventually.Holds(t, "a reconnect", func() (bool, string) {
			n := f.Metric("fanfare_redis_reconnects_total", "source=streams")
			return n > reconnects, fmt.Sprint(n)
		})
	}
	close(stopSubscribing)
	subscribers.Wait() // while there is something to receive
	close(stopPublishing)
	publishers.Wait()
	f.Stop()
	if n := f.Metric("fanfare_redis_connected", "source=pubsub"); n != 0 {
		t.Errorf("connected: %v", n)
	}
}
