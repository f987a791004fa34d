package chaos_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"fanfare/internal/test/natstest"
	"fanfare/internal/test/proctest"
)

// The network of a test: each site has a namespace with two interfaces. One leads to clients and is never cut. The other one leads
// to the other sites, by a bridge; a site is cut off by being put on a bridge of its own.
//
//	site 1: broker 1, node 1 ── data ── bridge ── data ── site 2, site 3
//	                        └── clients: this namespace
type network struct {
	t     *testing.T
	id    int
	sites int
}

// ip runs ip(8), which needs root.
func (n *network) ip(args string) {
	n.t.Helper()
	if out, err := exec.Command(proctest.Tool(n.t, "ip"), strings.Fields(args)...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %s: %v\n%s(network namespaces need root)", args, err, out)
	}
}

// name is that of an interface, a bridge or a namespace: at most 15 bytes, and of this process.
func (n *network) name(what string, i int) string { return fmt.Sprintf("fc%d%s%d", n.id, what, i) }

func (n *network) dataAddr(i int) string   { return fmt.Sprintf("10.222.%d.%d", n.id%250, 10+i) }
func (n *network) clientAddr(i int) string { return fmt.Sprintf("10.223.%d.%d", n.id%250, 10+i) }

// newNetwork makes a network of so many sites, which ends with the test.
func newNetwork(t *testing.T, sites int) *network {
	t.Helper()
	n := &network{t: t, id: os.Getpid() % 100000, sites: sites}
	t.Cleanup(func() {
		for i := range sites {
			for _, kind := range []string{"do", "ko"} { // the namespace would keep them while it has old connections
				_ = exec.Command("ip", "link", "del", n.name(kind, i)).Run()
			}
			_ = exec.Command("ip", "netns", "del", n.name("n", i)).Run()
			_ = exec.Command("ip", "link", "del", n.name("b", i)).Run()
		}
		_ = exec.Command("ip", "link", "del", n.name("c", 0)).Run()
	})
	n.ip("link add " + n.name("c", 0) + " type bridge")
	n.ip(fmt.Sprintf("addr add 10.223.%d.1/24 dev %s", n.id%250, n.name("c", 0)))
	n.ip("link set " + n.name("c", 0) + " up")
	for i := range sites { // bridge 0 joins all sites in the beginning
		n.ip("link add " + n.name("b", i) + " type bridge")
		n.ip("link set " + n.name("b", i) + " up")
	}
	for i := range sites {
		ns := n.name("n", i)
		n.ip("netns add " + ns)
		for kind, addr := range map[string]string{"d": n.dataAddr(i), "k": n.clientAddr(i)} {
			inside, outside := n.name(kind+"i", i), n.name(kind+"o", i)
			n.ip(fmt.Sprintf("link add %s type veth peer name %s", outside, inside))
			n.ip(fmt.Sprintf("link set %s netns %s", inside, ns))
			n.ip(fmt.Sprintf("-n %s addr add %s/24 dev %s", ns, addr, inside))
			n.ip(fmt.Sprintf("-n %s link set %s up", ns, inside))
			n.ip(fmt.Sprintf("link set %s up", outside))
		}
		n.ip("-n " + ns + " link set lo up")
		n.ip("link set " + n.name("ko", i) + " master " + n.name("c", 0))
	}
	n.heal()
	return n
}

// cut puts these sites on bridge 1: they reach each other, and no others.
func (n *network) cut(sites ...int) {
	for _, i := range sites {
		n.ip(fmt.Sprintf("link set %s master %s", n.name("do", i), n.name("b", 1)))
	}
}

// heal puts all sites on bridge 0.
func (n *network) heal() {
	for i := range n.sites {
		n.ip(fmt.Sprintf("link set %s master %s", n.name("do", i), n.name("b", 0)))
	}
}

// exec is what runs a command at a site.
func (n *network) exec(i int) []string { return []string{"ip", "netns", "exec", n.name("n", i)} }

// newSites starts a broker and a node at each of three sites.
func newSites(t *testing.T) (*natsFleet, *network) {
	t.Helper()
	n := newNetwork(t, 3)
	f := &natsFleet{fleet: newFleet(t, 0)}
	f.brokers, f.partitions = 3, 1
	var brokers []*natstest.Server
	for i := range 3 {
		brokers = append(brokers, &natstest.Server{T: t, Name: fmt.Sprintf("n%d", i+1), Host: n.dataAddr(i), Prefix: n.exec(i), MonitorHost: n.clientAddr(i)})
	}
	f.cluster = natstest.JoinCluster(t, brokers...)
	for i := range 3 {
		at := n.exec(i)
		listen, admin := n.clientAddr(i)+":8080", n.clientAddr(i)+":8081"
		args := append(append(at[1:], binary), natsArgs(f.cluster.URL(), 3)...)
		const token = "a-token-of-a-test-0123456789abcdef" // the server wants one, because its publish API is not on loopback
		f.addServer(&proctest.Server{Binary: at[0], Args: append(args, "--listen", listen, "--admin", admin), Token: token, Env: []string{"FANFARE_PUBLISH_TOKEN=" + token}})
	}
	return f, n
}

// TestPartition cuts the network between sites, while publishers write on both sides. The smaller side confirms nothing, and its
// clients get what the larger one has confirmed when the network is back, without a gap.
func TestPartition(t *testing.T) {
	if !long {
		t.Skip("needs root and takes minutes: scripts/chaos.sh runs it")
	}
	for name, fault := range map[string]func(*natsFleet, *network){
		"site of the leader cut off": func(f *natsFleet, n *network) {
			n.cut(f.siteOf(f.cluster.Leader(stream)))
			f.flows(10)
			time.Sleep(5 * time.Second)
			n.heal()
		},
		"site of a follower cut off": func(f *natsFleet, n *network) {
			n.cut(f.siteOf(f.follower()))
			f.flows(10)
			time.Sleep(5 * time.Second)
			n.heal()
		},
		"all sites cut off from each other in turns": func(f *natsFleet, n *network) {
			for i := range 3 {
				n.cut(i)
				f.flows(3)
				n.heal()
				f.cluster.AwaitReady()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, n := newSites(t)
			f.start(load{pause: 100 * time.Millisecond})
			f.flows(10)
			fault(f, n)
			f.flows(10)
			f.finish()
		})
	}
}

func (f *natsFleet) siteOf(s *natstest.Server) int {
	for i, other := range f.cluster.Servers {
		if other == s {
			return i
		}
	}
	f.t.Fatal("no such site")
	return 0
}
