package transport

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/test/wiretest"
)

func TestAdminPublishBodies(t *testing.T) {
	onBoth(t, rigOptions{}, func(t *testing.T, r *rig) {
		e := r.subscribe("connectKey=k")
		before := e.LastID()
		for _, test := range []struct {
			contentType, body, wire string // wire: {id} is the id of the answer
			events                  int    // in the answer
		}{
			{"application/json", `"text"`, "data: text\nid: {id}\n\n", 0},
			{"application/json; charset=UTF-8", ` {"data":{"a":[1, 2]},"event":"e","retry":7} `, "event: e\nretry: 7\ndata: {\"a\":[1,2]}\nid: {id}\n\n", 0},
			{"APPLICATION/JSON", `{"id":"own","data":"x"}`, "data: x\nid: own\n\n", 0},
			{"application/json", `":comment"`, ": comment\n\n", 0},
			{"text/plain", "a\r\nb\rc\n", "data: a\ndata: b\ndata: c\ndata: \nid: {id}\n\n", 0},
			{`text/plain;charset="utf-8"`, "", "data: \nid: {id}\n\n", 0},
			{"text/plain", `{"id":"1"}`, "data: {\"id\":\"1\"}\nid: {id}\n\n", 0},
			{"text/plain", ": note", ": note\n\n", 0},
			{"text/event-stream", "\uFEFFdata: a\r\n\r\n", "data: a\nid: {id}\n\n", 1},
			{"text/event-stream", "event: e\nid: 7\ndata: a\n\n\n: c\n\nid\ndata\nunknown: x\n\n", "event: e\ndata: a\nid: 7\n\n: c\n\ndata\nunknown: x\nid: {id}\n\n", 3},
		} {
			a := r.call("POST", "/publish?key=k", test.body, "Content-Type: "+test.contentType)
			var p publishAnswer
			a.decode(t, &p)
			if a.status != 200 || a.header.Get("Content-Type") != "application/json" || p.Subscribers != 1 || p.Events != test.events || len(p.IDs) != test.events {
				t.Fatalf("%s %q: %d %s", test.contentType, test.body, a.status, a.body)
			}
			wire := strings.ReplaceAll(test.wire, "{id}", p.ID)
			if strings.HasPrefix(test.wire, ": ") && p.ID != "" {
				t.Fatalf("%q: a comment got the id %q", test.body, p.ID)
			}
			if test.events == 3 && !slices.Equal(p.IDs, []string{"7", "", p.ID}) {
				t.Fatalf("ids %q of %q", p.IDs, test.body)
			}
			e.Expect(wire)
		}
		// One sequence counts them all.
		p, _ := engine.ParsePosition(before)
		if last, _ := engine.ParsePosition(r.publish("k", "end")); last.Epoch != p.Epoch || last.Seq != p.Seq+13 {
			t.Fatalf("%v after %v and 13 events", last, p)
		}
	})
}

// TestAdminPublishAll: the bodies are those of publish, to all keys.
func TestAdminPublishAll(t *testing.T) {
	onBoth(t, rigOptions{}, func(t *testing.T, r *rig) {
		a, b, both := r.subscribe("connectKey=a"), r.subscribe("connectKey=b"), r.subscribe("connectKey=a&connectKey=b")
		answer := r.call("POST", "/publishAll", "data: 1\n\ndata: 2\n\n", "Content-Type: text/event-stream")
		var all allAnswer
		if answer.decode(t, &all); all != (allAnswer{Keys: 2, Subscribers: 4, Events: 2}) {
			t.Fatalf("%+v", all)
		}
		for _, e := range []*wiretest.Events{a, b, both} {
			e.WantData("1", "2")
		}
		r.publish("a", "end")
		both.WantData("end") // a stream of two keys gets an event to all once
		answer = r.call("POST", "/publishAll", `{"data":"x"}`, "Content-Type: application/json")
		if answer.body != `{"keys":2,"subscribers":4}`+"\n" {
			t.Fatal(answer.body)
		}
		answer = r.call("POST", "/publishAll", `[]`, "Content-Type: application/json")
		if f := answer.failed(t); answer.status != 400 || f.Field != "body" {
			t.Fatal(answer.body)
		}
	})
}

