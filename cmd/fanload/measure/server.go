package measure

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ticks per second in /proc/PID/stat. Every Linux on which Go runs has 100.
const ticks = 100

// Usage is the resource usage of a set of processes.
type Usage struct {
	CPU       int64 `json:"cpu_us"` // user and system time since their start, in microseconds, in steps of 10 ms
	Resident  int64 `json:"rss"`    // bytes; shared pages count for each process
	Processes int   `json:"processes"`
}

// Tree is a set of processes with all their children, such as nginx and its workers.
type Tree struct {
	Roots []int
	proc  string // "/proc"; another folder in tests
}

// NewTree checks that the processes exist.
func NewTree(roots []int) (*Tree, error) {
	t := &Tree{Roots: roots, proc: "/proc"}
	for _, pid := range roots {
		if _, _, err := t.stat(pid); err != nil {
			return nil, fmt.Errorf("--server-pid %d: no such process (%w): give the pid of the running server", pid, err)
		}
	}
	return t, nil
}

// Usage returns the usage now. It is an error if one of the processes given to NewTree has ended: that was the server.
func (t *Tree) Usage() (Usage, error) {
	var u Usage
	children := t.children()
	seen := map[int]bool{}
	queue := slices.Clone(t.Roots)
	for len(queue) > 0 {
		pid := queue[0]
		queue = queue[1:]
		if seen[pid] {
			continue
		}
		seen[pid] = true
		queue = append(queue, children[pid]...)
		_, cpu, err := t.stat(pid)
		if err != nil {
			if slices.Contains(t.Roots, pid) {
				return u, fmt.Errorf("the server's process %d ended: %w", pid, err)
			}
			continue // a child that has just ended; its parent's time includes its time
		}
		u.CPU += cpu
		u.Resident += t.resident(pid)
		u.Processes++
	}
	return u, nil
}

// children returns the children of each process. It reads the parent of every process, which takes about 10 us each.
func (t *Tree) children() map[int][]int {
	names, err := filepath.Glob(filepath.Join(t.proc, "[0-9]*"))
	if err != nil {
		return nil
	}
	all := map[int][]int{}
	for _, name := range names {
		if pid, err := strconv.Atoi(filepath.Base(name)); err == nil {
			if parent, _, err := t.stat(pid); err == nil {
				all[parent] = append(all[parent], pid)
			}
		}
	}
	return all
}

// stat returns the parent, and the processor time including that of children that have ended and were waited for.
func (t *Tree) stat(pid int) (parent int, micros int64, err error) {
	b, err := os.ReadFile(filepath.Join(t.proc, strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, 0, err
	}
	// The second field is the name in parentheses, which may contain any character.
	end := strings.LastIndexByte(string(b), ')')
	if end < 0 {
		return 0, 0, errors.New("stat has no name")
	}
	f := strings.Fields(string(b[end+1:]))
	if len(f) < 15 {
		return 0, 0, errors.New("stat is too short")
	}
	if f[0] == "Z" || f[0] == "X" {
		return 0, 0, errors.New("the process is a zombie")
	}
	parent, err = strconv.Atoi(f[1])
	var sum int64
	for _, v := range f[11:15] { // utime, stime, cutime, cstime
		n, bad := strconv.ParseInt(v, 10, 64)
		err = errors.Join(err, bad)
		sum += n
	}
	return parent, sum * (1_000_000 / ticks), err
}

func (t *Tree) resident(pid int) int64 {
	b, err := os.ReadFile(filepath.Join(t.proc, strconv.Itoa(pid), "statm"))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
