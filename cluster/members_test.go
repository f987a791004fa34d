package cluster_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/cluster"
	"fanfare/internal/test/memlog"
)

// count asks a node, and returns the names of those that have answered and of those that have not.
func (n *testNode) count() string {
	answers, silent := n.Ask(context.Background(), cluster.Question{Op: "count"})
	return fmt.Sprint(names(answers), silent)
}

// soon checks the answers to a question that must not wait for a silent node.
func (n *testNode) soon(t *testing.T, what, want string) {
	t.Helper()
	began := time.Now()
	equal(t, what, n.count(), want)
	equal(t, what+": it took", time.Since(began), 0)
}

// A node that hangs is named as silent for FleetForgetAfter, without a wait, also by nodes that start meanwhile.
func TestSilentNodeIsNamedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		nodes := startFleet(t, b, "a", "b", "c")
		a, hanging := nodes[0], nodes[2]
		registry := prometheus.NewRegistry()
		registry.MustRegister(a.Collector())
		hanging.bus.Cut(true)
		equal(t, "answers at first", a.count(), "[a b] [c]")
		time.Sleep(6 * time.Second)
		a.soon(t, "answers after some seconds", "[a b] [c]")
		equal(t, "the nodes", fmt.Sprint(a.Status().Nodes, a.Status().Silent), "[a b] [c]")
		equal(t, "fanfare_fleet_nodes", metric(t, registry, "fanfare_fleet_nodes"), 2)
		equal(t, "fanfare_fleet_silent_nodes", metric(t, registry, "fanfare_fleet_silent_nodes"), 1)

		// Another one starts, and one is restarted.
		startNode(t, b, "d", nil)
		nodes[1].Close()
		b2 := startNode(t, b, "b", nil)
		time.Sleep(2500 * time.Millisecond)
		b2.soon(t, "answers at a node that has never heard of it", "[a b d] [c]")

		// It comes back, and is silent again.
		hanging.bus.Cut(false)
		time.Sleep(2500 * time.Millisecond)
		a.soon(t, "answers when it is back", "[a b c d] []")
		b2.soon(t, "answers when it is back", "[a b c d] []")
		hanging.bus.Cut(true)
		time.Sleep(9*time.Minute + 50*time.Second)
		a.soon(t, "answers after ten minutes", "[a b d] [c]")
		b2.soon(t, "answers after ten minutes", "[a b d] [c]")
		time.Sleep(15 * time.Second)
		a.soon(t, "answers after that", "[a b d] []")
		b2.soon(t, "answers after that", "[a b d] []")
		equal(t, "fanfare_fleet_silent_nodes", metric(t, registry, "fanfare_fleet_silent_nodes"), 0)
	})
}

// A silent node is forgotten when it says good-bye, or another process has started under its name.
func TestSilentNodeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		nodes := startFleet(t, b, "a", "b", "c")
		nodes[1].bus.Cut(true)
		nodes[2].bus.Cut(true)
		time.Sleep(10 * time.Second)
		nodes[0].soon(t, "answers", "[a] [b c]")
		nodes[1].bus.Cut(false)
		nodes[1].Close()
		nodes[0].soon(t, "answers after the good-bye", "[a] [c]")
		startNode(t, b, "c", nil)
		time.Sleep(time.Second)
		nodes[0].soon(t, "answers after a restart", "[a c] []")
	})
}

// What a node has sent before its good-bye, and others say of it, does not bring it back.
func TestGoodByeIsFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		nodes := startFleet(t, b, "a", "b")
		other := b.Bus()
		for _, data := range []string{
			`{"kind":"hello","node":"c","instance":"c1"}`,
			`{"kind":"bye","node":"c","instance":"c1"}`,
			`{"kind":"hello","node":"c","instance":"c1"}`,
			`{"kind":"hello","node":"b","instance":"x","silent":[{"node":"c","instance":"c1","since":1000}]}`,
			`{"kind":"hello","node":"b","instance":"x","silent":[{"node":"a","instance":"a0","since":1000},{"node":"b","instance":"b0","since":1000}]}`,
			`{"kind":"hello","node":"b","instance":"x","silent":[{"node":"d","instance":"d1","since":-1},{"node":"d","instance":"d1","since":600000},{}]}`,
		} {
			if err := other.Send("", []byte(data)); err != nil {
				t.Fatal(err)
			}
		}
		nodes[0].soon(t, "answers", "[a b] []")
	})
}

// A question that waits for a node does not wait for it any more when it becomes silent.
func TestQuestionOfANodeThatBecomesSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		patient := func(o *cluster.Options) { o.FleetTimeout = time.Minute }
		a := startNode(t, b, "a", patient)
		c := startNode(t, b, "c", patient)
		time.Sleep(2500 * time.Millisecond)
		c.bus.Cut(true)
		began := time.Now()
		equal(t, "answers", a.count(), "[a] [c]")
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// The silence of others says nothing to a node that is cut off itself: it waits for them, and does not forget them.
func TestCutOffNodeForgetsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		nodes := startFleet(t, b, "a", "b", "c")
		nodes[2].bus.Cut(true)
		time.Sleep(10 * time.Second)
		nodes[0].bus.Cut(true)
		time.Sleep(time.Hour)
		equal(t, "answers", nodes[0].count(), "[a] [b c]")
		equal(t, "the nodes", fmt.Sprint(nodes[0].Status().Nodes), "[a b]")
		nodes[0].bus.Cut(false)
		time.Sleep(3 * time.Second)
		nodes[0].soon(t, "answers when the other one has been silent for an hour", "[a b] []")
		nodes[2].bus.Cut(false)
		time.Sleep(2500 * time.Millisecond)
		nodes[0].soon(t, "answers when all are back", "[a b c] []")
	})
}

// A silent node does not lead for long, although it is named for long.
func TestSilentNodeDoesNotLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		nodes := startFleet(t, b, "a", "b", "c")
		watchLeaders(nodes, "job", 5*time.Second)
		for i, n := range nodes {
			if !n.Leads("job") {
				continue
			}
			n.bus.Cut(true)
			watchLeaders(nodes, "job", 4*time.Second)
			rest := append(append([]*testNode(nil), nodes[:i]...), nodes[i+1:]...)
			equal(t, "leaders after four seconds", len(leaders(rest, "job")), 1)
			time.Sleep(2500 * time.Millisecond)
			_, silent := rest[0].Ask(t.Context(), cluster.Question{Op: "count"})
			equal(t, "silent nodes", fmt.Sprint(silent), fmt.Sprint([]string{n.Status().Name}))
			return
		}
		t.Error("nobody leads")
	})
}