// TestAdminPublishRefuses: what cannot be published is refused as a whole, by a
// status and a field, and is counted.
func TestAdminPublishRefuses(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: Options{MaxEventBytes: 1000, MaxBodyBytes: 5000, MaxKeyBytes: 20}})
	e := r.subscribe("connectKey=k")
	long := strings.Repeat("x", 1000)
	types := []string{"application/json", "text/plain", "text/event-stream"}
	for _, test := range []struct {
		contentType, body string
		status            int
		field             string
		texts             []string // in the error
	}{
		{"application/json", `{"data":`, 400, "body", []string{"valid JSON", "byte 8"}},
		{"application/json", "\"a\xff\"", 400, "body", []string{"UTF-8", "byte 2"}},
		{"application/json", `7`, 400, "body", []string{"string or an object"}},
		{"application/json", ``, 400, "body", []string{"empty"}},
		{"application/json", `{"id":"a\nb"}`, 400, "id", []string{"line feed"}},
		{"application/json", `{"event":"a\u0000b"}`, 400, "event", []string{"byte 1"}},
		{"application/json", `{"retry":"x"}`, 400, "retry", []string{"digits", "byte 9"}},
		{"application/json", `{"data":"` + long + `"}`, 413, "maxEventBytes", []string{"maxEventBytes", "1000"}},
		{"application/json", `{"data":"` + strings.Repeat("y", 6000) + `"}`, 413, "maxBodyBytes", []string{"maxBodyBytes", "5000"}},
		{"text/plain", "a\xc3", 400, "data", []string{"UTF-8", "byte 1"}},
		{"text/plain", long, 413, "maxEventBytes", nil},
		{"text/event-stream", "data: a\n\ndata: b", 400, "body", []string{"incomplete", "event 2", "byte 9"}},
		{"text/event-stream", "data: a\n\nid: b\x00\ndata: c\n\n", 400, "id", []string{"event 2"}},
		{"text/event-stream", "data: a\n\nretry: 1s\n\n", 400, "retry", []string{"event 2"}},
		{"text/event-stream", "data: a\n\ndata: " + long + "\n\n", 413, "maxEventBytes", nil},
		{"text/event-stream", "", 400, "body", []string{"holds no event"}},
		{"text/event-stream", "data: \xff\n\n", 400, "data", []string{"UTF-8", "byte 6"}},
		{"", "x", 415, "Content-Type", types},
		{"text/html", "x", 415, "Content-Type", append(types, `\"text/html\"`)},
		{"application/json; charset=latin1", `"x"`, 415, "Content-Type", append(types, "latin1", "UTF-8")},
		{"application/x-www-form-urlencoded", "data=x", 415, "Content-Type", types},
		{"multipart/form-data; boundary=b", "--b\r\n\r\n--b--\r\n", 415, "Content-Type", types},
		{"text/plain; charset", "x", 415, "Content-Type", types},
	} {
		for _, target := range []string{"/publish?key=k", "/publishAll"} {
			fails := r.metric("fanfare_publish_errors_total")
			header := []string{"Content-Type: " + test.contentType}
			if test.contentType == "" {
				header = nil
			}
			a := r.call("POST", target, test.body, header...)
			f := a.failed(t)
			if a.status != test.status || f.Field != test.field {
				t.Errorf("%s %s %q: %d %s, want %d and %s", target, test.contentType, wiretest.Clip(test.body), a.status, a.body, test.status, test.field)
			}
			for _, text := range test.texts {
				if !strings.Contains(a.body, text) {
					t.Errorf("%s %q: %s: does not say %q", test.contentType, wiretest.Clip(test.body), a.body, text)
				}
			}
			if n := r.metric("fanfare_publish_errors_total"); n != fails+1 {
				t.Errorf("%s %q: fanfare_publish_errors_total went from %v to %v", test.contentType, wiretest.Clip(test.body), fails, n)
			}
		}
	}
	a := r.call("POST", "/publish?key=k", "x", "Content-Type: text/plain", "Content-Encoding: gzip")
	if f := a.failed(t); a.status != 415 || f.Field != "Content-Encoding" {
		t.Errorf("gzip: %d %s", a.status, a.body)
	}
	if a := r.call("POST", "/publish?key=other", "x", "Content-Type: text/plain", "Content-Encoding: identity"); a.status != 200 {
		t.Errorf("identity: %d %s", a.status, a.body)
	}
	for key, says := range map[string]string{
		strings.Repeat("k", 21): "maxKeyBytes",
		"%FF":                   "UTF-8",
		"a%C3":                  "UTF-8",
	} {
		for _, target := range []string{"/publish", "/close", "/count"} {
			method := "POST"
			if target == "/count" {
				method = "GET"
			}
			a := r.call(method, target+"?key="+key, "x", "Content-Type: text/plain")
			if f := a.failed(t); a.status != 400 || f.Field != "key" || !strings.Contains(f.Error, says) {
				t.Errorf("%s key %s: %d %s", target, key, a.status, a.body)
			}
		}
	}
	// Nothing of all this has come through.
	id := r.publish("k", "end")
	e.Expect("data: end\nid: " + id + "\n\n")
	if n := r.metric(`fanfare_rejected_total{limit="maxEventBytes"}`); n != 6 {
		t.Errorf("maxEventBytes has refused %v", n)
	}
	if n := r.metric(`fanfare_rejected_total{limit="maxBodyBytes"}`); n != 2 {
		t.Errorf("maxBodyBytes has refused %v", n)
	}
}

