package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/natstest"
	"fanfare/internal/test/wiretest"
)

func decode(t testing.TB, from io.Reader, to any) {
	t.Helper()
	if err := json.NewDecoder(from).Decode(to); err != nil {
		t.Fatal(err)
	}
}

// fleetAnswer is an answer about all nodes.
type fleetAnswer struct {
	Count, Closed, Nodes int
	Silent               []string
}

// ask sends a request to the publish API whose answer is about all nodes.
func (s server) ask(method, target string) (a fleetAnswer) {
	s.T.Helper()
	status, text := s.Do(method, target, "", "")
	if status != http.StatusOK {
		s.T.Fatalf("%s: %d %s", target, status, text)
	}
	decode(s.T, strings.NewReader(text), &a)
	return a
}

// startFleet runs n nodes with the same flags, and waits until each knows all of them.
func startFleet(t testing.TB, n int, args ...string) []server {
	t.Helper()
	nodes := make([]server, n)
	for i := range nodes {
		nodes[i] = start(t, append(slices.Clone(args), "--node-name", fmt.Sprintf("node-%d", i))...)
	}
	for _, s := range nodes {
		eventually.Equal(t, "nodes of the fleet", n, func() int { return s.ask(http.MethodGet, "/countAll").Nodes })
	}
	return nodes
}

// backplanes runs a test with each broker.
func backplanes(t *testing.T, test func(t *testing.T, args ...string)) {
	t.Run("nats", func(t *testing.T) {
		broker := (&natstest.Server{T: t}).Start()
		test(t, "--backplane", "nats", "--nats-url", broker.URL())
	})
	t.Run("redis", func(t *testing.T) {
		r := startRedis(t, "--appendonly", "yes")
		test(t, "--backplane", "redis", "--redis-url", r.URL())
	})
}

// Each subscriber of each node gets each event once and in the same order, whichever node it was published to, resumes at any
// node, and is counted and closed by any.
func TestFleet(t *testing.T) {
	backplanes(t, func(t *testing.T, args ...string) {
		nodes := startFleet(t, 3, args...)
		var streams []*wiretest.Events
		for _, s := range nodes {
			streams = append(streams, s.subscribe("news"))
		}
		if a := nodes[1].ask(http.MethodGet, "/count?key=news"); a.Count != 3 || a.Nodes != 3 || len(a.Silent) != 0 {
			t.Errorf("count: %+v", a)
		}

		// Publish at all nodes in turn.
		const n = 30
		ids := make([]string, n)
		for i := range n {
			ids[i] = nodes[i%3].PublishText("news", strconv.Itoa(i)).ID
		}
		for node, stream := range streams {
			for i := range n {
				if m := stream.Next(); m.Data != strconv.Itoa(i) || m.ID != ids[i] {
					t.Fatalf("node %d: event %d is %v, want id %s", node, i, m, ids[i])
				}
			}
		}

		// Resume at another node, by an id of the first.
		resumed := nodes[2].resume("news", ids[10])
		for i := 11; i < n; i++ {
			if m := resumed.Next(); m.Data != strconv.Itoa(i) || m.ID != ids[i] {
				t.Fatalf("resumed: event %d is %v", i, m)
			}
		}

		// A repetition at another node is stored once.
		var repeated []string
		for _, s := range nodes[:2] {
			_, text := s.Do(http.MethodPost, "/batch", "application/x-ndjson", `{"key":"news","data":"once","idempotencyKey":"k1"}`)
			var a struct{ ID string }
			decode(t, strings.NewReader(text), &a)
			repeated = append(repeated, a.ID)
		}
		if repeated[0] != repeated[1] || repeated[0] == "" {
			t.Errorf("ids of a repetition: %q", repeated)
		}

		// A node that is killed is not waited for, and one that stops says so.
		nodes[1].Stop(syscall.SIGKILL)
		if code := nodes[2].Stop(syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d", code)
		}
		eventually.Equal(t, "nodes of the fleet", 1, func() int { return nodes[0].ask(http.MethodGet, "/countAll").Nodes })

		// Restarted nodes have the history, and close reaches all.
		nodes[1].Restart()
		nodes[2].Restart()
		late := nodes[2].resume("news", ids[n-1])
		late.WantData("once")
		eventually.Equal(t, "nodes of the fleet", 3, func() int { return nodes[0].ask(http.MethodGet, "/countAll").Nodes })
		nodes[1].PublishText("news", "last")
		if a := nodes[1].ask(http.MethodPost, "/close?key=news"); a.Closed != 2 || a.Nodes != 3 {
			t.Errorf("close: %+v", a)
		}
		streams[0].WantData("once", "last")
		late.WantData("last")
		streams[0].ExpectEnd()
		late.ExpectEnd()
	})
}

