package main_test

import (
	"fmt"
	"strings"
	"testing"

	"fanfare/internal/test/proctest"
)

// No event and no heartbeat is written: what opens the stream is the response's head alone.
func TestBrowserOpensBeforeTheFirstEvent(t *testing.T) {
	s := start(t, "--ping-interval", "10m")
	for name, url := range map[string]string{"one key": s.URL("quiet"), "two keys": s.URL("quiet", "calm"), "no key": s.Stream + "/stream"} {
		tb := openCollector(t, url)
		tb.await("opens.length === 1", "source.readyState")
		if n := eval[int](tb, "seen.length"); n != 0 {
			t.Errorf("%s: %d events, and none was published", name, n)
		}
	}
}

func TestBrowserOpensWithIDsOff(t *testing.T) {
	s := start(t, "--ids", "off", "--ping-interval", "10m")
	openCollector(t, s.URL("quiet")).await("opens.length === 1", "source.readyState")
}

func TestBrowserReceives(t *testing.T) {
	s := start(t)
	tb := openCollector(t, s.URL("news"), "update", "Grüße")
	tb.await("opens.length === 1", "source.readyState")
	long := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	for _, e := range []struct{ contentType, body, kind, data, id string }{
		{"text/plain", "hello", "message", "hello", ""},
		{"application/json", `"hello"`, "message", "hello", ""},
		{"application/json", `{"event":"update","data":"x"}`, "update", "x", ""},
		{"application/json", `{"event":"Grüße","id":"n° 1","data":"x"}`, "Grüße", "x", "n° 1"},
		{"text/plain", "one\ntwo\r\nthree\rfour\n", "message", "one\ntwo\nthree\nfour\n", ""},
		{"application/json", `{"data":{"a":[1, 9007199254740993], "b":"c"}}`, "message", `{"a":[1,9007199254740993],"b":"c"}`, ""},
		{"text/plain", "naïve – 日本語 – 👋🏽 – \u2028 – \ufeff", "message", "naïve – 日本語 – 👋🏽 – \u2028 – \ufeff", ""},
		{"text/plain", "  leading and trailing  ", "message", "  leading and trailing  ", ""},
		{"text/event-stream", "event: update\nid: seven\ndata: x\n\n", "update", "x", "seven"},
		{"text/plain", long, "message", long, ""},
	} {
		n := eval[int](tb, "seen.length")
		p := s.Post("/publish?key=news", e.contentType, e.body)
		got := tb.awaitSeen(n + 1)[n]
		if e.id != "" && p.ID != e.id {
			t.Errorf("%.80s: the answer's id is %q, want %q", e.body, p.ID, e.id)
		}
		if want := (seen{e.kind, e.data, p.ID, s.Stream}); got != want || p.Subscribers != 1 {
			t.Errorf("%.80s:\ngot  %.300q\nwant %.300q (%d subscribers)", e.body, got, want, p.Subscribers)
		}
	}
	if n := eval[int](tb, "opens.length"); n != 1 {
		t.Errorf("opened %d times", n)
	}
}

func TestBrowserReceivesSeveralKeys(t *testing.T) {
	s := start(t, "--retry", "50ms")
	c := newCutter(t, s.Stream)
	tb := openCollector(t, c.url+proctest.StreamPath("a", "b", "c"))
	tb.await("opens.length === 1", "source.readyState")
	var want []string
	for i := range 30 {
		data := fmt.Sprint(i)
		s.Publish([]string{"a", "b", "c"}[i%3], `"`+data+`"`)
		want = append(want, data)
		if i == 10 {
			tb.awaitSeen(11)
			c.cut(true)
		}
	}
	// The keys are in order each; between keys, what was replayed has no order.
	got := make(map[string][]string)
	for _, e := range tb.awaitSeen(len(want)) {
		key := "abc"[atoi(t, e.Data)%3:][:1]
		got[key] = append(got[key], e.Data)
	}
	for k, key := range []string{"a", "b", "c"} {
		var exact []string
		for i := k; i < 30; i += 3 {
			exact = append(exact, want[i])
		}
		if fmt.Sprint(got[key]) != fmt.Sprint(exact) {
			t.Errorf("key %s: %v, want %v", key, got[key], exact)
		}
	}
}

func TestBrowserIsEndedByClose(t *testing.T) {
	s := start(t, "--retry", "50ms")
	tb := openCollector(t, s.URL("news"))
	tb.await("opens.length === 1", "source.readyState")
	s.Post("/close?key=news", "", "")
	tb.await("opens.length === 2", "source.readyState")
	s.AwaitCount("news", 1)
}
