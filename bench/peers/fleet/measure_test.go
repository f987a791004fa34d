//go:build linux

package fleet

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/bench/peers/report"
)

// event is an event on its way to one node of a fakeFleet.
type event struct {
	node, number int
	key, data    string
}

// fakeFleet is a fleet in this process, with a fault.
type fakeFleet struct {
	// fault returns the data that a node sends instead of an event. nil: the event itself.
	fault  func(event) []string
	answer func(number int) (status int, body string) // nil: 200

	mu      sync.Mutex
	streams []*fakeStream
}

type fakeStream struct {
	node int
	key  string
	data chan string // "" ends the stream
}

func (f *fakeFleet) node(node int) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
		s := &fakeStream{node, r.URL.Query().Get("key"), make(chan string, 1000)}
		f.mu.Lock()
		f.streams = append(f.streams, s)
		f.mu.Unlock()
		flush := http.NewResponseController(w).Flush
		for _ = flush(); ; _ = flush() {
			select {
			case data := <-s.data:
				if data == "" {
					return
				}
				fmt.Fprintf(w, "data: %s\n\n", data)
			case <-r.Context().Done():
				return
			}
		}
	})
	mux.HandleFunc("POST /publish", func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		_, after, _ := strings.Cut(string(data), numbered)
		number, _ := leadingNumber([]byte(after))
		key := r.URL.Query().Get("key")
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.answer != nil {
			status, body := f.answer(number)
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
		for _, s := range f.streams {
			if s.key != key {
				continue
			}
			send := []string{string(data)}
			if f.fault != nil {
				send = f.fault(event{s.node, number, key, string(data)})
			}
			for _, d := range send {
				s.data <- d
			}
		}
	})
	return mux
}

// run measures the fleet. A fault is noticed when nothing has come for a second.
func (f *fakeFleet) run(t *testing.T, s report.FleetScenario) (*report.FleetFigures, error) {
	t.Helper()
	running := &target{
		fleet: &Fleet{
			Name:      "fake",
			Subscribe: func(key string) string { return "/stream?key=" + key },
			Publish: func(key, data string) (path, contentType, body string) {
				return "/publish?key=" + key, "text/plain", data
			},
			Accepted: func(answer []byte) bool { return string(answer) != "refused" },
		},
		patience: time.Second,
		usage:    func() (nodes, broker usage) { return usage{}, usage{} },
	}
	for i := range Nodes {
		server := httptest.NewServer(f.node(i))
		t.Cleanup(server.Close)
		host := strings.TrimPrefix(server.URL, "http://")
		running.streams, running.publish = append(running.streams, host), append(running.publish, host)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return running.measure(ctx, s)
}

// small has 25 events of each of two keys, of which 20 are measured, and a subscriber of each key on each node.
var small = report.FleetScenario{Name: "small", Keys: 2, Subscribers: 1, Publishers: 2, WarmUp: 10, Events: 40}

// TestFaults plants each fault at number 7 of both keys, on one node.
func TestFaults(t *testing.T) {
	at := func(number int, e event) bool { return e.node == 1 && e.number == number }
	for name, c := range map[string]struct {
		fault func(event) []string
		want  report.FleetFaults
	}{
		"none": {},
		"loses": {func(e event) []string {
			if at(7, e) {
				return nil
			}
			return []string{e.data}
		}, report.FleetFaults{Lost: 2}},
		"loses in the warm-up": {func(e event) []string {
			if at(2, e) {
				return nil
			}
			return []string{e.data}
		}, report.FleetFaults{Lost: 2}},
		"repeats": {func(e event) []string {
			if at(7, e) {
				return []string{e.data, e.data}
			}
			return []string{e.data}
		}, report.FleetFaults{Repeated: 2}},
		"reorders what was published to one node": {delay(7, 10), report.FleetFaults{Disordered: 2}},
		"reorders what was published to two":      {delay(7, 8), report.FleetFaults{Overtaken: 2}},
		"changes the data": {func(e event) []string {
			if at(7, e) {
				return []string{strings.Replace(e.data, "x", "y", 2)}
			}
			return []string{e.data}
		}, report.FleetFaults{Lost: 2, Foreign: 2}},
		"shortens the data": {func(e event) []string {
			if at(7, e) {
				return []string{e.data[:EventSize/2]}
			}
			return []string{e.data}
		}, report.FleetFaults{Lost: 2, Foreign: 2}},
		"sends another key's": {func(e event) []string {
			if at(7, e) {
				return []string{string(payload(nil, "small-9", e.number))}
			}
			return []string{e.data}
		}, report.FleetFaults{Lost: 2, Foreign: 2}},
		"invents": {func(e event) []string {
			if at(7, e) {
				return []string{e.data, string(payload(nil, e.key, 25)), string(payload(nil, e.key, 1000))}
			}
			return []string{e.data}
		}, report.FleetFaults{Foreign: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fakeFleet{fault: c.fault}
			figures, err := f.run(t, small)
			if err != nil {
				t.Fatal(err)
			}
			if figures.Faults != c.want {
				t.Errorf("faults %+v; want %+v", figures.Faults, c.want)
			}
			deliveries := 40 * Nodes
			if name != "loses in the warm-up" {
				deliveries -= c.want.Lost
			}
			if figures.Events != 40 || figures.Deliveries != deliveries || figures.AckP50 <= 0 || figures.DeliverP50 <= 0 || figures.Publishing <= 0 {
				t.Errorf("%+v; want 40 events and %d deliveries, with times", figures, deliveries)
			}
		})
	}
}

// delay sends one event of each key after another one of the key.
func delay(number, after int) func(event) []string {
	held := map[string]string{}
	return func(e event) []string {
		switch {
		case e.node != 1:
		case e.number == number:
			held[e.key] = e.data
			return nil
		case e.number == after:
			return []string{e.data, held[e.key]}
		}
		return []string{e.data}
	}
}

// TestFailures is what ends a run.
func TestFailures(t *testing.T) {
	for name, c := range map[string]struct {
		fleet *fakeFleet
		want  string
	}{
		"a stream ends": {&fakeFleet{fault: func(e event) []string {
			if e.node == 2 && e.number == 3 {
				return []string{""}
			}
			return []string{e.data}
		}}, "ended"},
		"a status": {&fakeFleet{answer: func(number int) (int, string) {
			if number == 3 {
				return http.StatusServiceUnavailable, "no broker"
			}
			return http.StatusOK, ""
		}}, "is answered with 503: no broker"},
		"an answer": {&fakeFleet{answer: func(number int) (int, string) {
			if number == 3 {
				return http.StatusOK, "refused"
			}
			return http.StatusOK, ""
		}}, "is answered with 200: refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if figures, err := c.fleet.run(t, small); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, %v; want an error with %q", figures, err, c.want)
			}
		})
	}
}