// TestAdminLongID: an id that no client could come back with is refused before
// anything is published, by each way; the longest one resumes.
func TestAdminLongID(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	e := r.subscribe("connectKey=k")
	a := r.call("POST", "/publish?key=k", "data: 1\n\nid: "+strings.Repeat("i", 1<<16)+"\ndata: 2\n\n", "Content-Type: text/event-stream")
	if f := a.failed(t); a.status != 400 || f.Field != "id" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for _, id := range []string{strings.Repeat("i", 1025), "a\\u0001b", "\\u007f", " x", "x "} {
		for _, target := range []string{"/publish?key=k", "/publishAll"} {
			if a := r.call("POST", target, `{"data":"x","id":"`+id+`"}`, "Content-Type: application/json"); a.status != 400 || a.failed(t).Field != "id" {
				t.Errorf("%s with the id %.20q: %d %s", target, id, a.status, a.body)
			}
		}
		if got := r.batch(`{"key":"k","data":"x","id":"` + id + `"}`); got[0]["field"] != "id" {
			t.Errorf("batch with the id %.20q: %v", id, got)
		}
		if got := r.batch(`{"key":"k","frame":"data: x\nid: ` + id + `\n\n"}`); !strings.HasPrefix(id, " ") && got[0]["field"] != "id" {
			t.Errorf("batch with a frame of the id %.20q: %v", id, got)
		}
	}
	own := strings.Repeat("i", 1024)
	if p := r.post("k", "application/json", `{"id":"`+own+`"}`); p.ID != own {
		t.Fatalf("an id of %d bytes came back as %d", len(own), len(p.ID))
	}
	e.Expect("data: \nid: " + own + "\n\n")
	r.publish("k", "behind it")
	r.subscribe("connectKey=k", "Last-Event-ID: "+own).WantData("behind it")
}

