//go:build unix

package proctest

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"fanfare/internal/test/eventually"
)

// Running reports whether there is a process with this id. One that has ended and that nobody has waited for yet, a
// zombie, does not count.
func Running(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !strings.Contains(string(stat), ") Z ")
}

// AwaitEnd waits until the process is not running any more.
func AwaitEnd(t testing.TB, pid int) {
	t.Helper()
	eventually.True(t, fmt.Sprintf("process %d has ended", pid), func() bool { return !Running(pid) })
}

// AwaitPID waits until there is a process id in the file, as `echo $! >FILE` writes it, and returns it.
func AwaitPID(t testing.TB, file string) (pid int) {
	t.Helper()
	eventually.NoError(t, "a process id in "+file, func() error {
		text, err := os.ReadFile(file)
		if err == nil {
			pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		return err
	})
	return pid
}
