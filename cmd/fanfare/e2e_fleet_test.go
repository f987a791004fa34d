package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

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
	awaitNodes(t, nodes...)
	return nodes
}

// awaitNodes waits until each of the nodes knows all of them, and no other.
func awaitNodes(t testing.TB, nodes ...server) {
	t.Helper()
	want := fmt.Sprintf("\nfanfare_fleet_nodes %d\n", len(nodes))
	for _, s := range nodes {
		eventually.Holds(t, "the node knows the fleet", func() (bool, string) {
			_, metrics := s.Get("/metrics")
			return strings.Contains(metrics, want), want
		})
	}
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
		awaitNodes(t, nodes[0])

		// Restarted nodes have the history, and close reaches all.
		nodes[1].Restart()
		nodes[2].Restart()
		late := nodes[2].resume("news", ids[n-1])
		late.WantData("once")
		awaitNodes(t, nodes...)
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

// awaitLeader waits until one of the nodes publishes for the fleet, by this metric, and returns it. At the start both may lead
// for a moment.
func awaitLeader(t testing.TB, nodes []server, metric string) (leader int) {
	t.Helper()
	polls, since := 0, time.Now()
	eventually.True(t, "one node leads for a second", func() bool {
		leaders := 0
		for i, s := range nodes {
			if _, metrics := s.Get("/metrics"); strings.Contains(metrics, "\n"+metric+" 1\n") {
				leaders++
				leader = i
			}
		}
		if polls++; leaders != 1 {
			polls, since = 0, time.Now()
		}
		return polls > 10 && time.Since(since) > time.Second
	})
	return leader
}

// A message of a source without a memory is published once by a fleet, in order, and the node that leads after one that
// was killed reports a gap.
func testLedSource(t *testing.T, nodes []server, metric string, publish func(text string)) {
	streams := []*wiretest.Events{nodes[0].subscribe("news"), nodes[1].subscribe("news")}
	leader := awaitLeader(t, nodes, metric)
	publish("begin")
	for _, s := range streams {
		for m := s.Next(); m.Data != "begin"; m = s.Next() {
			if g := m.Gap(t); g.Reason != "source" { // of a node that has begun to lead
				t.Errorf("%+v", g)
			}
		}
	}
	for i := range 20 {
		publish(strconv.Itoa(i))
	}
	for _, s := range streams {
		for i := range 20 {
			s.WantData(strconv.Itoa(i))
		}
	}
	nodes[leader].Stop(syscall.SIGKILL) // one that ends by SIGTERM hands over: TestFleetHandsOverSources
	if g := streams[1-leader].Next().Gap(t); g.Reason != "source" || g.Key != "news" {
		t.Errorf("%+v", g)
	}
	publish("after")
	streams[1-leader].WantData("after")
}

func TestFleetReadsRedisChannels(t *testing.T) {
	r := startRedis(t)
	nodes := startFleet(t, 2, "--backplane", "redis", "--redis-url", r.URL(), "--redis-channels", "news")
	testLedSource(t, nodes, `fanfare_redis_leads{source="pubsub"}`, func(text string) { r.cli("PUBLISH", "news", text) })
}

func TestFleetReadsNATS(t *testing.T) {
	broker := (&natstest.Server{T: t}).Start()
	nodes := startFleet(t, 2, "--backplane", "nats", "--nats-url", broker.URL(), "--nats-subjects", "app.*.* -> {2}")
	nc, err := natsgo.Connect(broker.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	testLedSource(t, nodes, "fanfare_nats_leads", func(text string) {
		if err := errors.Join(nc.Publish("app.shop.news", []byte(text)), nc.Flush()); err != nil {
			t.Error(err)
		}
	})
}

// While the broker is away streams stay open and events are refused, or kept in memory, as the settings say. fanfare pub repeats
// what was refused. When the broker is back each event has been stored once.
func TestFleetBrokerAway(t *testing.T) {
	broker := (&natstest.Server{T: t}).Start()
	args := []string{"--backplane", "nats", "--nats-url", broker.URL(), "--publish-timeout", "500ms", "--ready-without-broker=false"}
	refuses := start(t, append(args, "--node-name", "refuses")...)
	queues := start(t, append(args, "--node-name", "queues", "--away", "queue", "--ready-without-broker")...)
	stream := refuses.subscribe("news")
	queues.PublishText("news", "before")
	broker.Kill()

	eventually.Equal(t, "/readyz of the node that needs the broker", http.StatusServiceUnavailable, func() int {
		status, _ := refuses.Get("/readyz")
		return status
	})
	if status, body := queues.Get("/readyz"); status != http.StatusOK || !strings.Contains(body, "broker: disconnected") {
		t.Errorf("/readyz: %d %s", status, body)
	}
	if status, text := refuses.Do(http.MethodPost, "/publish?key=news", "text/plain", "refused"); status != http.StatusServiceUnavailable || !strings.Contains(text, `"code":`) {
		t.Errorf("%d %s", status, text)
	}
	code, _, problem := run(t, nil, "pub", "news", "given up", "--server", refuses.Admin, "--repeat", "0s")
	if code != 1 || !strings.Contains(problem, "repeat the request") {
		t.Errorf("%d %s", code, problem)
	}
	if status, text := queues.Do(http.MethodPost, "/publish?key=news", "text/plain", "queued"); status != http.StatusAccepted || !strings.Contains(text, `"stored":false`) {
		t.Errorf("%d %s", status, text)
	}
	repeated := make(chan string)
	go func() {
		code, _, problem := run(t, nil, "pub", "news", "repeated", "--server", refuses.Admin, "--repeat", "2m")
		repeated <- fmt.Sprint(code, " ", problem)
	}()
	eventually.True(t, "pub repeats", func() bool {
		_, metrics := refuses.Get("/metrics")
		return strings.Contains(metrics, "\nfanfare_publish_errors_total 3\n") || strings.Contains(metrics, "\nfanfare_publish_errors_total 4\n")
	})

	broker.Start()
	if got := <-repeated; !strings.HasPrefix(got, "0 fanfare: the log cannot be reached") {
		t.Errorf("fanfare pub: %s", got)
	}
	refuses.PublishText("news", "end")
	var got []string
	for m := stream.Next(); m.Data != "end"; m = stream.Next() {
		got = append(got, m.Data)
	}
	slices.Sort(got)
	if want := []string{"before", "queued", "repeated"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A publish that waits for the broker when a drain begins is answered before the process ends.
func TestFleetDrainAnswers(t *testing.T) {
	broker := (&natstest.Server{T: t}).Start()
	s := start(t, "--backplane", "nats", "--nats-url", broker.URL())
	s.PublishText("news", "first")
	broker.Pause()
	answered := make(chan int)
	go func() {
		resp, err := http.Post(s.Admin+"/publish?key=news", "text/plain", strings.NewReader("waits"))
		if err != nil {
			t.Error(err)
			answered <- 0
			return
		}
		_ = resp.Body.Close()
		answered <- resp.StatusCode
	}()
	eventually.Holds(t, "the publish is under way", func() (bool, string) { // as a connection beside that of this question
		_, metrics := s.Get("/metrics")
		return strings.Contains(metrics, "\nfanfare_admin_connections 2\n") || strings.Contains(metrics, "\nfanfare_admin_connections 3\n"), metrics
	})
	s.Signal(syscall.SIGTERM)
	eventually.True(t, "the drain begins", func() bool { return s.Log.Find("draining: a second signal stops at once") != nil })
	broker.Resume()
	if status := <-answered; status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	if code := s.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
