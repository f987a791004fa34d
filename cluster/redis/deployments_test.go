package redis

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanfare/cluster"
	"fanfare/internal/test/certtest"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// checkLog stores, reads and fetches in all partitions.
func checkLog(t *testing.T, o Options) *Log {
	t.Helper()
	l := startEpoch(t, o)
	for p := range l.Partitions() {
		r := read(t, l, p, stateOf(t, l, p).Last)
		key := keyOf(p, l.Partitions())
		seq := store(t, l, event(key, "hello"))
		if e := r.await(1)[0]; e.Seq != seq || e.Key != key || dataOf(e.Frame) != "hello" {
			t.Errorf("partition %d: %+v, stored as %d", p, e, seq)
		}
		n := 0
		err := l.Fetch(within(t), cluster.Query{Partition: p, Key: key, After: seq - 1, Through: seq}, func(*cluster.Entry) error { n++; return nil })
		if n != 1 || err != nil {
			t.Errorf("partition %d: fetched %d, %v", p, n, err)
		}
	}
	return l
}

// keyOf is a key of a partition.
func keyOf(partition, n int) string {
	for i := 0; ; i++ {
		if key := "key" + strconv.Itoa(i); cluster.PartitionOf(key, n) == partition {
			return key
		}
	}
}

func TestTLS(t *testing.T) {
	c := certtest.New(t, "127.0.0.1")
	secure := proctest.FreeAddr(t)
	startServer(t, "--tls-port", proctest.Port(secure), "--tls-cert-file", c.Cert, "--tls-key-file", c.Key, "--tls-ca-cert-file", c.Cert, "--tls-auth-clients", "no")
	l := startLog(t, Options{URL: "rediss://" + secure})
	if err := l.Check(within(t)); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("nobody knows the certificate: %v", err)
	}
	checkLog(t, Options{URL: "rediss://" + secure + "?skip_verify=true"})
}

func TestUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s") // short: a path of a socket has 107 bytes at most
	startServer(t, "--unixsocket", socket)
	checkLog(t, Options{URL: "unix://" + socket})
}

// A replica cannot be written to. With several addresses the primary is found.
func TestReplicaIsRefused(t *testing.T) {
	t.Parallel()
	s, replica := startServer(t), startServer(t)
	replica.replicate(s)
	l := startLog(t, Options{URL: replica.URL()})
	if err := l.Check(within(t)); !errors.Is(err, errReplica) {
		t.Errorf("%v", err)
	}
	checkLog(t, Options{URL: "redis://" + proctest.FreeAddr(t) + "?addr=" + replica.Addr + "&addr=" + s.Addr})
}

func busPort(s *server) string { return s.Args[len(s.Args)-1] }

// In a Redis Cluster each partition is on the node of its slot, and the bus is everywhere.
func TestCluster(t *testing.T) {
	t.Parallel()
	const nodes, slots = 3, 16384
	var servers []*server
	for range nodes {
		// By default the bus has the port of the server and 10,000, which a client of another test may have taken.
		s := startServer(t, "--cluster-enabled", "yes", "--cluster-port", proctest.Port(proctest.FreeAddr(t)))
		servers = append(servers, s)
	}
	for i, s := range servers {
		s.do(append([]string{"ACL", "SETUSER", "fanfare", "on", ">pw"}, strings.Fields(permissions)...)...)
		s.do("ACL", "SETUSER", "fanfare", "+cluster")
		s.do("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		s.do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/nodes), strconv.Itoa((i+1)*slots/nodes-1))
		if i > 0 {
			s.do("CLUSTER", "MEET", "127.0.0.1", proctest.Port(servers[0].Addr), busPort(servers[0]))
		}
	}
	for i, s := range servers {
		eventually.Holds(t, fmt.Sprint("node ", i, " sees the cluster"), func() (bool, string) {
			text, err := s.do("CLUSTER", "INFO").ToString()
			return strings.Contains(text, "cluster_state:ok"), fmt.Sprint(text, err)
		})
	}
	checkLog(t, Options{URL: "redis://fanfare:pw@" + servers[0].Addr}).Close()
	a := checkLog(t, Options{URL: servers[0].URL(), Partitions: 8, Name: "fleet"})
	used := 0
	for _, s := range servers {
		if n, _ := s.do("DBSIZE").AsInt64(); n > 0 {
			used++
		}
	}
	if used < 2 {
		t.Errorf("%d of %d nodes have partitions", used, nodes)
	}
	b := startLog(t, Options{URL: servers[2].URL(), Partitions: 8, Name: "fleet"})
	checkBus(t, a, b)
	// A node that restarts may have lost entries.
	for _, s := range servers {
		s.restart()
	}
	for p := range 8 {
		if st := stateOf(t, a, p); st.Epoch != 0 { // nothing is saved
			t.Errorf("%+v", st)
		}
	}
}

// sentinels starts Sentinels that watch a primary, and returns a URL whose first address refuses connections.
func sentinels(t *testing.T, primary *server, n int) (url string) {
	t.Helper()
	url = "redis://" + proctest.FreeAddr(t) + "?master_set=primary"
	for range n {
		conf := filepath.Join(t.TempDir(), "sentinel.conf")
		text := "sentinel monitor primary 127.0.0.1 " + proctest.Port(primary.Addr) + " " + strconv.Itoa(n/2+1) + "\n" +
			"sentinel down-after-milliseconds primary 1000\nsentinel failover-timeout primary 10000\n"
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s := &server{Redis: (&proctest.Redis{T: t, Config: conf, Args: []string{"--sentinel"}}).Start()}
		s.connect()
		url += "&addr=" + s.Addr
		eventually.Holds(t, "the sentinel sees the primary", func() (bool, string) {
			m := s.do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "primary")
			addr, _ := m.AsStrSlice()
			return len(addr) == 2, fmt.Sprint(addr)
		})
		t.Cleanup(func() { _, _ = s.try("SENTINEL", "REMOVE", "primary") })
	}
	return url
}

