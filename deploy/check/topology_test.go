package check_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// fleet is what the compose file describes, as processes: NATS, three nodes, HAProxy, each with the file's own configuration, in which only
// addresses are replaced.
type fleet struct {
	t              *testing.T
	nodes          []*proctest.Server
	streams, admin string // of HAProxy
	nats           *natsServer
}

func startFleet(t *testing.T) *fleet {
	t.Helper()
	project, err := loadCompose(t, composeFolder+"/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{t: t, nats: newNATS(t)}
	f.nats.Start()
	haproxy := []string{
		" resolvers docker init-addr last,libc,none", "", "resolvers docker\n    nameserver dns 127.0.0.11:53\n    hold valid 2s\n", "",
	}
	for _, name := range nodes(project) {
		streams, admin := proctest.FreeAddr(t), proctest.FreeAddr(t)
		var env []string
		for _, variable := range composeEnvironment(project.Services[name]) {
			switch name, _, _ := strings.Cut(variable, "="); name {
			case "FANFARE_ADMIN":
				variable = "FANFARE_ADMIN=" + admin
			case "FANFARE_DATA_DIR":
				variable = "FANFARE_DATA_DIR=" + t.TempDir()
			case "FANFARE_NATS_URL":
				variable = "FANFARE_NATS_URL=nats://" + f.nats.addr
			}
			env = append(env, variable)
		}
		node := &proctest.Server{T: t, Binary: binary, Args: []string{"--listen", streams, "--admin", admin}, Env: env, Token: token}
		f.nodes = append(f.nodes, node.Start())
		haproxy = append(haproxy, " "+name+":8080 ", " "+streams+" ", " "+name+":8081 ", " "+admin+" ")
	}
	f.startHAProxy(haproxy)
	return f
}

// natsServer is the nats-server of the Go module with the file of the compose folder.
type natsServer struct {
	t *testing.T
	*proctest.Process
	addr, monitor string // for clients; for HTTP monitoring
	file, data    string // its configuration, its folder
}

func newNATS(t *testing.T) *natsServer {
	t.Helper()
	text, err := os.ReadFile(composeFolder + "/nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	s := &natsServer{t: t, addr: proctest.FreeAddr(t), monitor: proctest.FreeAddr(t), file: t.TempDir() + "/nats.conf", data: t.TempDir()}
	config := replaceAll(t, string(text), "port: 4222", "listen: "+s.addr, "http_port: 8222", "http: "+s.monitor, "/data", s.data)
	if err := os.WriteFile(s.file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// replace changes the configuration, before Start.
func (s *natsServer) replace(pairs ...string) {
	s.t.Helper()
	text, err := os.ReadFile(s.file)
	if err == nil {
		err = os.WriteFile(s.file, []byte(replaceAll(s.t, string(text), pairs...)), 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// Start runs the server, again after its end with what it has stored.
func (s *natsServer) Start() {
	s.t.Helper()
	tool := exec.Command("go", "tool", "-n", "nats-server")
	tool.Dir = "../.." // the tool is pinned there
	path, err := tool.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	s.Process = proctest.Start(s.t, exec.Command(strings.TrimSpace(string(path)), "-c", s.file))
	s.Await("NATS is healthy", func() error { return status("http://"+s.monitor+"/healthz", http.StatusOK) })
}

func (f *fleet) startHAProxy(replace []string) {
	f.t.Helper()
	text, err := os.ReadFile(composeFolder + "/haproxy.cfg")
	if err != nil {
		f.t.Fatal(err)
	}
	f.streams, f.admin = proctest.FreeAddr(f.t), proctest.FreeAddr(f.t)
	config := replaceAll(f.t, string(text), append(replace, "bind :8080", "bind "+f.streams, "bind :8081", "bind "+f.admin)...)
	file := f.t.TempDir() + "/haproxy.cfg"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		f.t.Fatal(err)
	}
	proxy := proctest.Start(f.t, exec.Command(proctest.Tool(f.t, "haproxy"), "-db", "-f", file))
	proxy.Await("HAProxy has nodes", func() error { return status("http://"+f.admin+"/readyz", http.StatusOK) })
}

// replaceAll replaces pairs of old and new, each of which must be there.
func replaceAll(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for pair := range slices.Chunk(pairs, 2) {
		if !strings.Contains(text, pair[0]) {
			t.Fatalf("the file has no %q any more: the test must follow", pair[0])
		}
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	return text
}

func status(url string, want int) error {
	response, err := http.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != want {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return nil
}

// publish publishes an event through HAProxy and returns its id. Like a careful publisher, it repeats an event that was not confirmed,
// with the same Idempotency-Key.
func (f *fleet) publish(data string) (id string) {
	f.t.Helper()
	var last string
	eventually.Holds(f.t, "event "+data+" is stored", func() (bool, string) {
		request, err := http.NewRequest(http.MethodPost, "http://"+f.admin+"/publish?key=news", strings.NewReader(data))
		if err != nil {
			f.t.Fatal(err)
		}
		request.Header.Set("Content-Type", "text/plain")
		request.Header.Set("Authorization", "Bearer "+token)
		request.Header.Set("Idempotency-Key", data)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, err.Error()
		}
		defer response.Body.Close()
		var body [1 << 10]byte
		n, _ := response.Body.Read(body[:])
		last = string(body[:n])
		if m := regexp.MustCompile(`"id":"([^"]+)"`).FindStringSubmatch(last); response.StatusCode == http.StatusOK && m != nil {
			id = m[1]
		}
		return id != "", response.Status + " " + last
	})
	return id
}

// streamsOf is how many streams a node has.
func streamsOf(node *proctest.Server) string {
	_, metrics := node.Get("/metrics")
	if m := regexp.MustCompile(`(?m)^fanfare_connections (\d+)$`).FindStringSubmatch(metrics); m != nil {
		return m[1]
	}
	return "?"
}

// client is a subscriber that comes back with the last id it has seen, as an EventSource does.
type client struct {
	mu       sync.Mutex
	received []string // "id data"
	gaps     []string
	lastID   string
}

func (f *fleet) client(ctx context.Context) *client {
	c := new(client)
	go func() {
		for ctx.Err() == nil {
			c.read(ctx, "http://"+f.streams+"/stream?connectKey=news")
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return c
}

// read reads one response to its end.
func (c *client) read(ctx context.Context, url string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		panic(err)
	}
	c.mu.Lock()
	if c.lastID != "" {
		request.Header.Set("Last-Event-ID", c.lastID)
	}
	c.mu.Unlock()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return
	}
	defer response.Body.Close()
	var id, event, data string
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			id = value
		case "event":
			event = value
		case "data":
			data = value
		case "":
			c.mu.Lock()
			if id != "" {
				c.lastID = id
			}
			switch {
			case event == "gap":
				c.gaps = append(c.gaps, data)
			case event == "" && data != "":
				c.received = append(c.received, id+" "+data)
			}
			c.mu.Unlock()
			event, data = "", ""
		}
	}
}

func (c *client) seen() (received, gaps []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.received), slices.Clone(c.gaps)
}

// TestComposeTopology runs what the compose file describes, without Docker. Streams are spread over the nodes, events of any node reach the
// subscribers of all of them with the same ids, and neither a killed node nor one that is restarted costs a subscriber an event.
func TestComposeTopology(t *testing.T) {
	f := startFleet(t)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	clients := make([]*client, 9)
	for i := range clients {
		clients[i] = f.client(ctx)
	}
	eventually.Holds(t, "each node has three streams", func() (bool, string) {
		counts := ""
		for _, node := range f.nodes {
			counts += streamsOf(node) + " "
		}
		return counts == "3 3 3 ", counts
	})

	var want []string
	publish := func(n int) {
		for range n {
			data := fmt.Sprintf("event-%d", len(want))
			want = append(want, f.publish(data)+" "+data)
		}
	}
	everybodyHas := func(when string) {
		t.Helper()
		for i, c := range clients {
			eventually.Holds(t, fmt.Sprintf("client %d has every event once, %s", i, when), func() (bool, string) {
				received, gaps := c.seen()
				return slices.Equal(received, want) && len(gaps) == 0, fmt.Sprintf("%d of %d events, gaps %q, the last %q", len(received), len(want), gaps, last(received))
			})
		}
	}
	publish(30) // HAProxy gives each to another node
	everybodyHas("from all nodes")

	f.nodes[0].Kill()
	publish(30)
	everybodyHas("after a node was killed")

	f.nodes[0].Restart()
	if code := f.nodes[1].Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("a node that was stopped ended with %d", code)
	}
	publish(30)
	everybodyHas("after one came back and another one was drained")
}

// TestComposeRestored puts an old copy of NATS' folder back while no container runs. The nodes know from their dataDir that events are
// missing, and clients get a gap, although the stream soon has as many events as they have seen.
func TestComposeRestored(t *testing.T) {
	f := startFleet(t)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	c := f.client(ctx)
	publish := func(text string, n int) {
		for i := range n {
			f.publish(fmt.Sprintf("%s-%d", text, i))
		}
	}
	has := func(n int, gaps string) {
		t.Helper()
		eventually.Holds(t, fmt.Sprintf("the client has %d events and the gaps %q", n, gaps), func() (bool, string) {
			received, have := c.seen()
			return len(received) == n && strings.Contains(strings.Join(have, " "), gaps), fmt.Sprintf("%d events, gaps %q", len(received), have)
		})
	}
	eventually.Holds(t, "the client is connected", func() (bool, string) {
		counts := streamsOf(f.nodes[0]) + streamsOf(f.nodes[1]) + streamsOf(f.nodes[2])
		return strings.Contains(counts, "1"), counts
	})
	publish("before", 5)
	has(5, "")

	// Everything stops, as `docker compose stop` does, between a backup and some more events.
	f.nats.Stop(syscall.SIGTERM)
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(f.nats.data)); err != nil {
		t.Fatal(err)
	}
	f.nats.Start()
	publish("lost", 5)
	has(10, "")
	for _, node := range f.nodes {
		node.Stop(syscall.SIGTERM)
	}
	f.nats.Stop(syscall.SIGTERM)

	if err := errors.Join(os.RemoveAll(f.nats.data), os.CopyFS(f.nats.data, os.DirFS(backup))); err != nil {
		t.Fatal(err)
	}
	f.nats.Start()
	for _, node := range f.nodes {
		node.Restart()
	}
	publish("after", 10)
	has(20, `"reason":"epoch"`)
}

func last(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1]
}