// TestAdminLargeBodies: a publisher that sends more than is taken still reads
// why, whatever it does about it; and one that takes its time is not cut off.
func TestAdminLargeBodies(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: Options{MaxBodyBytes: 1 << 20}})
	t.Run("declared", func(t *testing.T) {
		r := &rig{t: t, admin: r.admin}
		for range 5 {
			a := r.call("POST", "/publish?key=k", strings.Repeat("x", 8<<20), "Content-Type: text/plain")
			if f := a.failed(t); a.status != 413 || f.Field != "maxBodyBytes" {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
	})
	t.Run("sent before the answer is read", func(t *testing.T) {
		for range 5 {
			w := wiretest.Dial(t, r.admin)
			w.Send("POST /publish?key=k HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: 3000000\r\n\r\n")
			chunk := []byte(strings.Repeat("x", 1<<16))
			for range 3_000_000 >> 16 {
				if _, err := w.NetConn().Write(chunk); err != nil {
					t.Fatalf("the connection was reset: %v", err)
				}
			}
			if w.ReadHead(); w.Status != 413 {
				t.Fatal(w.Status)
			}
		}
	})
	t.Run("chunked", func(t *testing.T) {
		w := wiretest.Dial(t, r.admin)
		w.Send("POST /publish?key=k HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
		chunk := "10000\r\n" + strings.Repeat("x", 1<<16) + "\r\n"
		for range 17 {
			if _, err := w.NetConn().Write([]byte(chunk)); err != nil {
				break
			}
		}
		if w.ReadHead(); w.Status != 413 {
			t.Fatal(w.Status)
		}
	})
	t.Run("chunked within the limit", func(t *testing.T) {
		w := wiretest.Dial(t, r.admin)
		w.Send("POST /publish?key=k HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
		if w.ReadHead(); w.Status != 200 {
			t.Fatal(w.Status, w.Rest())
		}
	})
	t.Run("100-continue", func(t *testing.T) {
		w := wiretest.Dial(t, r.admin)
		w.Send("POST /publish?key=k HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		if w.ReadHead(); w.Status != 100 {
			t.Fatal(w.Status)
		}
		w.Send("hello")
		if w.ReadHead(); w.Status != 200 {
			t.Fatal(w.Status)
		}
	})
}

// TestAdminMegabyteEvents: a large event reaches its subscribers whole.
func TestAdminMegabyteEvents(t *testing.T) {
	onBoth(t, rigOptions{}, func(t *testing.T, r *rig) {
		e := r.subscribe("connectKey=k")
		line := strings.Repeat("0123456789abcde ", 1<<12)
		text := strings.Repeat(line+"\n", 16)
		for range 3 {
			r.publish("k", text)
			e.WantData(text)
		}
	})
}

// TestAdminKeys: how a key is written in the query of either side.
func TestAdminKeys(t *testing.T) {
	onBoth(t, rigOptions{}, func(t *testing.T, r *rig) {
		for written, key := range map[string]string{
			"":                   "@sse/count",
			"a+b":                "a b",
			"a%20b":              "a b",
			"a%2Bb":              "a+b",
			"100%zz":             "100%zz",
			"100%":               "100%",
			"%E4%BD%A0":          "你",
			"你好":                 "你好",
			"a%00b%0A":           "a\x00b\n",
			"constructor":        "constructor",
			"__proto__":          "__proto__",
			"%40sse%2Fcount":     "@sse/count",
			"a=b":                "a=b",
			"a%26b":              "a&b",
			"hasOwnProperty%3Bx": "hasOwnProperty;x",
		} {
			w := r.stream("connectKey=" + written)
			r.waitCount(key, 1)
			// A raw request: a client library might write the key its own way.
			admin := wiretest.Dial(t, r.admin)
			admin.Send(wiretest.Request("POST", "/publish?key="+written, "Content-Type: text/plain", "Content-Length: 1") + "x")
			admin.ReadHead()
			if body := admin.Read(1000); admin.Status != 200 || !strings.Contains(body, `"subscribers":1}`) {
				t.Fatalf("publish to %q: %d %s", written, admin.Status, body)
			}
			admin.Close()
			if n := r.count(key); n != 1 {
				t.Fatalf("%q counts %d", key, n)
			}
			w.Close()
			r.waitCount(key, 0)
		}
		if text := r.log.String(); strings.Contains(text, "panic") {
			t.Fatal(text)
		}
	})
}

// TestAdminDefaultKey: no key at all is the pool of Options.CacheKey.
func TestAdminDefaultKey(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: Options{CacheKey: "pool"}})
	none, empty, named := r.subscribe(""), r.subscribe("connectKey="), r.subscribe("connectKey=pool")
	for i, target := range []string{"/publish", "/publish?key=", "/publish?key=pool"} {
		if a := r.call("POST", target, fmt.Sprint(i), "Content-Type: text/plain"); !strings.Contains(a.body, `"subscribers":3}`) {
			t.Fatal(a.body)
		}
	}
	if _, err := r.srv.Publish("", codec.Event{Data: []byte("3")}); err != nil {
		t.Fatal(err)
	}
	if a := r.call("GET", "/count", ""); a.body != `{"count":3}`+"\n" {
		t.Fatal(a.body)
	}
	for _, e := range []*wiretest.Events{none, empty, named} {
		e.WantData("0", "1", "2", "3")
	}
	if a := r.call("POST", "/close", ""); a.body != `{"closed":3}`+"\n" {
		t.Fatal(a.body)
	}
	r.waitOpen(0)
}

// TestAdminClose: close and closeAll end responses, after what was published
// before.
func TestAdminClose(t *testing.T) {
	onBoth(t, rigOptions{Options: Options{PlainIDs: true}}, func(t *testing.T, r *rig) {
		a, b, both := r.stream("connectKey=a"), r.stream("connectKey=b"), r.stream("connectKey=a&connectKey=b")
		if n := r.call("GET", "/countAll", "").body; n != `{"count":4}`+"\n" {
			t.Fatal(n)
		}
		r.publish("a", "last")
		if n := r.call("POST", "/close?key=a", "").body; n != `{"closed":2}`+"\n" {
			t.Fatal(n)
		}
		for _, w := range []*wiretest.Conn{a, both} {
			if got := w.Rest(); got != "data: last\n\n" {
				t.Fatalf("%q", got)
			}
		}
		if n := r.count("a") + r.count("b"); n != 1 {
			t.Fatal(n)
		}
		r.publish("b", "b")
		if n := r.call("POST", "/closeAll", "").body; n != `{"closed":1}`+"\n" {
			t.Fatal(n)
		}
		if got := b.Rest(); got != "data: b\n\n" {
			t.Fatalf("%q", got)
		}
		if n := r.call("POST", "/close?key=nobody", "").body; n != `{"closed":0}`+"\n" {
			t.Fatal(n)
		}
		r.waitOpen(0)
		if n := r.metric(`fanfare_connections_closed_total{reason="closed"}`); n != 3 {
			t.Fatal(n)
		}
	})
}

// TestLibraryPublish: what the methods of Server refuse.
func TestLibraryPublish(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: Options{MaxEventBytes: 50, MaxKeyBytes: 5}, Engine: engine.Options{MaxKeys: 2}})
	ok := codec.Event{Data: []byte("x")}
	_, long := r.srv.Publish("k", codec.Event{Data: make([]byte, 100)})
	_, key := r.srv.Publish("toolong", ok)
	_, id := r.srv.Publish("k", codec.Event{ID: "a\nb"})
	_, _, all := r.srv.PublishAll(codec.Event{Data: []byte{0xff}})
	for _, k := range []string{"a", "b"} {
		if _, err := r.srv.Publish(k, ok); err != nil {
			t.Fatal(err)
		}
	}
	_, keys := r.srv.Publish("c", ok)
	for want, err := range map[string]error{"maxEventBytes": long, "maxKeyBytes": key, "id: ": id, "data: ": all, "maxKeys": keys} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error that names %s, got %v", want, err)
		}
	}
	a := r.call("POST", "/publish?key=d", "x", "Content-Type: text/plain")
	if f := a.failed(t); a.status != 503 || f.Field != "maxKeys" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestAdminKeepAlive: requests on one connection, pipelined ones too, are
