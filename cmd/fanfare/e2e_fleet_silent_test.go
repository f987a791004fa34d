package main_test

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
)

// awaitFleet waits until a node hears of so many nodes, and so many others are silent.
func (s server) awaitFleet(heard, silent int) {
	s.T.Helper()
	want := []string{fmt.Sprintf("\nfanfare_fleet_nodes %d\n", heard), fmt.Sprintf("\nfanfare_fleet_silent_nodes %d\n", silent)}
	eventually.Holds(s.T, "the fleet", func() (bool, string) {
		_, metrics := s.Get("/metrics")
		return strings.Contains(metrics, want[0]) && strings.Contains(metrics, want[1]), fmt.Sprintf("%q", want)
	})
}

// A node that hangs or was killed is named as silent, without a wait for it, until it is back; one that was stopped is not.
func TestFleetNodeHangs(t *testing.T) {
	backplanes(t, func(t *testing.T, args ...string) {
		const patience = time.Minute
		args = append(args, "--fleet-timeout", patience.String())
		nodes := startFleet(t, 3, args...)
		var all []interface{ ExpectEnd() }
		for _, s := range nodes {
			all = append(all, s.subscribe("news"))
		}
		count := func(s server, nodes int, silent ...string) {
			t.Helper()
			began := time.Now()
			if a := s.ask(http.MethodGet, "/count?key=news"); a.Nodes != nodes || !slices.Equal(a.Silent, silent) || time.Since(began) > patience {
				t.Errorf("count: %+v after %s, want %d nodes and %q silent", a, time.Since(began), nodes, silent)
			}
		}

		// It hangs: it is named, and closes its streams when it goes on.
		nodes[2].Signal(syscall.SIGSTOP)
		nodes[0].awaitFleet(2, 1)
		nodes[1].awaitFleet(2, 1)
		count(nodes[0], 2, "node-2")
		count(nodes[1], 2, "node-2")
		if a := nodes[0].ask(http.MethodPost, "/close?key=news"); a.Closed != 2 || !slices.Equal(a.Silent, []string{"node-2"}) {
			t.Errorf("close: %+v", a)
		}
		nodes[2].Signal(syscall.SIGCONT)
		for _, stream := range all {
			stream.ExpectEnd()
		}
		nodes[0].awaitFleet(3, 0)
		nodes[1].awaitFleet(3, 0)
		count(nodes[0], 3)

		// It is killed: a node that starts later names it, too.
		nodes[2].Stop(syscall.SIGKILL)
		nodes[0].awaitFleet(2, 1)
		late := start(t, append(slices.Clone(args), "--node-name", "late")...)
		late.awaitFleet(3, 1)
		count(late, 3, "node-2")

		// It is started again, and another one is stopped.
		nodes[2].Restart()
		for _, s := range append(slices.Clone(nodes), late) {
			s.awaitFleet(4, 0)
		}
		if code := late.Stop(syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d", code)
		}
		nodes[0].awaitFleet(3, 0)
		count(nodes[0], 3)
	})
}

// A killed node is forgotten after fleetForgetAfter.
func TestFleetForgetsNodes(t *testing.T) {
	backplanes(t, func(t *testing.T, args ...string) {
		nodes := startFleet(t, 2, append(args, "--fleet-forget-after", "6s")...)
		nodes[1].Stop(syscall.SIGKILL)
		eventually.True(t, "the node is forgotten", func() bool {
			return nodes[0].Log.Find("a node of the fleet is forgotten: it has been silent for fleetForgetAfter") != nil
		})
		nodes[0].awaitFleet(1, 0)
	})
}

// A close comes after what other nodes have published before, although the node that is asked was stopped meanwhile and has not
// read it; and so does a close without a fleet.
func TestFleetCloses(t *testing.T) {
	test := func(t *testing.T, publisher, asked server, pause func(os.Signal)) {
		const rounds, events = 10, 20
		for round := range rounds {
			stream := asked.subscribe("news")
			pause(syscall.SIGSTOP)
			for i := range events {
				publisher.PublishText("news", strconv.Itoa(i))
			}
			target := []string{"/close?key=news", "/closeAll"}[round%2]
			answer := make(chan string, 1)
			go func() {
				status, text := asked.Do(http.MethodPost, target, "", "")
				answer <- fmt.Sprint(status, " ", text)
			}()
			pause(syscall.SIGCONT)
			for i := range events {
				stream.WantData(strconv.Itoa(i))
			}
			stream.ExpectEnd()
			if a := <-answer; !strings.HasPrefix(a, `200 {"closed":1,`) || !strings.Contains(a, `"silent":[]`) {
				t.Errorf("%s", a)
			}
		}
	}
	backplanes(t, func(t *testing.T, args ...string) {
		for _, partitions := range []string{"1", "4"} {
			t.Run(partitions, func(t *testing.T) {
				args := append(slices.Clone(args), "--fleet-timeout", "1m", "--nats-stream", "p"+partitions, "--nats-partitions", partitions)
				if args[1] == "redis" {
					args = append(args[:len(args)-4], "--redis-prefix", "p"+partitions, "--redis-partitions", partitions)
				}
				nodes := startFleet(t, 2, args...)
				test(t, nodes[0], nodes[1], nodes[1].Signal)
			})
		}
	})
	t.Run("embedded", func(t *testing.T) {
		s := start(t, "--backplane", "embedded", "--data-dir", t.TempDir())
		test(t, s, s, func(os.Signal) {})
	})
}
