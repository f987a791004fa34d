package measure

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Machine is the processor time of the whole machine since its start, in microseconds, in steps of 10 ms; proc(5), /proc/stat.
type Machine struct {
	Busy   int64 // of all programs and of the kernel
	Stolen int64 // time that the machine wanted and its host gave to others
}

// ReadMachine returns the machine's processor time now, or zero if it cannot be read.
func ReadMachine() Machine { return readMachine("/proc") }

func readMachine(proc string) (m Machine) {
	b, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return m
	}
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	// cpu user nice system idle iowait irq softirq steal …; user includes the time of guests
	if len(f) < 9 || f[0] != "cpu" {
		return m
	}
	for i, v := range f[1:9] {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return Machine{}
		}
		n *= 1_000_000 / ticks
		switch i {
		case 3, 4: // idle
		case 7:
			m.Stolen = n
		default:
			m.Busy += n
		}
	}
	return m
}