// The primary is killed, and Sentinels promote its replica.
func TestSentinel(t *testing.T) {
	t.Parallel()
	primary, replica := startServer(t), startServer(t)
	replica.replicate(primary)
	url := sentinels(t, primary, 3)
	l := checkLog(t, Options{URL: url})
	eventually.Equal(t, "entries of the replica", 2, func() int {
		n, _ := replica.do("XLEN", "{fanfare:0}").AsInt64()
		return int(n)
	})
	before := stateOf(t, l, 0)
	r := read(t, l, 0, 0)
	r.await(2)
	primary.Kill()
	if err := r.awaitError(); err == nil {
		t.Error("Read did not end")
	}
	replica.awaitInfo("role:master")
	eventually.Holds(t, "the promoted server", func() (bool, string) {
		st := stateOf(t, l, 0)
		return st.Unsynced && st.Last == before.Last && st.Created == before.Created, fmt.Sprintf("%+v", st)
	})
	begun := beginEpoch(t, l, 0)
	if seq := store(t, l, event("news", "after")); seq != begun.EpochSeq+1 {
		t.Errorf("seq %d after %+v", seq, begun)
	}
	if got := text(read(t, l, 0, 2).await(2)); got != "3 epoch 4 news=after" {
		t.Error(got)
	}
}

// permissions are what docs/scaling.md says a user of Redis needs.
const permissions = "resetchannels ~{fanfare:* &fanfare:bus:* -@all +evalsha +eval +info +time +ping +xadd +xread +xrange +xrevrange +xtrim +xlen +xinfo|stream " +
	"+exists +get +set +hget +hmget +hset +memory|usage +config|get +publish +subscribe"

func TestPermissions(t *testing.T) {
	s := startServer(t)
	text, err := os.ReadFile("../../docs/scaling.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), permissions) {
		t.Errorf("docs/scaling.md does not have the permissions %q", permissions)
	}
	s.do(append([]string{"ACL", "SETUSER", "fanfare", "on", ">pw"}, strings.Fields(permissions)...)...)
	o := Options{URL: "redis://fanfare:pw@" + s.Addr, RetentionAge: time.Hour, RetentionBytes: 1 << 20, RetentionEntries: 1000}
	a := checkLog(t, o)
	b := startLog(t, o)
	checkBus(t, a, b)
	if err := a.tick(); err != nil {
		t.Error(err)
	}
	if _, err := a.SeqAt(within(t), 0, time.Now().Add(-time.Hour)); err != nil {
		t.Error(err)
	}
	// Without CONFIG the log works too, and trusts no restart.
	s.do("ACL", "SETUSER", "fanfare", "-config")
	checkLog(t, o)
	s.do("ACL", "SETUSER", "fanfare", "-xadd")
	if r := put(t, a, event("news", "x"))[0]; !errors.Is(r.Err, cluster.ErrAway) || !strings.Contains(r.Err.Error(), "can't run this command") {
		t.Errorf("without +xadd: %+v", r)
	}
}
