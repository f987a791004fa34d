package pub

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// A single event that the server has not stored is repeated with the same Idempotency-Key, for the time of --repeat.
func TestRepeat(t *testing.T) {
	var keys []string
	fails := 3
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		keys = append(keys, req.Header.Get("Idempotency-Key"))
		if fails--; fails >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"error":"not confirmed in time","code":"unconfirmed"}`)
			return
		}
		fmt.Fprint(w, `{"id":"a-1","subscribers":0}`)
	}))
	defer srv.Close()
	o := defaults(Options{Key: "k", Data: "x", HasData: true, Server: srv.URL, Repeat: time.Minute, Verbose: true})
	var out, notes strings.Builder
	if err := Run(t.Context(), o, nil, &out, &notes); err != nil || out.String() != "a-1 0\n" || strings.Count(notes.String(), "not confirmed in time; trying again") != 1 {
		t.Errorf("%v %q %q", err, out.String(), notes.String())
	}
	if len(keys) != 4 || keys[0] == "" || len(slices.Compact(slices.Clone(keys))) != 1 {
		t.Errorf("keys %q", keys)
	}

	// Another run has another key, and without time it fails at once.
	fails, o.Repeat = 1000, 0
	first := keys[0]
	keys = nil
	err := Run(t.Context(), o, nil, io.Discard, io.Discard)
	if err == nil || err.Error() != "the event may or may not have been published: not confirmed in time" || len(keys) != 1 || keys[0] == first {
		t.Errorf("%v, keys %q", err, keys)
	}
}

// An event that waits in the server is published, with a note.
func TestQueued(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, `{"id":"","subscribers":2,"stored":false}`)
	}))
	defer srv.Close()
	var notes strings.Builder
	o := defaults(Options{Key: "k", Data: "x", HasData: true, Server: srv.URL})
	if err := Run(t.Context(), o, nil, io.Discard, &notes); err != nil || !strings.Contains(notes.String(), "it keeps events in memory") {
		t.Errorf("%v %q", err, notes.String())
	}
}

// Lines that a server with a backplane has not stored are repeated with their keys; the others are not. A server without one
// gets no keys.
func TestRepeatedLines(t *testing.T) {
	a := &api{durable: true, away: 2}
	const n = 300
	var in, want strings.Builder
	for i := range n {
		line := fmt.Sprintf(`{"key":"k","data":"%d"}`, i)
		if i == n-1 {
			line = `{"op":"close","key":"k"}`
		}
		fmt.Fprintln(&in, line)
		fmt.Fprintln(&want, line)
	}
	out, notes, err := publish(t, a, Options{NDJSON: true, Repeat: time.Minute, Verbose: true}, in.String())
	if err != nil || strings.Count(out, "\n") != n || !strings.Contains(notes, ": not confirmed; repeating for ") {
		t.Errorf("%v %q %q", err, out, notes)
	}
	if got := strings.Join(a.lines, "\n") + "\n"; got != want.String() {
		t.Errorf("lines %s", got)
	}
	slices.Sort(a.keys)
	if len(slices.Compact(a.keys)) != n-1 { // one for each event, and none for close
		t.Errorf("keys %q", a.keys)
	}

	a = &api{durable: true, away: 1000}
	if _, _, err := publish(t, a, Options{Key: "k", Lines: true, Repeat: 200 * time.Millisecond}, strings.Repeat("x\n", n)); err == nil ||
		!strings.Contains(err.Error(), "may or may not have been published, later lines were not: not confirmed") {
		t.Errorf("%v", err)
	}

	a = &api{}
	if _, _, err := publish(t, a, Options{Key: "k", Lines: true}, "x\ny\n"); err != nil || len(a.keys) != 0 {
		t.Errorf("%v, keys %q", err, a.keys)
	}
}
