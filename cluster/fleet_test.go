package cluster_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/cluster"
	"fanfare/internal/test/memlog"
)

// names returns the nodes of answers.
func names(answers []cluster.Answer) (all []string) {
	for _, a := range answers {
		all = append(all, a.Node)
	}
	return all
}

// startFleet starts nodes of these names, which know each other when it returns. Each answers with its number.
func startFleet(t *testing.T, b *memlog.Broker, names ...string) []*testNode {
	var nodes []*testNode
	for i, name := range names {
		n := makeNode(t, b, name, nil)
		n.OnQuestion(func(q cluster.Question) cluster.Answer { return cluster.Answer{Count: i + 1} })
		n.Start()
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		n.settle(t)
	}
	time.Sleep(2 * time.Second)
	return nodes
}

func TestAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		nodes := startFleet(t, b, "c", "a", "b")
		equal(t, "the nodes", fmt.Sprint(nodes[0].Status().Nodes), "[a b c]")
		began := time.Now()
		answers, silent := nodes[0].Ask(t.Context(), cluster.Question{Op: "count"})
		equal(t, "answers", fmt.Sprint(answers), "[{a 2 map[]} {b 3 map[]} {c 1 map[]}]")
		equal(t, "silent nodes", len(silent), 0)
		equal(t, "it took", time.Since(began), 0)

		// A node that is cut off is silent. Later questions do not wait for it.
		nodes[1].bus.Cut(true)
		began = time.Now()
		answers, silent = nodes[0].Ask(t.Context(), cluster.Question{Op: "count"})
		equal(t, "answers", fmt.Sprint(names(answers)), "[b c]")
		equal(t, "silent nodes", fmt.Sprint(silent), "[a]")
		equal(t, "it took", time.Since(began), 2*time.Second)
		time.Sleep(10 * time.Second)
		began = time.Now()
		answers, silent = nodes[0].Ask(t.Context(), cluster.Question{Op: "count"})
		equal(t, "answers", fmt.Sprint(names(answers), silent), "[b c] [a]")
		equal(t, "it took", time.Since(began), 0)

		// The one that is cut off goes on naming the others: it cannot know that they are gone.
		answers, silent = nodes[1].Ask(t.Context(), cluster.Question{Op: "count"})
		equal(t, "answers of the node that is cut off", fmt.Sprint(names(answers), silent), "[a] [b c]")
		nodes[1].bus.Cut(false)
		time.Sleep(2 * time.Second)
		answers, silent = nodes[0].Ask(t.Context(), cluster.Question{Op: "count"})
		equal(t, "answers", fmt.Sprint(names(answers), silent), "[a b c] []")

		// A node that leaves is forgotten at once, also by a question that waits for it.
		nodes[2].bus.Cut(true) // it does not get the question
		done := make(chan struct{})
		go func() {
			defer close(done)
			answers, silent = nodes[0].Ask(t.Context(), cluster.Question{Op: "count"})
		}()
		synctest.Wait()
		nodes[2].bus.Cut(false)
		began = time.Now()
		nodes[2].Close()
		<-done
		equal(t, "answers", fmt.Sprint(names(answers), silent), "[a c] []")
		equal(t, "it took", time.Since(began), 0)
	})
}

func TestAskWithoutABus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a := makeNode(t, b, "a", func(o *cluster.Options) { o.Bus = nil })
		a.OnQuestion(func(q cluster.Question) cluster.Answer { return cluster.Answer{Count: 7} })
		a.Start()
		answers, silent := a.Ask(t.Context(), cluster.Question{Op: "count"})
		equal(t, "answers", fmt.Sprint(answers, silent), "[{a 7 map[]}] []")
	})
}

// A wait for a position of an epoch that has ended does not last.
func TestQuestionAcrossAnEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		nodes := startFleet(t, b, "a", "b")
		nodes[1].log.Cut(true)
		nodes[0].must(t, event("k", "1"), event("k", "2"))
		done := make(chan struct{})
		go func() {
			defer close(done)
			answers, silent := nodes[0].Ask(t.Context(), cluster.Question{Op: "close", Key: "k", AfterPublished: true})
			equal(t, "answers", fmt.Sprint(names(answers), silent), "[a b] []")
		}()
		synctest.Wait()
		b.GoBack(0, 2)
		nodes[1].log.Cut(false)
		<-done
	})
}

func TestLargeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		a, c := makeNode(t, b, "a", nil), makeNode(t, b, "c", nil)
		subjects := map[string]int{}
		for i := range 20_000 {
			subjects[fmt.Sprintf("%s-%d", strings.Repeat("s", 50), i)] = i
		}
		c.OnQuestion(func(cluster.Question) cluster.Answer { return cluster.Answer{Count: 3, Subjects: subjects} })
		a.Start()
		c.Start()
		time.Sleep(2 * time.Second)
		answers, silent := a.Ask(t.Context(), cluster.Question{Op: "presence"})
		if len(answers) != 2 || len(silent) != 0 || answers[1].Count != 3 || len(answers[1].Subjects) != len(subjects) {
			t.Fatalf("%d answers, %v silent", len(answers), silent)
		}
		for subject, count := range subjects {
			if answers[1].Subjects[subject] != count {
				t.Fatalf("%s has %d, want %d", subject, answers[1].Subjects[subject], count)
			}
		}
		if n := b.LargestBusMessage(); n > 700<<10 {
			t.Errorf("a message has %d bytes", n)
		}
	})
}

func TestTwoNodesWithOneName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		registry := prometheus.NewRegistry()
		a := startNode(t, b, "a", nil)
		startNode(t, b, "a", nil)
		registry.MustRegister(a.Collector())
		time.Sleep(3 * time.Second)
		if n := metric(t, registry, "fanfare_fleet_name_conflicts_total"); n < 1 {
			t.Errorf("%v conflicts", n)
		}
	})
}

// A node does not start with the name of one that answers. It may take the name of one that has crashed or left, and of two that start
// at the same time one does.
func TestUniqueName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		unique := func(o *cluster.Options) { o.UniqueName = true }
		a, other := startNode(t, b, "a", unique), startNode(t, b, "b", unique)
		a.settle(t)
		other.settle(t)
		time.Sleep(2 * time.Second) // they have heard of each other
		registry := prometheus.NewRegistry()
		registry.MustRegister(a.Collector())
		second := startNode(t, b, "a", unique)
		if err := second.Settled(t.Context()); err == nil || !strings.Contains(err.Error(), `nodeName "a": another node of the fleet has this name`) {
			t.Errorf("a second node of the name: %v", err)
		}
		answers, silent := other.Ask(t.Context(), cluster.Question{Op: "count"})
		equal(t, "answers", fmt.Sprint(names(answers), silent), "[a b] []")
		second.Close()
		time.Sleep(2 * time.Second)
		equal(t, "the nodes", fmt.Sprint(other.Status().Nodes), "[a b]")
		equal(t, "conflicts", metric(t, registry, "fanfare_fleet_name_conflicts_total"), 0)

		a.bus.Cut(true) // as by a crash
		began := time.Now()
		third := startNode(t, b, "a", unique)
		third.settle(t)
		equal(t, "it took", time.Since(began), time.Second)
		third.Close()

		x, y := startNode(t, b, "x", unique), startNode(t, b, "x", unique)
		errX, errY := x.Settled(t.Context()), y.Settled(t.Context())
		if (errX == nil) == (errY == nil) {
			t.Errorf("of two that start at the same time: %v, %v", errX, errY)
		}
	})
}

// Messages of other programs on the bus do no harm.
func TestForeignBusMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		nodes := startFleet(t, b, "a", "b")
		other := b.Bus()
		for _, data := range []string{"", "hello", "{}", `{"kind":"hello"}`, `{"kind":"question","node":"x"}`,
			`{"kind":"answer","node":"x","id":"1","part":3,"parts":1}`, `{"kind":"bye","node":"b","instance":"other"}`, `{"kind":"what","node":"x"}`} {
			if err := other.Send("", []byte(data)); err != nil {
				t.Fatal(err)
			}
		}
		answers, silent := nodes[0].Ask(t.Context(), cluster.Question{Op: "count"})
		equal(t, "answers", fmt.Sprint(names(answers), silent), "[a b] []")
	})
}

// leaders returns the names of the nodes that lead.
func leaders(nodes []*testNode, name string) (all []string) {
	for _, n := range nodes {
		if n.Leads(name) {
			all = append(all, n.Status().Name)
		}
	}
	return all
}

// watchLeaders looks ten times a second and returns for how long there was none, and for how long there were several.
func watchLeaders(nodes []*testNode, name string, d time.Duration) (none, several time.Duration) {
	const step = 100 * time.Millisecond
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(step) {
		switch n := len(leaders(nodes, name)); {
		case n == 0:
			none += step
		case n > 1:
			several += step
		}
	}
	return none, several
}

func TestLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		nodes := startFleet(t, b, "a", "b", "c", "d")
		watchLeaders(nodes, "job", 10*time.Second)
		none, several := watchLeaders(nodes, "job", time.Minute)
		equal(t, "without and with several leaders in a quiet fleet", fmt.Sprint(none, several), "0s 0s")

		check := func(what string, f func(), maxNone, maxSeveral time.Duration) {
			t.Helper()
			f()
			none, several := watchLeaders(nodes, "job", 20*time.Second)
			if none > maxNone || several > maxSeveral {
				t.Errorf("%s: none for %s, several for %s, want at most %s and %s", what, none, several, maxNone, maxSeveral)
			}
			equal(t, what+": leaders", len(leaders(nodes, "job")), 1)
		}
		leader := func() int {
			name := leaders(nodes, "job")[0]
			return slices.IndexFunc(nodes, func(n *testNode) bool { return n.Status().Name == name })
		}

		// The leader ends.
		i := leader()
		name := nodes[i].Status().Name
		check("the leader leaves", func() { nodes[i].Close() }, 100*time.Millisecond, 0)

		// It comes back, and does not take the lead from the other one.
		other := leader()
		check("a node joins", func() { nodes[i] = startNode(t, b, name, nil) }, 0, 0)
		equal(t, "the leader", leader(), other)
		i = other

		// It is cut off, and comes back.
		check("the leader is cut off", func() { nodes[i].bus.Cut(true) }, 4*time.Second, 0)
		check("the leader comes back", func() { nodes[i].bus.Cut(false) }, 0, 0)

		// Jobs are spread.
		led := map[string]bool{}
		for j := range 40 {
			job := fmt.Sprint("job", j)
			watchLeaders(nodes, job, 4*time.Second)
			for _, name := range leaders(nodes, job) {
				led[name] = true
			}
		}
		if len(led) < 3 {
			t.Errorf("40 jobs are led by %v", led)
		}
	})
}

// A node that does not do a job does not lead it.
func TestOnlyNodesThatAskLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		nodes := startFleet(t, b, "a", "b", "c", "d")
		for i := range 10 {
			job := fmt.Sprint("job", i)
			watchLeaders(nodes[3:], job, 10*time.Second)
			if !nodes[3].Leads(job) {
				t.Errorf("the only node for %s does not lead", job)
			}
		}
	})
}

// A leader that hands over leads until the next one is ready, and tells it about its end. Nobody else leads meanwhile.
func TestHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(1)
		nodes := startFleet(t, b, "a", "b", "c")
		began := time.Now()
		for len(leaders(nodes, "job")) == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("nobody led for %s", d)
		}
		for range 2 {
			i := slices.IndexFunc(nodes, func(n *testNode) bool { return n.Leads("job") })
			old := nodes[i]
			nodes = slices.Delete(nodes, i, i+1)
			done := make(chan struct{})
			go func() {
				defer close(done)
				old.HandOver(t.Context(), "job", func() []byte {
					equal(t, "the leader leads until it has stopped", old.Leads("job"), true)
					return []byte("the end")
				})
			}()
			time.Sleep(100 * time.Millisecond)
			equal(t, "leads while no other is ready", fmt.Sprint(old.Leads("job"), leaders(nodes, "job")), "true []")
			next := slices.IndexFunc(nodes, func(n *testNode) bool { return n.Succeeds("job") })
			for j, n := range nodes {
				equal(t, "succeeds", n.Succeeds("job"), j == next)
			}
			data, err := nodes[next].TakeOver(t.Context(), "job")
			equal(t, "what the leader says", fmt.Sprintf("%s %v", data, err), "the end <nil>")
			<-done
			equal(t, "leaders", fmt.Sprint(leaders(nodes, "job"), old.Leads("job")), "["+nodes[next].Status().Name+"] false")
			none, several := watchLeaders(append([]*testNode{old}, nodes...), "job", 20*time.Second)
			equal(t, "without and with several leaders", fmt.Sprint(none, several), "0s 0s")
		}

		// The last one does not wait for anybody.
		began = time.Now()
		nodes[0].HandOver(t.Context(), "job", func() []byte { return nil })
		equal(t, "time to end without a successor", time.Since(began), 0)
	})
}
