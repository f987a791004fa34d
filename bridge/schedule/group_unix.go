//go:build unix

package schedule

import (
	"os/exec"
	"syscall"
)

// ownGroup starts the command in its own process group. The whole group is killed when the command's context is done.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		killGroup(cmd)
		return cmd.Process.Kill()
	}
}

// killGroup kills the command's process group. An error means that the group no longer exists.
func killGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
