// Package abuse_test attacks the real binary at the wire. Each attack runs beside a publisher and a subscriber that behave well, and
// must not lose an event. After it the server has to be as it was before: streams, keys, descriptors, goroutines and memory.
//
// docs/reliability.md lists the attacks. TestSoak runs the server for longer, with random faults; see scripts/soak.sh.
package abuse_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"testing"

	"fanfare/internal/test/proctest"
	"fanfare/internal/test/race"
)

// long says that attacks have their full size. Otherwise the whole package takes about a minute.
var long = os.Getenv("FANFARE_LONG") != ""

// sized is the size of an attack: n, or more in the long form.
func sized(n, inLongForm int) int {
	if long {
		return inLongForm
	}
	return n
}

// binary is the server under attack. The race detector is in it in the long form alone, if it is in the tests: it takes several times
// the time and the memory.
var (
	binary     string
	raceBinary = race.Enabled && long
)

func TestMain(m *testing.M) {
	if play, ok := children[os.Getenv(childRole)]; ok {
		os.Exit(play(os.Args[1:]))
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	debug.SetGCPercent(50) // many attackers, on a machine that others use
	var flags []string
	if raceBinary {
		flags = append(flags, "-race")
	}
	return proctest.Main(m, &binary, "../cmd/fanfare", flags...)
}

// group is attacks on servers with the same settings.
type group struct {
	name    string
	start   func(t *testing.T) *victim
	attacks []attack
}

// attack is one kind of abuse.
type attack struct {
	name string
	// peak bounds by how much the resident memory grows meanwhile, in MiB. 0 is 48.
	peak int
	// keys and heap are what stays for historyTTL, because publishers have published it: keys, and MiB.
	keys, heap int
	run        func(t *testing.T, v *victim)
}

var groups = []group{edgeAttacks, contentAttacks, tokenAttacks, troubleAttacks, http2Attacks, tlsAttacks}

func TestAbuse(t *testing.T) {
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel() // some attacks mostly wait
			v := g.start(t)
			for _, a := range g.attacks {
				t.Run(a.name, func(t *testing.T) { v.endure(t, a) })
			}
		})
	}
}

// childRole names the environment variable that makes the test binary attack, in place of running tests: a process has few
// descriptors.
const childRole = "FANFARE_ABUSE_CHILD"

// children are what such a process does. It ends with its input.
var children = map[string]func(args []string) int{"hold": holdChild}

// startChild starts a process that attacks, and waits until it says that it is ready. stop ends it.
func startChild(t *testing.T, role string, args ...any) (stop func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, a := range args {
		text = append(text, fmt.Sprint(a))
	}
	cmd := exec.Command(self, text...)
	cmd.Env = proctest.Environment(childRole + "=" + role)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := proctest.Start(t, cmd)
	p.Await("the child "+role+" is ready", func() error {
		if !strings.Contains(p.Log.String(), "ready") {
			return fmt.Errorf("it says %q", p.Log)
		}
		return nil
	})
	return func() {
		_ = in.Close()
		p.Wait()
	}
}
