//go:build unix

package natstest

import (
	"os"
	"testing"

	"fanfare/internal/test/proctest"
)

func TestServerKeepsItsFolder(t *testing.T) {
	s := (&Server{T: t, Config: "max_payload: 64KB"}).Start()
	var varz struct {
		Name       string `json:"server_name"`
		MaxPayload int    `json:"max_payload"`
	}
	if err := s.Monitor("/varz", &varz); err != nil || varz.Name != "n1" || varz.MaxPayload != 64<<10 {
		t.Fatalf("%+v, %v", varz, err)
	}
	addr, pid := s.Addr, s.Cmd.Process.Pid
	s.Kill()
	proctest.AwaitEnd(t, pid)
	s.Start()
	if s.Addr != addr || s.Cmd.Process.Pid == pid {
		t.Fatalf("address %s, process %d: want %s and another process", s.Addr, s.Cmd.Process.Pid, addr)
	}
	if _, err := os.Stat(s.Folder + "/jetstream"); err != nil {
		t.Fatal(err)
	}
	s.Pause()
	if err := s.Monitor("/healthz", &varz); err == nil {
		t.Fatal("a paused server has answered")
	}
	s.Resume()
	s.AwaitReady()
}

func TestClusterFormsAgain(t *testing.T) {
	c := StartCluster(t, 3, "")
	var jsz struct {
		Meta struct {
			Leader string `json:"leader"`
			Size   int    `json:"cluster_size"`
		} `json:"meta_cluster"`
	}
	if err := c.Servers[0].Monitor("/jsz", &jsz); err != nil || jsz.Meta.Leader == "" || jsz.Meta.Size != 3 {
		t.Fatalf("%+v, %v", jsz, err)
	}
	c.Servers[1].Kill()
	c.Servers[1].Start()
	c.AwaitReady()
}
