package transport

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// TestConnectionsPerSubject: the streams of a subject are limited, also by a reload that finds them open; the older ones go on, a
// stream that ends leaves room, and other subjects and streams without one are not limited.
func TestConnectionsPerSubject(t *testing.T) {
	o := Options{Authorize: door}
	onBoth(t, rigOptions{Options: o}, func(t *testing.T, r *rig) {
		as := func(subject string) *wiretest.Conn {
			w := r.dial()
			w.Send(r.get("connectKey=k&token=" + subject + ":k"))
			w.ReadHead()
			return w
		}
		one, two := as("u1"), as("u1")
		r.waitCount("k", 2)
		limited := r.srv.settings.Load().Options
		limited.MaxConnectionsPerSubject = 2
		if err := r.reconfigure(limited); err != nil {
			t.Fatal(err)
		}
		if rest := as("u1").Rest(); !strings.HasPrefix(rest, "retry: ") {
			t.Errorf("%q", rest)
		}
		if n := r.metric(`fanfare_rejected_total{limit="maxConnectionsPerSubject"}`); n != 1 {
			t.Errorf("%v refused", n)
		}
		as("u2")
		for range 3 {
			as("")
		}
		r.waitCount("k", 6)
		one.Close()
		r.waitCount("k", 5)
		eventually.True(t, "a stream that ends leaves room", func() bool { return as("u1").Header.Get("Content-Length") == "" })
		r.waitCount("k", 6)
		if got := fmt.Sprint(r.srv.Presence("k")); got != "map[u1:2 u2:1]" {
			t.Error(got)
		}
		two.Close()
	})
}

// TestConnectionsPerSubjectHammer: many who come at once under one subject, some refused by another limit after they were counted,
// never are more than the limit, and all is given back.
func TestConnectionsPerSubjectHammer(t *testing.T) {
	const limit = 4
	r := startRig(t, viaFast, rigOptions{Options: Options{Authorize: door, MaxConnectionsPerSubject: limit}, Engine: engine.Options{Key: engine.KeyOptions{MaxSubscribers: 2}}})
	for range 5 {
		var coming sync.WaitGroup
		var mu sync.Mutex
		var open, all []*wiretest.Conn
		for i := range 40 {
			w := r.dial()
			all = append(all, w)
			coming.Go(func() {
				w.Send(r.get(fmt.Sprintf("connectKey=k%d&token=u:*", i%8/3)))
				if w.ReadHead(); w.Header.Get("Content-Length") == "" {
					mu.Lock()
					defer mu.Unlock()
					open = append(open, w)
				}
			})
		}
		coming.Wait()
		if n := r.srv.Open(); len(open) != n || n > limit || n == 0 {
			t.Fatalf("%d streams, %d open", len(open), n)
		}
		if n := r.srv.Disconnect("u"); n != len(open) {
			t.Errorf("%d disconnected", n)
		}
		r.waitOpen(0)
		for _, w := range all {
			w.Close()
		}
	}
	var again []*wiretest.Conn
	for i := range limit {
		again = append(again, r.stream(fmt.Sprintf("connectKey=k%d&token=u:*", i)))
	}
	r.waitOpen(limit)
	for _, w := range again {
		w.Close()
	}
}
