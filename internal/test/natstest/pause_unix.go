//go:build unix

package natstest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"fanfare/internal/test/eventually"
)

// Pause stops the process as SIGSTOP does: its sockets stay open, and nobody answers. Resume lets it go on.
func (s *Server) Pause() {
	s.T.Helper()
	s.Signal(syscall.SIGSTOP)
	eventually.True(s.T, "all threads of nats-server "+s.Name+" are stopped", s.paused)
}

// paused reports whether all threads are stopped: the signal needs some time to reach them.
func (s *Server) paused() bool {
	tasks := fmt.Sprintf("/proc/%d/task", s.Cmd.Process.Pid)
	threads, err := os.ReadDir(tasks)
	if err != nil {
		return true // no Linux
	}
	for _, thread := range threads {
		stat, err := os.ReadFile(filepath.Join(tasks, thread.Name(), "stat"))
		if err == nil && !strings.Contains(string(stat), ") T ") {
			return false
		}
	}
	return true
}

// Resume lets a paused process go on.
func (s *Server) Resume() { s.Signal(syscall.SIGCONT) }
