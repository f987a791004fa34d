package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/cluster"
	"fanfare/internal/test/memlog"
)

// ordered is a fleet whose nodes note what they had applied when they closed.
type ordered struct {
	b     *memlog.Broker
	nodes []*testNode
	mu    sync.Mutex
	order []string
}

// startOrdered starts nodes of these names, which know each other when it returns.
func startOrdered(t *testing.T, partitions int, names ...string) *ordered {
	o := &ordered{b: memlog.New(partitions)}
	for _, name := range names {
		n := makeNode(t, o.b, name, nil)
		n.OnQuestion(func(cluster.Question) cluster.Answer {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.order = append(o.order, fmt.Sprint(name, " after ", n.rec.data()))
			return cluster.Answer{Count: 1}
		})
		n.Start()
		n.settle(t)
		o.nodes = append(o.nodes, n)
	}
	time.Sleep(2500 * time.Millisecond) // between two announcements, by which nodes hear of each other's events
	return o
}

// happened returns what was closed, sorted by node, and forgets it.
func (o *ordered) happened() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	slices.Sort(o.order) // nodes have no order between them
	all := strings.Join(o.order, ", ")
	o.order = nil
	return all
}

// closing asks a node to close in another goroutine. The channel gets the names of those that have answered and of those that
// have not.
func (n *testNode) closing() <-chan string {
	done := make(chan string, 1)
	go func() {
		answers, silent := n.Ask(context.Background(), cluster.Question{Op: "close", Key: "k", AfterPublished: true})
		done <- fmt.Sprint(names(answers), silent)
	}()
	return done
}

// A close comes after everything that any node has published before, also at the node that is asked: it has not read the
// events yet, and has not heard of them.
func TestCloseIsAfterOtherNodesEvents(t *testing.T) {
	for _, partitions := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			o := startOrdered(t, partitions, "a", "b", "c")
			a, b := o.nodes[0], o.nodes[1]
			b.log.HoldReads(true)
			a.must(t, event("k", "1"))
			a.must(t, event("other", "2"))
			a.must(t, broadcast("3"))
			done := b.closing()
			synctest.Wait()
			check := func(happened, closed string) { // partitions have no order between them
				t.Helper()
				for _, each := range strings.Split(happened, ", ") {
					name, data, _ := strings.Cut(each, " after ")
					if got := strings.Fields(data); len(got) != 3 || !strings.Contains(closed, name) {
						t.Errorf("%s: want 3 events, at %s", each, closed)
					}
					closed = strings.Replace(closed, name, "", 1)
				}
				equal(t, "those that have not closed", strings.TrimSpace(closed), "")
			}
			check(o.happened(), "a c")
			b.log.HoldReads(false)
			equal(t, "answers", <-done, "[a b c] []")
			check(o.happened(), "b")
		})
	}
}

// A node that is asked twice at the same time asks the log again for what was published in between.
func TestCloseIsAfterEventsBetweenCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := startOrdered(t, 1, "a", "b")
		a, b := o.nodes[0], o.nodes[1]
		for i := range 3 {
			b.log.HoldReads(true)
			a.must(t, event("k", fmt.Sprint(i)))
			done := b.closing()
			synctest.Wait()
			b.log.HoldReads(false)
			equal(t, "answers", <-done, "[a b] []")
			want := strings.TrimSpace("0 1 2"[:2*i+1])
			equal(t, "what happened", o.happened(), fmt.Sprintf("a after %s, b after %s", want, want))
		}
	})
}

// A node that has not applied what was published before closes late: another one, and the one that is asked.
func TestCloseIsLateRatherThanEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := startOrdered(t, 1, "a", "b")
		a, b := o.nodes[0], o.nodes[1]
		for i, asked := range o.nodes {
			b.log.HoldReads(true)
			a.must(t, event("k", fmt.Sprint(i)))
			began := time.Now()
			equal(t, "answers", <-asked.closing(), "[a] [b]")
			equal(t, "it took", time.Since(began), 2*time.Second)
			want := strings.TrimSpace("0 1"[:2*i+1])
			equal(t, "what happened", o.happened(), "a after "+want)
			b.log.HoldReads(false)
			time.Sleep(5 * time.Second)
			equal(t, "what happened later", o.happened(), "b after "+want)
		}
	})
}

// While the log does not say how far it is, nobody closes, and all nodes are named. They close when it does, unless that is
// too late.
func TestCloseWithoutTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := startOrdered(t, 1, "a", "b")
		a, b := o.nodes[0], o.nodes[1]
		for _, away := range []time.Duration{10 * time.Second, time.Minute} {
			b.log.Cut(true)
			a.must(t, event("k", "1"))
			equal(t, "answers", <-b.closing(), "[] [a b]")
			time.Sleep(away)
			equal(t, "what happened", o.happened(), "")
			b.log.Cut(false)
			time.Sleep(10 * time.Second)
			if got := o.happened(); away < 30*time.Second && got != "a after 1, b after 1" || away > 30*time.Second && got != "" {
				t.Errorf("the log was away for %s: %q", away, got)
			}
		}
	})
}

// A node that closes in the meantime does not wait.
func TestCloseOfANodeThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := startOrdered(t, 1, "a", "b")
		a, b := o.nodes[0], o.nodes[1]
		b.log.HoldReads(true)
		a.must(t, event("k", "1"))
		equal(t, "answers", <-b.closing(), "[a] [b]")
		began := time.Now()
		b.Close()
		equal(t, "Close took", time.Since(began), 0)
		equal(t, "answers of a closed node", <-b.closing(), "[] [a b]")
	})
}

// The questions that go on after FleetTimeout are bounded.
func TestLateQuestionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 256
		o := startOrdered(t, 1, "a")
		a := o.nodes[0]
		a.log.Cut(true)
		var asked []<-chan string
		for range most + 50 {
			asked = append(asked, a.closing())
		}
		for _, done := range asked {
			equal(t, "answers", <-done, "[] [a]")
		}
		a.log.Cut(false)
		time.Sleep(10 * time.Second)
		equal(t, "closes", strings.Count(o.happened(), "a after"), most)
	})
}

func TestCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := startOrdered(t, 4, "a", "b")
		a, b := o.nodes[0], o.nodes[1]
		b.log.HoldReads(true)
		a.must(t, event("k", "1"), event("other", "2"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if err := b.CatchUp(ctx); err != context.DeadlineExceeded {
			t.Errorf("CatchUp of a node that reads nothing: %v", err)
		}
		cancel()
		time.AfterFunc(time.Second, func() { b.log.HoldReads(false) })
		if err := b.CatchUp(t.Context()); err != nil {
			t.Error(err)
		}
		equal(t, "applied", len(b.rec.records()), 2)
	})
}
