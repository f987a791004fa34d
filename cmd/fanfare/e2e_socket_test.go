//go:build unix

package main_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
	"fanfare/internal/test/wiretest"
)

// passOn makes a command that starts the server with sockets, as systemd does: LISTEN_PID is the process's own id, which
// the shell knows when it becomes the server.
func passOn(names string, sockets []*os.File, args ...string) *exec.Cmd {
	cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, binary}, args...)...)
	cmd.Env = proctest.Environment("LISTEN_FDS="+strconv.Itoa(len(sockets)), "LISTEN_FDNAMES="+names)
	cmd.ExtraFiles = sockets
	return cmd
}

// socket is a listening socket of this process, to be passed on.
func socket(t *testing.T) (addr string, f *os.File) {
	t.Helper()
	return socketOn(t, "127.0.0.1:0")
}

func socketOn(t *testing.T, at string) (addr string, f *os.File) {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(t.Context(), "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	f, err = ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = ln.Close(), f.Close() })
	return ln.Addr().String(), f
}

// TestSocketActivation: over restarts, polite ones and by SIGKILL, no connection is refused or reset before it was
// answered: what arrives while no process is up waits for the next.
func TestSocketActivation(t *testing.T) {
	stream, streamFile := socket(t)
	admin, adminFile := socket(t)
	s := &proctest.Server{T: t}
	boot := func() {
		s.Run(passOn("stream:admin", []*os.File{streamFile, adminFile}, "--listen", "127.0.0.1:1", "--drain-delay", "0s"))
	}
	boot()
	if s.Stream != "http://"+stream || s.Admin != "http://"+admin {
		t.Fatalf("streams at %s, the publish API at %s: not on the sockets that were passed on", s.Stream, s.Admin)
	}
	if line := s.Log.Find("using sockets inherited from the parent process in place of these settings"); line == nil || line["settings"] != "listen, admin" {
		t.Errorf("the log doesn't say that --listen is not used: %s", s.Log)
	}

	health := s.Stream + "/healthz" // boot writes s while the clients run
	stop := make(chan struct{})
	var answered atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := client.Get(health)
				if errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("refused: %v", err)
				}
				if err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					answered.Add(1)
				}
			}
		})
	}
	more := func() {
		before := answered.Load()
		eventually.True(t, "clients are answered", func() bool { return answered.Load() > before+20 })
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGTERM} {
		more()
		s.Stop(sig)
		// Nobody is up: a client connects all the same, and waits.
		client := wiretest.Dial(t, stream)
		client.Send(wiretest.Request("GET", "/stream?connectKey=k"))
		boot()
		if head := client.ReadHead(); client.Status != http.StatusOK {
			t.Errorf("the client that waited got %s", head)
		}
		if got := s.Publish("k", `"x"`); got.Subscribers != 1 {
			t.Errorf("the client that waited is no subscriber: %+v", got)
		}
	}
	more()
	close(stop)
	clients.Wait()
}

// TestSocketActivationOne: one socket is the stream's whatever its name is, and the publish API has an address of its own.
func TestSocketActivationOne(t *testing.T) {
	addr, file := socket(t)
	s := &proctest.Server{T: t}
	s.Run(passOn("fanfare.socket", []*os.File{file}, "--admin", "127.0.0.1:0"))
	if s.Stream != "http://"+addr || s.Admin == "" || s.Admin == s.Stream {
		t.Errorf("streams at %s, the publish API at %s", s.Stream, s.Admin)
	}
	s.Stop(syscall.SIGTERM)
}

// TestSocketActivationRefused: what can't be used is refused with what to do about it.
func TestSocketActivationRefused(t *testing.T) {
	_, a := socket(t)
	_, b := socket(t)
	_, open := socketOn(t, "0.0.0.0:0")
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	udp, err := packets.(*net.UDPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for _, test := range []struct {
		names   string
		sockets []*os.File
		args    []string
		want    string
	}{
		{"web:admin", []*os.File{a, b}, nil, `inherited socket "web" has an unknown name`},
		{"stream:stream", []*os.File{a, b}, nil, `more than one inherited socket has the name "stream"`},
		{"stream", []*os.File{udp}, nil, `inherited socket "stream" cannot be used`},
		{"stream:admin", []*os.File{a, b}, []string{"--admin", "off"}, `admin: is off, but a socket named "admin" was inherited`},
		{"stream:admin", []*os.File{a, open}, nil, `which other machines can reach, and anyone could publish: set publishToken`},
	} {
		out, err := passOn(test.names, test.sockets, append(test.args, "--listen", "127.0.0.1:0")...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || !strings.Contains(string(out), test.want) {
			t.Errorf("%s: %v, %s", test.names, err, out)
		}
	}
}

// TestReloadKeepsTheTokenOfAnOpenListener: what counts is the socket that is open. A file whose address is loopback again, which
// needs a restart, must not take the token off one that other machines reach.
func TestReloadKeepsTheTokenOfAnOpenListener(t *testing.T) {
	file := filepath.Join(t.TempDir(), "fanfare.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("admin: 0.0.0.0:0\npublishToken: t0ken-of-16-bytes\n")
	s := &proctest.Server{T: t, Binary: binary}
	s.Run(s.Command("--config", file, "--listen", "127.0.0.1:0"))
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.Admin, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	s.Admin = "http://127.0.0.1:" + port
	write("admin: 127.0.0.1:0\n")
	s.Signal(syscall.SIGHUP)
	const refused = "configuration not reloaded: the previous one stays in effect"
	eventually.Holds(t, "the reload is refused", func() (bool, string) {
		return strings.Contains(fmt.Sprint(s.Log.Records(refused)), "the last credential cannot be removed"), s.Log.String()
	})
	if status, p := s.Call(http.MethodPost, "/publish?key=k", "application/json", `"x"`); status != http.StatusUnauthorized {
		t.Errorf("without a token: %d %+v", status, p)
	}
}
