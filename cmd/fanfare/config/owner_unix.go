//go:build unix

package config

import (
	"fmt"
	"os"
	"syscall"
)

// untrusted says why others than root and this process's user can change a file, or returns "". sshd asks the same of the
// files that decide who may log in (StrictModes).
func untrusted(info os.FileInfo) string {
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Sprintf("its mode is %04o: chmod go-w", mode)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid != 0 && int(s.Uid) != os.Geteuid() {
		return fmt.Sprintf("it belongs to user %d, and fanfare runs as user %d: chown root, or to that user", s.Uid, os.Geteuid())
	}
	return ""
}
