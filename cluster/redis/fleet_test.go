package redis

import (
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// fleet is some nodes, with a publisher of a key at each and clients of all keys at each.
type fleet struct {
	t          *testing.T
	nodes      []*node
	publishers []*publisher
	clients    []*client
	split      bool // two primaries took events for a while
}

func startFleet(t *testing.T, o fleetOptions, urls ...string) *fleet {
	t.Helper()
	f := &fleet{t: t}
	var keys []string
	for i, url := range urls {
		f.nodes = append(f.nodes, startNode(t, fmt.Sprint("node", i), url, o))
		keys = append(keys, fmt.Sprint("key", i))
	}
	for i, n := range f.nodes {
		f.clients = append(f.clients, startClient(t, n, fmt.Sprint("client", i), keys...), startClient(t, n, fmt.Sprint("moving", i), keys...))
	}
	for i, n := range f.nodes {
		f.publishers = append(f.publishers, startPublisher(t, n, keys[i]))
	}
	flows(t, 20, f.publishers...)
	return f
}

// shuffle moves every second client to the next node.
func (f *fleet) shuffle(round int) {
	f.t.Helper()
	for i := range f.nodes {
		f.clients[2*i+1].move(f.nodes[(i+round)%len(f.nodes)])
	}
}

// finish ends the publishers, waits until all clients have read everything, and returns the gaps by reason.
func (f *fleet) finish(at *node) map[string]int {
	f.t.Helper()
	sum := map[string]int{}
	for _, p := range f.publishers {
		last := p.finish(f.t, at)
		for _, c := range f.clients {
			c.await(p.key, last)
		}
	}
	for _, c := range f.clients {
		for _, p := range f.publishers {
			for reason, n := range c.check(p, f.split) {
				sum[reason] += n
			}
		}
	}
	return sum
}

// gaps checks the reasons of gaps. A client on a busy machine may be too slow (lag).
func (f *fleet) gaps(gaps map[string]int, epoch bool) {
	f.t.Helper()
	delete(gaps, "lag")
	if epoch != (gaps["epoch"] > 0) {
		f.t.Errorf("gaps: %v, want some of epochs: %v", gaps, epoch)
	}
	if delete(gaps, "epoch"); len(gaps) > 0 {
		f.t.Errorf("gaps: %v", gaps)
	}
}

// Clients move between nodes, one of which ends: nobody misses anything.
func TestFleetMoves(t *testing.T) {
	for _, partitions := range []int{1, 3} {
		t.Run(fmt.Sprint(partitions, " partitions"), func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			f := startFleet(t, fleetOptions{partitions: partitions, history: 50}, s.URL(), s.URL(), s.URL())
			for round := range 4 {
				f.shuffle(round)
				flows(t, 10, f.publishers...)
			}
			// A client that was away for longer than the rings remember is served from the log.
			away := f.clients[1]
			away.leave()
			flows(t, 100, f.publishers...)
			away.open(f.nodes[0])
			f.publishers[2].stop()
			for i := range f.clients {
				f.clients[i].move(f.nodes[i%2])
			}
			f.nodes[2].stop()
			f.gaps(f.finish(f.nodes[0]), false)
		})
	}
}

// Redis is killed under load, and has everything on disk: nothing is lost, and there is no gap.
func TestFleetKillDurable(t *testing.T) {
	t.Parallel()
	s := startServer(t, durable...)
	f := startFleet(t, fleetOptions{}, s.URL(), s.URL())
	for round := range 3 {
		s.restart()
		flows(t, 20, f.publishers...)
		f.shuffle(round)
	}
	f.gaps(f.finish(f.nodes[0]), false)
}

// Redis is killed under load, and loses what it has: every client gets a gap, and no id means two events.
func TestFleetKillNotDurable(t *testing.T) {
	for name, args := range map[string][]string{"everysec": {"--appendonly", "yes"}, "nothing": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, args...)
			f := startFleet(t, fleetOptions{}, s.URL(), s.URL())
			for round := range 3 {
				s.restart()
				flows(t, 20, f.publishers...)
				f.shuffle(round)
			}
			f.gaps(f.finish(f.nodes[0]), true)
		})
	}
}