// answered in their order.
func TestAdminKeepAlive(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	e := r.subscribe("connectKey=k")
	w := wiretest.Dial(t, r.admin)
	var want []string
	for i := range 50 {
		text := fmt.Sprintf("event %d", i)
		want = append(want, text)
		w.Send(wiretest.Request("POST", "/publish?key="+url.QueryEscape("k"), "Content-Type: text/plain", fmt.Sprintf("Content-Length: %d", len(text))) + text)
	}
	for range want {
		w.ReadHead()
		if body := w.Read(1000); w.Status != 200 || !strings.HasPrefix(body, `{"id":"`) {
			t.Fatal(w.Status, body)
		}
	}
	e.WantData(want...)
}

// TestAdminPublishPositionAsID: a position of this server is no own id, by any door, and of several events none is published.
func TestAdminPublishPositionAsID(t *testing.T) {
	onBoth(t, rigOptions{}, func(t *testing.T, r *rig) {
		e := r.subscribe("connectKey=k")
		id := r.publish("k", "one")
		for _, a := range []reply{
			r.call("POST", "/publish?key=k", `{"data":"x","id":"`+id+`"}`, "Content-Type: application/json"),
			r.call("POST", "/publish?key=k", "data: x\n\ndata: y\nid: "+id+"\n\n", "Content-Type: text/event-stream"),
			r.call("POST", "/publishAll", "data: x\n\ndata: y\nid: "+id+"\n\n", "Content-Type: text/event-stream"),
		} {
			if f := a.failed(t); a.status != 400 || f.Field != "id" {
				t.Errorf("%d %s", a.status, a.body)
			}
		}
		for _, line := range r.batch(`{"key":"k","data":"x","id":"` + id + `"}` + "\n" + `{"key":"k","frame":"id: ` + id + `\ndata: x\n\n"}`) {
			if line["field"] != "id" {
				t.Error(line)
			}
		}
		r.publish("k", "two")
		e.WantData("one", "two")
	})
}
