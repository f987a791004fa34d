//go:build !unix

package schedule

import "os/exec"

// ownGroup does nothing: this system has no process groups, and exec kills the program itself.
func ownGroup(*exec.Cmd) {}

func killGroup(*exec.Cmd) {}