// The replica is promoted while the old primary still answers, and both take events for a while.
func TestFleetPromotion(t *testing.T) {
	t.Parallel()
	old, replica := startServer(t), startServer(t)
	// Until the end of the split, a node reads and writes where its first address leads.
	both := func(first, second *server) string { return first.URL() + "?addr=" + second.Addr }
	a := startNode(t, "a", both(old, replica), fleetOptions{})
	replica.replicate(old)
	b := startNode(t, "b", both(replica, old), fleetOptions{}) // the replica is no primary, so it begins at the old one
	f := &fleet{t: t, nodes: []*node{a, b}, split: true}
	for i, n := range f.nodes {
		f.clients = append(f.clients, startClient(t, n, fmt.Sprint("client", i), "key0", "key1"), startClient(t, n, fmt.Sprint("moving", i), "key0", "key1"))
	}
	f.publishers = []*publisher{startPublisher(t, a, "key0"), startPublisher(t, b, "key1")}
	flows(t, 50, f.publishers...)

	replica.do("REPLICAOF", "NO", "ONE")
	old.do("CLIENT", "KILL", "TYPE", "normal") // both connect again, and b to the new primary
	flows(t, 50, f.publishers...)
	if a.eng.Applied(0).Epoch == b.eng.Applied(0).Epoch {
		t.Fatal("the nodes are in the same epoch, at two primaries")
	}
	f.shuffle(1) // clients of one side come to the other one
	flows(t, 50, f.publishers...)
	f.shuffle(0)
	flows(t, 50, f.publishers...)

	old.do("REPLICAOF", "127.0.0.1", proctest.Port(replica.Addr))
	eventually.True(t, "the nodes are in the same epoch", func() bool { return a.eng.Applied(0).Epoch == b.eng.Applied(0).Epoch })
	flows(t, 50, f.publishers...)
	f.gaps(f.finish(b), true)
}

// Sentinels promote the replica of a primary that is killed under load.
func TestFleetSentinel(t *testing.T) {
	t.Parallel()
	primary, replica := startServer(t), startServer(t)
	replica.replicate(primary)
	url := sentinels(t, primary, 3)
	f := startFleet(t, fleetOptions{}, url, url)
	primary.Kill()
	replica.awaitInfo("role:master")
	flows(t, 20, f.publishers...)
	f.shuffle(1)
	f.gaps(f.finish(f.nodes[0]), true)
}

// Many faults, one after another. Redis has everything on disk, so there is no gap and nothing is lost.
func TestFleetLong(t *testing.T) {
	if os.Getenv("FANFARE_LONG") == "" {
		t.Skip("takes minutes: set FANFARE_LONG=1")
	}
	s := startServer(t, durable...)
	f := startFleet(t, fleetOptions{partitions: 2}, s.URL(), s.URL(), s.URL())
	faults := []func(){
		s.restart,
		func() {
			s.Signal(syscall.SIGSTOP)
			time.Sleep(5 * time.Second) // longer than the nodes' timeout
			s.Signal(syscall.SIGCONT)
		},
		func() { s.do("CLIENT", "KILL", "TYPE", "normal") },
		func() { s.do("CLIENT", "KILL", "TYPE", "pubsub") },
		func() { s.do("SCRIPT", "FLUSH") },
		func() { s.do("CLIENT", "PAUSE", "1000", "ALL") },
	}
	for round := range 30 {
		faults[rand.IntN(len(faults))]()
		if round%3 == 0 {
			flows(t, 20, f.publishers...)
		}
		f.shuffle(round)
	}
	flows(t, 20, f.publishers...)
	f.gaps(f.finish(f.nodes[0]), false)
}
