package chaos_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/test/natstest"
	"fanfare/internal/test/wiretest"
)

// natsFleet is a fleet whose log is in nats-servers.
type natsFleet struct {
	*fleet
	broker  *natstest.Server // if there is one
	cluster *natstest.Cluster
	links   []*wiretest.Proxy // of each node to the broker, if there is one
}

const stream = "fanfare"

// newNATSFleet starts brokers and nodes.
func newNATSFleet(t *testing.T, brokers, nodes int, args ...string) *natsFleet {
	t.Helper()
	if brokers == 1 {
		return newNATSFleetOn(t, &natstest.Server{T: t}, nodes, args...)
	}
	f := &natsFleet{fleet: newFleet(t, 0), cluster: natstest.StartCluster(t, brokers, "")}
	f.brokers, f.partitions = brokers, 1
	for range nodes {
		f.addNode(append(natsArgs(f.cluster.URL(), brokers), args...)...)
	}
	return f
}

// natsArgs are the flags of a node.
func natsArgs(url string, replicas int) []string {
	timeout := "3s"
	if replicas > 1 {
		timeout = "6s" // for an election
	}
	return []string{"--backplane", "nats", "--nats-url", url, "--nats-replicas", fmt.Sprint(replicas), "--publish-timeout", timeout}
}

// newNATSFleetOn starts one broker, and nodes that reach it by links.
func newNATSFleetOn(t *testing.T, broker *natstest.Server, nodes int, args ...string) *natsFleet {
	t.Helper()
	f := &natsFleet{fleet: newFleet(t, 0), broker: broker.Start()}
	f.brokers, f.partitions = 1, 1
	for range nodes {
		l := wiretest.NewProxy(t, f.broker.Addr)
		f.links = append(f.links, l)
		f.addNode(append(natsArgs("nats://"+l.Addr(), 1), args...)...)
	}
	return f
}

// restart runs a node again that was killed.
func (f *natsFleet) restart(i int) { f.nodes[i].Restart() }

// processFaults kill and stop nodes and the broker, and cut connections. The log keeps everything, so no client gets a gap.
var processFaults = map[string]func(*natsFleet){
	"nothing breaks": func(f *natsFleet) {},
	"node killed": func(f *natsFleet) {
		f.nodes[0].Kill()
		f.flows(5)
		f.restart(0)
	},
	"broker killed": func(f *natsFleet) {
		f.broker.Kill()
		time.Sleep(time.Second)
		f.broker.Start()
	},
	"broker killed, back after the timeout of a publish": func(f *natsFleet) {
		f.broker.Kill()
		time.Sleep(4 * time.Second)
		f.broker.Start()
	},
	"everything killed": func(f *natsFleet) {
		f.broker.Kill()
		for _, n := range f.nodes {
			n.Kill()
		}
		f.broker.Start()
		for i := range f.nodes {
			f.restart(i)
		}
	},
	"node stopped": func(f *natsFleet) {
		f.nodes[0].Signal(syscall.SIGSTOP)
		time.Sleep(4 * time.Second)
		f.nodes[0].Signal(syscall.SIGCONT)
	},
	"broker stopped": func(f *natsFleet) {
		f.broker.Pause()
		time.Sleep(4 * time.Second)
		f.broker.Resume()
	},
	"node cut off from the broker": func(f *natsFleet) {
		f.links[0].Stop()
		f.flows(5)
		time.Sleep(2 * time.Second)
		f.links[0].Resume()
	},
	"node cut off until its connection ends": func(f *natsFleet) {
		f.links[0].Stop()
		f.flows(5)
		f.links[0].Reset()
		f.links[0].Resume()
	},
	"connections to the broker reset": func(f *natsFleet) {
		for range 3 {
			f.flows(3)
			for _, l := range f.links {
				l.Reset()
			}
		}
	},
	"rolling restart": func(f *natsFleet) {
		for _, n := range f.nodes {
			f.flows(3)
			if code := n.Stop(syscall.SIGTERM); code != 0 {
				f.t.Errorf("exit code %d", code)
			}
			n.Restart()
		}
	},
	"clients move": func(f *natsFleet) {
		for range 5 {
			f.flows(3)
			f.watchers[0].Move(0.5)
		}
	},
}

func TestProcesses(t *testing.T) {
	for name, fault := range processFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newNATSFleet(t, 1, 2)
			f.start(load{})
			f.flows(10)
			fault(f)
			f.flows(10)
			f.finish()
		})
	}
}

// TestRandom makes faults one after the other, in an order that comes from a seed. FANFARE_CHAOS_SEED repeats one.
func TestRandom(t *testing.T) {
	seed, faults := rand.Uint64(), 4
	if long {
		faults = 40
	}
	if text := os.Getenv("FANFARE_CHAOS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Parallel()
	t.Logf("FANFARE_CHAOS_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	f := newNATSFleet(t, 1, 3)
	f.start(load{})
	names := slices.Sorted(maps.Keys(processFaults))
	for range faults {
		f.flows(random.IntN(10))
		name := names[random.IntN(len(names))]
		t.Log(name)
		processFaults[name](f)
	}
	f.flows(10)
	f.finish()
}
