//go:build linux

package fleet

import (
	"bufio"
	"bytes"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"fanfare/bench/peers/report"
)

// usage is what processes have used: processor time since they began, and the memory that they have now.
type usage struct {
	cpu    time.Duration
	memory int64 // bytes
}

// groupsUsage is what the processes of some groups have used. Memory that several of them share counts once.
func groupsUsage(groups []int) (u usage) {
	entries, _ := os.ReadDir("/proc") // without it every figure is zero, which no test accepts
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if group, err := unix.Getpgid(pid); err != nil || !slices.Contains(groups, group) {
			continue // another program's, or it has ended
		}
		u.cpu += processCPU(pid)
		u.memory += residentMemory(pid)
	}
	return u
}

// processCPU reads the processor clock of another process, as clock_getcpuclockid(3) does. It counts nanoseconds, where /proc has
// hundredths of a second, and includes threads that have ended.
func processCPU(pid int) time.Duration {
	const sched = 2 // CPUCLOCK_SCHED of the kernel
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|sched, &t); err != nil {
		return 0 // it has ended
	}
	return time.Duration(t.Nano())
}

// residentMemory is the proportional set size: nginx' worker and its master share most of their pages.
func residentMemory(pid int) int64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(text) {
		if fields := strings.Fields(string(line)); len(fields) > 1 && fields[0] == "Pss:" {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

// machineBusy is the time for which the machine's cores have been busy since it started, with what its host took from it.
func machineBusy() (sum time.Duration) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line) { // cpu user nice system idle iowait irq softirq steal guest guest_nice
		if i == 0 || i == 4 || i == 5 || i > 8 { // guests are in user and nice
			continue
		}
		n, _ := strconv.ParseInt(field, 10, 64)
		sum += time.Duration(n) * (time.Second / 100)
	}
	return sum
}

// Machine describes this machine.
func Machine() report.Machine {
	m := report.Machine{CPUs: runtime.NumCPU(), Go: runtime.Version()}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	m.Kernel = "Linux " + strings.TrimSpace(string(release))
	m.CPU = procField("/proc/cpuinfo", "model name")
	kilobytes, _, _ := strings.Cut(procField("/proc/meminfo", "MemTotal"), " ")
	n, _ := strconv.ParseInt(kilobytes, 10, 64)
	m.Memory = n << 10
	return m
}

// procField returns the first value of a name in a file with lines NAME: VALUE.
func procField(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
