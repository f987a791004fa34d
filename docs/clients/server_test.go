package clients_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a child in a process group of its own, which ends with the test.
type process struct {
	cmd    *exec.Cmd
	log    *output // of standard error, and of standard output unless it is taken
	exited chan struct{}
}

// start runs a program. take, if not nil, gets its standard output.
func start(t *testing.T, take *os.File, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), log: &output{}, exited: make(chan struct{})}
	p.cmd.Env = append(environment(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if take != nil {
		p.cmd.Stdout = take
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in the log
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s %v:\n%s", filepath.Base(name), args, p.log)
		}
	})
	return p
}

// kill ends the process and its children, and waits for it.
func (p *process) kill() {
	select {
	case <-p.exited:
		return
	default:
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.exited
}

// environment is this process's, without settings of fanfare and without proxies: the way to loopback leads through none.
func environment() (own []string) {
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "FANFARE_") && !strings.HasSuffix(strings.ToLower(name), "_proxy") {
			own = append(own, v)
		}
	}
	return own
}

// server is a running fanfare.
type server struct {
	*process
	stream, admin string // host:port
}

func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	s := &server{stream: freeAddr(t), admin: freeAddr(t)}
	s.run(t, args...)
	return s
}

// run starts a process on the server's addresses.
func (s *server) run(t *testing.T, args ...string) {
	t.Helper()
	s.process = start(t, nil, nil, fanfare, append([]string{"--listen", s.stream, "--admin", s.admin}, args...)...)
	until(t, "fanfare is ready", func() error {
		select {
		case <-s.exited:
			t.Fatalf("fanfare ended: %s", s.log)
		default:
		}
		res, err := direct.Get("http://" + s.admin + "/readyz")
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz: %s", res.Status)
		}
		return nil
	})
}

// direct is a client without a proxy of the environment.
var direct = &http.Client{Transport: &http.Transport{}, Timeout: patience}

// event is what a publisher sends and a client hands on.
type event struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	Data string `json:"data"`
}

// publish publishes an event to the key of all tests, and returns it with its id.
func (s *server) publish(t *testing.T, e event) event {
	t.Helper()
	body, err := json.Marshal(map[string]string{"event": e.Name, "id": e.ID, "data": e.Data})
	if err != nil {
		t.Fatal(err)
	}
	res, err := direct.Post("http://"+s.admin+"/publish?key="+key, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct{ ID string }
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("publish: %s, %v", res.Status, err)
	}
	e.ID = answer.ID
	if e.Name == "" {
		e.Name = "message"
	}
	return e
}

// count is the number of the key's subscribers, -1 if the server doesn't tell.
func (s *server) count() int {
	res, err := direct.Get("http://" + s.admin + "/count?key=" + url.QueryEscape(key))
	if err != nil {
		return -1
	}
	defer res.Body.Close()
	var answer struct{ Count int }
	if json.NewDecoder(res.Body).Decode(&answer) != nil {
		return -1
	}
	return answer.Count
}

// freeAddr names a loopback address that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func until(t *testing.T, what string, ok func() error) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not after %v: %s: %v", patience, what, err)
		}
	}
}

// needTool finds a program of a Debian package, and fails the test where it is missing: what is passed over in silence guards
// nothing.
func needTool(t *testing.T, name string) string {
	t.Helper()
	for _, file := range []string{name, "/usr/sbin/" + name} { // sbin isn't in everybody's PATH
		if path, err := exec.LookPath(file); err == nil {
			return path
		}
	}
	t.Fatalf("%s is not installed: scripts/test.sh installs what the tests need", name)
	return ""
}

// output collects what a process writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