// The nodes of a fleet have the same schedules, and publish each event once, even if one of them was stopped for longer than
// the fleet recognizes a repetition.
func TestFleetSchedules(t *testing.T) {
	broker := (&natstest.Server{T: t}).Start()
	file := filepath.Join(t.TempDir(), "fanfare.yaml")
	replaceFile(t, file, "publishTimeout: 1s\nduplicateWindow: 2s\nschedules:\n- {name: s, every: 1s, key: ticks, command: [date, '+%s'], timeout: 1s}\n")
	nodes := startFleet(t, 2, "--backplane", "nats", "--nats-url", broker.URL(), "--config", file)
	stream := nodes[0].subscribe("ticks")
	first, last, events := 0, 0, 0
	ticks := func(n int) {
		for range n {
			last = atoi(t, stream.Next().Data)
			if events++; events == 1 {
				first = last
			}
		}
	}
	ticks(3)
	nodes[1].Signal(syscall.SIGSTOP)
	ticks(4)
	nodes[1].Signal(syscall.SIGCONT)
	ticks(3)
	if most := last - first + 1; events > most {
		t.Errorf("%d events in %d seconds", events, most)
	}
}

// In a fleet every node reads Redis, and each message and entry is published once; when the node that publishes stops, another
// one goes on, with a gap for channels, and exactly for streams.
func TestFleetReadsRedis(t *testing.T) {
	r := startRedis(t, "--appendonly", "yes")
	broker := (&natstest.Server{T: t}).Start()
	r.cli("XADD", "orders", "*", "data", "0") // before the fleet begins
	nodes := startFleet(t, 2, "--backplane", "nats", "--nats-url", broker.URL(), "--redis-url", r.URL(), "--redis-streams", "orders", "--redis-channels", "news")
	leads := func(what string) (leader int) {
		t.Helper()
		eventually.True(t, "a node leads for "+what, func() bool {
			for i, s := range nodes {
				if s.Log.Find("this node "+what+" of redis for the fleet") != nil {
					leader = i
					return true
				}
			}
			return false
		})
		return leader
	}
	reads := leads("reads the streams")
	stream := nodes[1-reads].subscribe("orders")
	var ids []string
	add := func(data int) { ids = append(ids, r.cli("XADD", "orders", "*", "data", strconv.Itoa(data))) }
	for i := 1; i <= 3; i++ {
		add(i)
	}
	// Those that came before the subscription are in the log.
	for next := stream.Next(); next.Data != "3"; next = stream.Next() {
		if next.Type != "message" {
			t.Errorf("%v", next)
		}
	}
	if id := stream.LastID(); id != ids[2] {
		t.Errorf("the id is %s, that of the entry %s", id, ids[2])
	}

	// Another node goes on after what is stored, although entries were added while none led.
	nodes[reads].Stop(syscall.SIGKILL)
	for i := 4; i <= 6; i++ {
		add(i)
	}
	for i := 4; i <= 6; i++ {
		if m := stream.Next(); m.Type != "message" || m.Data != strconv.Itoa(i) || m.ID != ids[i-1] {
			t.Fatalf("entry %d is %v", i, m)
		}
	}
	nodes[reads].Restart()
	resumed := nodes[reads].resume("orders", ids[3])
	resumed.WantData("5", "6")
	add(7)
	stream.WantData("7")
	resumed.WantData("7")

	// A restart of all publishes nothing again.
	for _, s := range nodes {
		s.Stop(syscall.SIGTERM)
	}
	for i := range nodes {
		nodes[i].Restart()
	}
	again := nodes[0].resume("orders", ids[5])
	again.WantData("7")
	add(8)
	again.WantData("8")
}

// A channel's message is published once by a fleet.
func TestFleetReadsRedisChannels(t *testing.T) {
	r := startRedis(t)
	nodes := startFleet(t, 2, "--backplane", "redis", "--redis-url", r.URL(), "--redis-channels", "news")
	streams := []*wiretest.Events{nodes[0].subscribe("news"), nodes[1].subscribe("news")}
	leader := -1
	eventually.True(t, "a node leads", func() bool {
		for i, s := range nodes {
			if s.Log.Find("this node publishes the channels of redis for the fleet") != nil {
				leader = i
			}
		}
		return leader >= 0
	})
	for _, s := range streams {
		if g := s.Next().Gap(t); g.Reason != "source" {
			t.Errorf("%+v", g)
		}
	}
	for i := range 20 {
		r.cli("PUBLISH", "news", strconv.Itoa(i))
	}
	for _, s := range streams {
		for i := range 20 {
			s.WantData(strconv.Itoa(i))
		}
	}
	nodes[leader].Stop(syscall.SIGTERM)
	if g := streams[1-leader].Next().Gap(t); g.Reason != "source" || g.Key != "news" {
		t.Errorf("%+v", g)
	}
	r.cli("PUBLISH", "news", "after")
	streams[1-leader].WantData("after")
}
