package check

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"fanfare/bench/peers/catalog"
)

// faulty is a server in the test's process. fault sees each event with the number of the subscriber, from 0 in the order
// of subscribing to the key, and says what that one gets.
type faulty struct {
	fault func(key string, subscriber int, data string) []string
	held  bool // the head is held back until the first event

	mu   sync.Mutex
	keys map[string][]chan string
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		key := r.URL.Query().Get("key")
		f.mu.Lock()
		defer f.mu.Unlock()
		for i, c := range f.keys[key] {
			for _, d := range f.fault(key, i, string(body)) {
				select {
				case c <- d:
				case <-r.Context().Done():
				}
			}
		}
		return
	}
	key, events := r.URL.Query().Get("connectKey"), make(chan string, 1024)
	f.mu.Lock()
	f.keys[key] = append(f.keys[key], events)
	f.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	if !f.held {
		w.(http.Flusher).Flush()
	}
	for {
		select {
		case d := <-events:
			fmt.Fprintf(w, ": a comment\n\nid: 1\ndata: %s\n\n", d)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func honest(_ string, _ int, data string) []string { return []string{data} }

// once applies a fault to one event of one subscriber.
func once(event, subscriber int, instead ...string) func(string, int, string) []string {
	return func(k string, i int, data string) []string {
		if k == key(0) && i == subscriber && data == payload(0, event) {
			return instead
		}
		return []string{data}
	}
}

func TestRunFindsFaults(t *testing.T) {
	size := Size{Subscribers: 4, Events: 20, Keys: 2}
	var late string
	for name, c := range map[string]struct {
		fault func(string, int, string) []string
		held  bool
		want  string // in the error; "": none
	}{
		"honest":          {fault: honest},
		"honest, held":    {fault: honest, held: true},
		"wrapped":         {fault: func(_ string, _ int, d string) []string { return []string{`{"push":{"data":` + d + `}}`} }},
		"lost":            {fault: once(7, 2), want: "event 8 arrived in place of event 7"},
		"lost at the end": {fault: once(20, 0), want: "event 21 arrived in place of event 20"},
		"doubled":         {fault: once(20, 3, payload(0, 20), payload(0, 20)), want: "event 20 arrived in place of event 21"},
		"another key's":   {fault: once(3, 1, payload(1, 3)), want: "event 3 of key 1 arrived at a subscriber of key 0"},
		"out of order": {fault: func(k string, i int, d string) []string {
			if k != key(0) || i != 0 {
				return []string{d}
			}
			if d == payload(0, 5) {
				late = d
				return nil
			}
			if late != "" {
				defer func() { late = "" }()
				return []string{d, late}
			}
			return []string{d}
		}, want: "event 6 arrived in place of event 5"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(&faulty{fault: c.fault, held: c.held, keys: map[string][]chan string{}})
			defer s.Close()
			err := Run(t.Context(), peer(c.held), catalog.Plan{Base: s.URL, PublishBase: s.URL}, size)
			switch {
			case c.want == "" && err != nil:
				t.Fatal(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Fatalf("error %v; want one with %q", err, c.want)
			}
		})
	}
}

func TestRunRefusesOtherHeads(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	defer s.Close()
	err := Run(t.Context(), peer(false), catalog.Plan{Base: s.URL, PublishBase: s.URL}, Size{1, 1, 1})
	if err == nil || !strings.Contains(err.Error(), "Content-Type") {
		t.Fatalf("error %v; want one about the Content-Type", err)
	}
}

func TestProbeEndsWithItsContext(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if Probe(ctx, peer(false), catalog.Plan{Base: s.URL, PublishBase: s.URL}) == nil {
		t.Fatal("a server without the routes passed")
	}
}

func peer(held bool) catalog.Peer {
	return catalog.Peer{Name: "test", Routes: catalog.Routes{
		Subscribe:   "{{.Base}}/stream?connectKey={{urlquery .Key}}",
		Publish:     "{{.PublishBase}}/publish?key={{urlquery .Key}}",
		PublishBody: "{{.Payload}}",
		HoldsHead:   held,
	}}
}
