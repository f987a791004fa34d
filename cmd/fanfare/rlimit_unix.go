//go:build unix

package main

import "syscall"

// fileLimit returns how many descriptors the process may have. The Go runtime raises the soft limit to the hard one at the
// start; fileLimit raises it again in case that failed.
func fileLimit() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 1024
	}
	if l.Cur < l.Max {
		raised := syscall.Rlimit{Cur: l.Max, Max: l.Max}
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
			l = raised
		}
	}
	return int(min(uint64(l.Cur), 1<<30))
}
