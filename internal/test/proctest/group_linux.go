package proctest

import (
	"os/exec"
	"syscall"
)

// ownGroup gives the command a process group, so that a proxy's workers end with it. The kernel kills it if this process
// is killed.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func killGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
