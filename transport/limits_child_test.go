package transport

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"testing"
)

// childRole names the environment variable that makes the test binary play
// another part than running tests.
const childRole = "FANFARE_TEST_CHILD"

// children are the parts that a child process can play. Each writes a line when
// it is ready, and goes on until its input ends.
var children = map[string]func(args []string) error{}

func TestMain(m *testing.M) {
	if play, ok := children[os.Getenv(childRole)]; ok {
		if err := play(os.Args[1:]); err != nil {
			_, _ = io.WriteString(os.Stderr, err.Error()+"\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child is a process that plays a part.
type child struct {
	out *bufio.Reader
	in  io.WriteCloser
}

// startChild starts a child, which ends with the test.
func startChild(t *testing.T, role string, args ...string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), childRole+"="+role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the child %s: %v", role, err)
		}
	})
	return &child{out: bufio.NewReader(out), in: in}
}

// line returns the next line that the child writes.
func (c *child) line(t *testing.T) string {
	t.Helper()
	text, err := c.out.ReadString('\n')
	if err != nil {
		t.Fatalf("the child: %v after %q", err, text)
	}
	return text[:len(text)-1]
}

// alone runs the test once more in a process of its own and returns false; in
// that process it returns true. For what depends on all that ran before, such as
// the size that the runtime gives new stacks: the average of the last collection.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(childRole) == "alone" {
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), childRole+"=alone")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
	return false
}
