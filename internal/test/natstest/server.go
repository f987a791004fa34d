package natstest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// binary builds nats-server, once per process. The go command keeps the result in its build cache, so nobody has to remove it.
var binary = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("go", "tool", "-n", "nats-server")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	path, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, &stderr)
	}
	return strings.TrimSpace(string(path)), nil
})

// Server is a nats-server with JetStream. Set T, and what else the test needs, then call Start. After Kill or Stop, Start
// runs it again on the same addresses with the same folder.
type Server struct {
	T    testing.TB
	Name string // default "n1"
	// Config is more text for its configuration file, such as "max_payload: 64KB". Start writes the file anew.
	Config string
	// JetStream is more text for that part of the file, such as "sync_interval: always".
	JetStream string
	// Folder has its data. Default: a temporary one.
	Folder string
	// Host is the address that it listens on. Default 127.0.0.1. MonitorHost is that of its HTTP monitoring. Default Host.
	Host, MonitorHost string
	// Prefix is put before its command, such as "ip", "netns", "exec", "NAME".
	Prefix []string

	// Set by the first Start.
	*proctest.Process
	Addr string // of clients

	monitor string   // address of its HTTP monitoring
	route   string   // address for other servers, in a cluster
	routes  []string // of all servers of the cluster
}

// Start runs the server and waits until JetStream is ready.
func (s *Server) Start() *Server {
	s.T.Helper()
	s.Run()
	s.AwaitReady()
	return s
}

// Run starts the process and does not wait: servers of a cluster are ready only together.
func (s *Server) Run() {
	s.T.Helper()
	path, err := binary()
	if err != nil {
		s.T.Fatal(err)
	}
	s.assignAddresses()
	if s.Folder == "" {
		s.Folder = s.T.TempDir()
	}
	file := filepath.Join(s.T.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(s.configuration()), 0o600); err != nil {
		s.T.Fatal(err)
	}
	args := append(slices.Clone(s.Prefix), path, "-c", file)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = proctest.Environment()
	s.Process = proctest.Start(s.T, cmd)
}

func (s *Server) assignAddresses() {
	if s.Addr != "" {
		return
	}
	s.Addr, s.monitor = s.freeAddr(s.Host), s.freeAddr(cmp.Or(s.MonitorHost, s.Host))
	if s.Name == "" {
		s.Name = "n1"
	}
}

// freeAddr is an address of the host with a free port.
func (s *Server) freeAddr(host string) string {
	return net.JoinHostPort(cmp.Or(host, "127.0.0.1"), proctest.Port(proctest.FreeAddr(s.T)))
}

func (s *Server) configuration() string {
	var b strings.Builder
	fmt.Fprintf(&b, "server_name: %s\nlisten: %q\nhttp: %q\njetstream: {store_dir: %q, %s}\n", s.Name, s.Addr, s.monitor, s.Folder, s.JetStream)
	if s.route != "" {
		fmt.Fprintf(&b, "cluster: {name: fanfare, listen: %q, routes: [", s.route)
		for i, route := range s.routes {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%q", "nats://"+route)
		}
		b.WriteString("]}\n")
	}
	return b.String() + s.Config + "\n"
}

// AwaitReady waits until the server is ready, with all streams that it had before.
func (s *Server) AwaitReady() {
	s.T.Helper()
	s.Await("nats-server "+s.Name+" is ready", func() error {
		var health struct{ Status, Error string }
		if err := s.Monitor("/healthz", &health); err != nil {
			return err
		}
		if health.Status != "ok" {
			return fmt.Errorf("%s: %s", health.Status, health.Error)
		}
		return nil
	})
}

// URL is the server's address as clients and Fanfare take it.
func (s *Server) URL() string { return "nats://" + s.Addr }

// Monitor decodes what the server's HTTP monitoring has at a path, such as /jsz.
func (s *Server) Monitor(path string, into any) error {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + s.monitor + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// StreamFolder is where the server keeps a stream of the default account: its blocks are in the folder msgs below it.
func (s *Server) StreamFolder(stream string) string {
	return filepath.Join(s.Folder, "jetstream", "$G", "streams", stream)
}

// Cluster is several servers that replicate streams.
type Cluster struct {
	Servers []*Server

	t testing.TB
}

// StartCluster runs n servers and waits until they form a cluster. config is more text for each configuration file.
func StartCluster(t testing.TB, n int, config string) *Cluster {
	t.Helper()
	var servers []*Server
	for i := range n {
		servers = append(servers, &Server{T: t, Name: fmt.Sprintf("n%d", i+1), Config: config})
	}
	return JoinCluster(t, servers...)
}

// JoinCluster runs these servers, which have names, and waits until they form a cluster.
func JoinCluster(t testing.TB, servers ...*Server) *Cluster {
	t.Helper()
	c := &Cluster{Servers: servers, t: t}
	var routes []string
	for _, s := range servers {
		s.route = s.freeAddr(s.Host)
		routes = append(routes, s.route)
	}
	for _, s := range servers {
		s.routes = routes
		s.Run()
	}
	c.AwaitReady()
	return c
}

// AwaitReady waits until all running servers are ready, with replicas that are current.
func (c *Cluster) AwaitReady() {
	c.t.Helper()
	for _, s := range c.Servers {
		if !s.Ended() {
			s.AwaitReady()
		}
	}
}

// URL has the addresses of all servers, joined by commas.
func (c *Cluster) URL() string {
	var urls []string
	for _, s := range c.Servers {
		urls = append(urls, s.URL())
	}
	return strings.Join(urls, ",")
}

// Leader waits until a server leads the stream, and returns that server.
func (c *Cluster) Leader(stream string) (leader *Server) {
	c.t.Helper()
	eventually.Holds(c.t, "a leader of stream "+stream, func() (bool, string) {
		for _, s := range c.Servers {
			name, err := s.leaderOf(stream)
			if err != nil {
				continue // it is down or paused
			}
			for _, candidate := range c.Servers {
				if candidate.Name == name && !candidate.Ended() {
					leader = candidate
					return true, ""
				}
			}
		}
		return false, "no server names one"
	})
	return leader
}

// leaderOf is the name of the stream's leader as this server knows it, or "".
func (s *Server) leaderOf(stream string) (string, error) {
	if s.Ended() {
		return "", os.ErrProcessDone
	}
	var jsz struct {
		Accounts []struct {
			Streams []struct {
				Name    string `json:"name"`
				Cluster struct {
					Leader string `json:"leader"`
				} `json:"cluster"`
			} `json:"stream_detail"`
		} `json:"account_details"`
	}
	if err := s.Monitor("/jsz?streams=true&accounts=true", &jsz); err != nil {
		return "", err
	}
	for _, account := range jsz.Accounts {
		for _, detail := range account.Streams {
			if detail.Name == stream {
				return detail.Cluster.Leader, nil
			}
		}
	}
	return "", nil
}
