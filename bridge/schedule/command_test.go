//go:build unix

package schedule

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

func TestCommandOutput(t *testing.T) {
	t.Setenv("FANFARE_PUBLISH_TOKEN", "secret")
	for _, test := range []struct {
		argv []string
		want string
	}{
		{[]string{"printf", `a b\n`}, "k=a b"},
		{[]string{"echo", "$HOME; a | b", "c"}, "k=$HOME; a | b c"}, // no shell
		{[]string{"sh", "-c", "echo one; echo two; echo; echo"}, "k=one\ntwo"},
		{[]string{"sh", "-c", `echo "[$FANFARE_PUBLISH_TOKEN]"; cat; echo noise >&2`}, "k=[]"},
		{[]string{"echo", `{"data": {"a": 1}, "event": "e"}`}, `k={"a":1} event:e`},
	} {
		r := newRig(t)
		r.apply(once(Schedule{Command: test.argv}))
		if got := r.waitFor(1)[0]; got != test.want {
			t.Errorf("%q: %q, want %q", test.argv, got, test.want)
		}
		r.Close()
	}
}

func TestCommandThatPrintsNothing(t *testing.T) {
	r := newRig(t)
	defer r.Close()
	r.apply(Schedule{Name: "a", Every: 20 * time.Millisecond, Key: "k", Command: []string{"true"}})
	eventually.Holds(t, "three runs without output", func() (bool, string) {
		return r.metric("fanfare_schedule_runs_total", resultEmpty) >= 3, r.log.String()
	})
	r.want()
}

func TestCommandFailures(t *testing.T) {
	for _, test := range []struct {
		argv   []string
		reason string
		says   string
	}{
		{[]string{"sh", "-c", "echo half; echo 'no such thing' >&2; exit 3"}, reasonCommand, "exit status 3: no such thing"},
		{[]string{"fanfare-has-no-such-program"}, reasonCommand, "executable file not found"},
		{[]string{"yes"}, reasonSize, "more than 1000 bytes: raise maxBytes"},
		{[]string{"sh", "-c", "trap '' PIPE; head -c 1001 /dev/zero; sleep 600"}, reasonSize, "more than 1000 bytes"},
		{[]string{"sleep", "600"}, reasonTimeout, "longer than 2s: raise timeout"},
		{[]string{"sh", "-c", "trap '' TERM INT; echo x; sleep 600; sleep 600"}, reasonTimeout, "longer than 2s"},
	} {
		r := newRig(t)
		begin := time.Now()
		r.apply(once(Schedule{Command: test.argv, Timeout: 2 * time.Second, MaxBytes: 1000}))
		if log := r.waitFailure(test.reason); !strings.Contains(log, test.says) {
			t.Errorf("%q: %s, want %s", test.argv, log, test.says)
		}
		if d := time.Since(begin); d > 20*time.Second {
			t.Errorf("%q took %s", test.argv, d)
		}
		r.want()
		r.Close()
	}
}

// TestTimeoutEndsTheGroup: what a command has started ends with it.
func TestTimeoutEndsTheGroup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	r := newRig(t)
	defer r.Close()
	r.apply(once(Schedule{Timeout: time.Second, Command: []string{"sh", "-c", "sleep 600 & echo $! >" + file + "; wait"}}))
	pid := proctest.AwaitPID(t, file)
	r.waitFailure(reasonTimeout)
	proctest.AwaitEnd(t, pid)
}

// TestCloseEndsARun: a run under way is given up, and is no failure.
func TestCloseEndsARun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	r := newRig(t)
	r.apply(once(Schedule{Timeout: time.Hour, Command: []string{"sh", "-c", "echo $$ >" + file + "; sleep 600"}}))
	pid := proctest.AwaitPID(t, file)
	begin := time.Now()
	r.Close()
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("it took %s", d)
	}
	proctest.AwaitEnd(t, pid)
	if n := r.metric("fanfare_schedule_failures_total", ""); n != 0 || strings.Contains(r.log.String(), "failed") {
		t.Errorf("%v failures: %s", n, r.log)
	}
}

func TestCommandWhoseOutputStaysOpen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	r := newRig(t)
	defer r.Close()
	r.apply(once(Schedule{Timeout: time.Minute, Command: []string{"sh", "-c", "sleep 600 & echo $! >" + file + "; echo done"}}))
	pid := proctest.AwaitPID(t, file)
	if log := r.waitFailure(reasonCommand); !strings.Contains(log, "keeps its output open") {
		t.Errorf("log: %s", log)
	}
	proctest.AwaitEnd(t, pid)
	r.want()
}

func TestTailKeepsTheEnd(t *testing.T) {
	for _, writes := range []int{1, 7, 2000} {
		var all []byte
		to := new(tail)
		for i := range writes {
			b := []byte(fmt.Sprint(i, ",", strings.Repeat("x", i%50)))
			all = append(all, b...)
			_, _ = to.Write(b)
		}
		if want := string(all[max(0, len(all)-maxStderr):]); to.String() != want {
			t.Errorf("%d writes: %q, want %q", writes, to, want)
		}
	}
	to := new(tail)
	if _, _ = to.Write([]byte(strings.Repeat("y", 5000))); len(to.String()) != maxStderr {
		t.Errorf("%d bytes", len(to.String()))
	}
}
