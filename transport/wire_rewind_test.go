package transport

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// TestRewind: a new stream begins with past events, from the number or the time that it asks for, and goes on without a hole.
func TestRewind(t *testing.T) {
	onBoth(t, rigOptions{Engine: engine.Options{Key: engine.KeyOptions{History: 16}}}, func(t *testing.T, r *rig) {
		var ids []string
		for i := range 10 {
			ids = append(ids, r.publish("k", fmt.Sprint(i)))
		}
		for query, first := range map[string]int{"rewind=3": 7, "rewind=10": 0, "rewind=5000": 0, "rewind=1h": 0, "rewind=90s": 0, "rewind=earliest": 0, "rewind=1ns": 10} {
			e := r.subscribe("connectKey=k&" + query)
			// The position is the id before the first event: a client that loses the connection now gets the same ones.
			if first > 0 && e.Position() != ids[first-1] || first == 0 && !strings.HasSuffix(e.Position(), "-0") {
				t.Errorf("%s: begins at %s", query, e.Position())
			}
			for i := first; i < 10; i++ {
				if m := e.Next(); m.Data != fmt.Sprint(i) || m.ID != ids[i] {
					t.Errorf("%s: %v in place of event %d, %s", query, m, i, ids[i])
				}
			}
			r.publish("other", "x")
			e.Close()
		}
		r.waitOpen(0)
		e := r.subscribe("connectKey=k&connectKey=other&rewind=2")
		r.publish("k", "new")
		var got []string // each key in its own order
		for len(got) < 5 {
			got = append(got, e.Next().Data)
		}
		if slices.Sort(got); !slices.Equal(got, []string{"8", "9", "new", "x", "x"}) {
			t.Errorf("two events of each key and a new one: %q", got)
		}
		// An EventSource comes back with the URL that it began with, and its last id.
		back := r.subscribe("connectKey=k&rewind=earliest", "Last-Event-ID: "+ids[8])
		back.WantData("9", "new")
		again := r.subscribe("connectKey=k&rewind=earliest&lastEventId=" + ids[9])
		again.WantData("new")
	})
}

// TestRewindSince: a time takes the events of that time, and of a key without events nothing.
func TestRewindSince(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	r.publish("k", "old")
	began := time.Now()
	eventually.True(t, "time passes", func() bool { return time.Since(began) >= 50*time.Millisecond })
	at := time.Now()
	r.publish("k", "young")
	e := r.subscribe(fmt.Sprintf("connectKey=k&connectKey=nothing&rewind=%dus", (time.Since(at) + 20*time.Millisecond).Microseconds()))
	e.WantData("young")
	r.publish("nothing", "first")
	e.WantData("first")
}

// TestRewindRefused: what is not a number, a time or "earliest" is refused by name, over each front end and HTTP/2.
func TestRewindRefused(t *testing.T) {
	tests := map[string]string{
		"rewind=":                          `rewind "" is neither`,
		"rewind=0":                         "rewind 0 asks for no past events",
		"rewind=000":                       "rewind 0 asks for no past events",
		"rewind=-1":                        `rewind "-1" is neither`,
		"rewind=%2b1":                      `rewind "+1" is neither`,
		"rewind=1.5":                       `rewind "1.5" is neither`,
		"rewind=0s":                        `rewind "0s" is neither`,
		"rewind=-5m":                       `rewind "-5m" is neither`,
		"rewind=5%20m":                     `rewind "5 m" is neither`,
		"rewind=Earliest":                  `rewind "Earliest" is neither`,
		"rewind=%ff":                       "rewind \"\uFFFD\" is neither",
		"rewind=1&rewind=2":                "rewind is given 2 times",
		"rewind=8":                         "rewind 8 is more than 7 events (maxRewindEvents)",
		"rewind=9999999999999999999999999": "is more than 7 events (maxRewindEvents)",
	}
	onBoth(t, rigOptions{Options: Options{MaxRewindEvents: 7}}, func(t *testing.T, r *rig) {
		for query, want := range tests {
			w := r.dial()
			w.Send(r.get("connectKey=k&" + query))
			w.ReadHead()
			if body := w.Rest(); w.Status != 400 || !strings.Contains(body, want) {
				t.Errorf("%s: %d %q", query, w.Status, body)
			}
		}
		// HEAD answers as GET does, without the body.
		for query, status := range map[string]int{"connectKey=k&rewind=junk": 400, "connectKey=%ff": 400, "connectKey=k&rewind=2": 200} {
			w := r.dial()
			w.Send(wiretest.Request("HEAD", r.path+"?"+query))
			if w.ReadHead(); w.Status != status {
				t.Errorf("HEAD %s: %d, want %d", query, w.Status, status)
			}
		}
		if n := r.metric(`fanfare_rejected_total{limit="maxRewindEvents"}`); n != 2 {
			t.Errorf("%v counted as over maxRewindEvents", n)
		}
		if n := r.metric(`fanfare_rejected_total{limit="request"}`); n != float64(len(tests)) { // two are over maxRewindEvents, and two are HEAD
			t.Errorf("%v counted as bad requests", n)
		}
		r.subscribe("connectKey=k&rewind=7")
	})
	if err := (Options{MaxRewindEvents: -1}).Check(); err == nil || !strings.Contains(err.Error(), "maxRewindEvents") {
		t.Error(err)
	}
}

// TestRewindHTTP2: the parameter works on a stream of HTTP/2.
func TestRewindHTTP2(t *testing.T) {
	plainOnly(t)
	r := startRig(t, viaFast, rigOptions{})
	r.publish("k", "past")
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	for query, want := range map[string]string{"rewind=1": "data: past\n", "rewind=x": `rewind "x" is neither`} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+r.addr+r.target("connectKey=k&"+query), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		buf := make([]byte, 1024)
		for !strings.Contains(got.String(), want) {
			n, err := resp.Body.Read(buf)
			got.Write(buf[:n])
			if err != nil {
				break
			}
		}
		if resp.ProtoMajor != 2 || !strings.Contains(got.String(), want) {
			t.Errorf("%s over HTTP/%d: %q", query, resp.ProtoMajor, got.String())
		}
		_ = resp.Body.Close()
	}
}

// TestRewindIsAuthorized: past events are for those who may have the stream.
func TestRewindIsAuthorized(t *testing.T) {
	onBoth(t, rigOptions{Options: Options{Authorize: door}}, func(t *testing.T, r *rig) {
		r.publish("k", "secret")
		w := r.dial()
		w.Send(r.get("connectKey=k&rewind=earliest&token=u1:other"))
		w.ReadHead()
		if body := w.Rest(); w.Status != 403 || strings.Contains(body, "secret") {
			t.Errorf("%d %q", w.Status, body)
		}
		r.subscribe("connectKey=k&rewind=earliest&token=u1:k").WantData("secret")
	})
}
