package proctest

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Redis is a redis-server on a free address of loopback, with a folder of its own. Set T, and what else the test needs,
// then call Start; after Kill, Start runs it again on the same address with the same folder.
type Redis struct {
	T      testing.TB
	Config string   // a configuration file; with "" redis saves nothing, unless Args say so
	Args   []string // flags, without the address and the folder

	// Set by the first Start.
	*Process
	Addr string
	dir  string
}

// Start runs redis-server and waits until it answers.
func (r *Redis) Start() *Redis {
	r.T.Helper()
	if r.Addr == "" {
		r.Addr, r.dir = FreeAddr(r.T), r.T.TempDir()
	}
	var args []string
	if r.Config != "" {
		args = append(args, r.Config)
	}
	args = append(args, "--bind", "127.0.0.1", "--port", Port(r.Addr), "--dir", r.dir, "--loglevel", "warning")
	if r.Config == "" {
		args = append(args, "--save", "")
	}
	r.Process = Start(r.T, exec.Command(Tool(r.T, "redis-server"), append(args, r.Args...)...))
	r.Await("redis-server answers", func() error {
		conn, err := net.Dial("tcp", r.Addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(conn, "PING\r\n")
		answer := make([]byte, 64)
		n, _ := conn.Read(answer)
		if text := string(answer[:n]); text != "+PONG\r\n" && !strings.HasPrefix(text, "-NOAUTH") {
			return fmt.Errorf("PING: %q", text)
		}
		return nil
	})
	return r
}

// URL is the address as redis's clients and Fanfare take it.
func (r *Redis) URL() string { return "redis://" + r.Addr }