// TestLockStep loses every event from the tenth on. The run waits for some of them, and then ends early.
func TestLockStep(t *testing.T) {
	f := &fakeFleet{fault: func(e event) []string {
		if e.node == 1 && e.number >= 10 {
			return nil
		}
		return []string{e.data}
	}}
	figures, err := f.run(t, report.FleetScenario{Name: "lockstep", Keys: 1, Subscribers: 2, Publishers: 1, LockStep: true, WarmUp: 5, Events: 100})
	if err != nil {
		t.Fatal(err)
	}
	if want := 5 + lockStepWaits; figures.Events != want || figures.Faults != (report.FleetFaults{Lost: 2 * lockStepWaits}) {
		t.Errorf("%+v; want %d events, %d lost", figures, want, 2*lockStepWaits)
	}
}

// TestRate publishes at fixed times: the last of 41 events at 100 a second is due after 400 ms.
func TestRate(t *testing.T) {
	s := small
	s.Events, s.Rate = 41, 100
	figures, err := (&fakeFleet{}).run(t, s)
	if err != nil {
		t.Fatal(err)
	}
	if figures.Publishing < 400*time.Millisecond || figures.Faults.Any() {
		t.Errorf("%+v", figures)
	}
}

func TestScenarios(t *testing.T) {
	for _, scale := range []float64{0.01, 1, 3.3} {
		for _, s := range Scenarios(200, scale) {
			// Each key must have one publisher, or one event: otherwise its events have no order.
			if s.Keys%s.Publishers != 0 && s.Events+s.WarmUp > s.Keys {
				t.Errorf("%+v", s)
			}
			if s.LockStep && (s.Keys != 1 || s.Publishers != 1) || s.Events < 1 {
				t.Errorf("%+v", s)
			}
		}
	}
}

// TestUsage compares what is read of this process with what it has.
func TestUsage(t *testing.T) {
	before := processCPU(os.Getpid())
	for begin := processCPU(0); processCPU(0)-begin < 20*time.Millisecond; {
	}
	if used := processCPU(os.Getpid()) - before; used < 20*time.Millisecond {
		t.Errorf("%v; want at least 20 ms", used)
	}
	if n := residentMemory(os.Getpid()); n < 1<<20 || n > 1<<32 {
		t.Errorf("%d bytes of memory", n)
	}
	if machineBusy() < before {
		t.Errorf("the machine was busy for %v, this process for %v", machineBusy(), before)
	}
	if m := Machine(); m.CPUs < 1 || m.Memory < 1<<28 || m.CPU == "" || !strings.HasPrefix(m.Kernel, "Linux ") {
		t.Errorf("%+v", m)
	}
}

func TestPayload(t *testing.T) {
	for _, number := range []int{-1, 0, 123_456} {
		data := payload([]byte("before"), "fanout-0", number)[len("before"):]
		_, after, _ := strings.Cut(string(data), numbered)
		if n, valid := leadingNumber([]byte(after)); len(data) != EventSize || !valid || n != number {
			t.Errorf("%s: %d bytes, number %d, %v", data, len(data), n, valid)
		}
	}
	for _, text := range []string{"", "x", "-", "--1", "99999999999999999999"} {
		if n, valid := leadingNumber([]byte(text)); valid {
			t.Errorf("%q is number %d", text, n)
		}
	}
	if p50, p99 := quantiles([]time.Duration{5, 1, 4, 2, 3}); p50 != 3 || p99 != 5 {
		t.Errorf("%d, %d", p50, p99)
	}
	if !slices.ContainsFunc(All(), func(f Fleet) bool {
		return f.Name == "centrifugo-redis" && f.Accepted([]byte(`{"result":{}}`)) && !f.Accepted([]byte(`{"error":{}}`))
	}) {
		t.Error("an answer with an error counts as published")
	}
}
