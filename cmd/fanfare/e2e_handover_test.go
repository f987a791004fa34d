package main_test

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/natstest"
	"fanfare/internal/test/wiretest"
)

// In a rolling restart every node that publishes channels or subjects for the fleet hands over: a subscriber of another node gets
// each message once, in order, and no gap. From the first /readyz on nothing is lost either.
func TestFleetHandsOverSources(t *testing.T) {
	broker := (&natstest.Server{T: t}).Start()
	r := startRedis(t)
	nodes := startFleet(t, 3, "--backplane", "nats", "--nats-url", broker.URL(), "--nats-subjects", "plain", "--redis-url", r.URL(), "--redis-channels", "news")

	// Subscribe at a node that does not lead.
	metrics := []string{"fanfare_nats_leads", `fanfare_redis_leads{source="pubsub"}`}
	leads := func(n server, metric string) bool {
		_, text := n.Get("/metrics")
		return strings.Contains(text, "\n"+metric+" 1\n")
	}
	leader := map[string]int{}
	for _, metric := range metrics {
		leader[metric] = awaitLeader(t, nodes, metric)
	}
	idle := slices.IndexFunc([]int{0, 1, 2}, func(i int) bool { return leader[metrics[0]] != i && leader[metrics[1]] != i })
	events := map[string]*wiretest.Events{}
	for _, key := range []string{"plain", "news"} {
		events[key] = nodes[idle].subscribe(key)
	}

	// Publish all the time.
	nc, err := natsgo.Connect(broker.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	stop := make(chan struct{})
	published := 0
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for ; ; published++ {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
			n := strconv.Itoa(published)
			if err := nc.Publish("plain", []byte(n)); err != nil {
				t.Error(err)
				return
			}
			r.cli("PUBLISH", "news", n)
		}
	})

	// Restart the other nodes, of which each that leads hands over.
	for i, n := range nodes {
		if i != idle {
			if code := n.Stop(syscall.SIGTERM); code != 0 {
				t.Errorf("exit code %d", code)
			}
		}
	}
	for _, metric := range metrics {
		eventually.True(t, "the last node leads: "+metric, func() bool { return leads(nodes[idle], metric) })
	}
	for i := range nodes {
		if i != idle {
			nodes[i].Restart()
		}
	}
	awaitNodes(t, nodes...)
	close(stop)
	publishing.Wait()
	if err := nc.FlushTimeout(eventually.Patience); err != nil {
		t.Fatal(err)
	}
	for key, e := range events {
		for i := range published {
			m := e.Next()
			for i == 0 && m.Type == "gap" { // of the time before a node led
				m = e.Next()
			}
			if m.Data != strconv.Itoa(i) {
				t.Fatalf("%s: %v, want %d of %d", key, m, i, published)
			}
		}
	}
}
