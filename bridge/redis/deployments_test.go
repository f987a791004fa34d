package redis

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanfare/internal/test/certtest"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// checkBoth publishes by both sources.
func checkBoth(t *testing.T, r *redisServer, f *fanfare, channel, stream string) {
	t.Helper()
	for _, source := range []string{"pubsub", "streams"} {
		f.AwaitMetric(1, "fanfare_redis_connected", "source="+source)
	}
	c, s := f.subscribe(channel), f.subscribe(stream)
	r.do("PUBLISH", channel, "by channel")
	r.add(stream, "x", "by stream")
	c.awaitLast("by channel")
	s.awaitLast("by stream")
}

func TestTLS(t *testing.T) {
	c := certtest.New(t, "127.0.0.1")
	secure := proctest.FreeAddr(t)
	r := startRedis(t, "--tls-port", proctest.Port(secure), "--tls-cert-file", c.Cert, "--tls-key-file", c.Key, "--tls-ca-cert-file", c.Cert, "--tls-auth-clients", "no")
	s := setup{url: "rediss://" + secure, channels: []string{"c"}, streams: []string{"s"}}
	f := startFanfare(t, s)
	if !strings.Contains(f.Log.String(), "certificate signed by unknown authority") {
		t.Errorf("nobody knows the certificate, and the log says\n%s", f.Log)
	}
	s.url += "?skip_verify=true"
	checkBoth(t, r, startFanfare(t, s), "c", "s")
}

func TestUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s") // short: a path of a socket has 107 bytes at most
	r := startRedis(t, "--unixsocket", socket)
	checkBoth(t, r, startFanfare(t, setup{url: "unix://" + socket, channels: []string{"c"}, streams: []string{"s"}}), "c", "s")
}

// In a cluster channels are everywhere, and streams of one hash tag can be read from their node.
func TestCluster(t *testing.T) {
	// By default the bus has the port of the server and 10,000, which a client of another test may have taken.
	_, bus, _ := strings.Cut(proctest.FreeAddr(t), ":")
	r := startRedis(t, "--cluster-enabled", "yes", "--cluster-port", bus)
	r.do("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	eventually.Holds(t, "the cluster is up", func() (bool, string) {
		text, err := r.do("CLUSTER", "INFO").ToString()
		return strings.Contains(text, "cluster_state:ok"), fmt.Sprint(text, err)
	})
	checkBoth(t, r, startFanfare(t, setup{url: r.URL(), channels: []string{"c", "x*"}, streams: []string{"{tag}1", "{tag}2"}}), "c", "{tag}2")
	f := startFanfare(t, setup{url: r.URL(), streams: []string{"a", "b"}})
	f.subscribe("a")
	eventually.Holds(t, "the log says what is wrong", func() (bool, string) {
		return strings.Contains(f.Log.String(), "hash tag"), f.Log.String()
	})
}

func TestSentinel(t *testing.T) {
	r := startRedis(t)
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := "sentinel monitor primary 127.0.0.1 " + proctest.Port(r.Addr) + " 1\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel := (&proctest.Redis{T: t, Config: conf, Args: []string{"--sentinel"}}).Start()
	f := startFanfare(t, setup{url: sentinel.URL() + "?master_set=primary", channels: []string{"c"}, streams: []string{"s"}})
	checkBoth(t, r, f, "c", "s")
	f.bridge.Close()
}
