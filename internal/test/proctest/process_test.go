package proctest

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fanfare/internal/test/failure"
)

func TestStop(t *testing.T) {
	p := Start(t, exec.Command("sh", "-c", `trap 'echo bye >&2; exit 3' TERM; echo up; while :; do sleep 0.01; done`))
	p.Await("it is up", func() error {
		if p.Log.String() != "up\n" {
			return errNotYet
		}
		return nil
	})
	if p.Ended() {
		t.Error("it has ended")
	}
	if code := p.Stop(syscall.SIGTERM); code != 3 || !p.Ended() || p.Log.String() != "up\nbye\n" {
		t.Errorf("exit code %d, %q", code, p.Log)
	}
}

// TestAwaitSeesTheEnd: a program that ends is not waited for.
func TestAwaitSeesTheEnd(t *testing.T) {
	p := Start(t, exec.Command("sh", "-c", "echo why; exit 1"))
	f := failure.Of(t, func(t testing.TB) {
		p.t = t
		p.Await("it is up", func() error { return errNotYet })
	})
	if !strings.Contains(f, "ended: exit status 1") || !strings.Contains(f, "why") {
		t.Errorf("%q", f)
	}
}

// TestKillEndsChildren: no worker of a proxy outlives its test.
func TestKillEndsChildren(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	var child int
	t.Run("test", func(t *testing.T) {
		Start(t, exec.Command("sh", "-c", `sleep 600 >/dev/null & echo $! > "$0"; wait`, file))
		if child = AwaitPID(t, file); !Running(child) {
			t.Error("the child does not run")
		}
	})
	AwaitEnd(t, child)
}

func TestLogRecords(t *testing.T) {
	l := &Log{}
	fmt.Fprint(l, `{"level":"INFO","msg":"one","n":1}`+"\n"+`level=INFO msg="two words" url="http://h/?a=\"b\"" n=2`+"\n"+"no record\n")
	if r := l.Find("one"); r["n"] != 1.0 {
		t.Errorf("JSON: %v", r)
	}
	if r := l.Find("two words"); r["n"] != "2" || r["url"] != `http://h/?a="b"` {
		t.Errorf("text: %v", r)
	}
	if r := l.Find("three"); r != nil {
		t.Errorf("%v", r)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("FANFARE_HISTORY", "1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	t.Setenv("KEPT", "yes")
	got := strings.Join(Environment("FANFARE_LISTEN=:1"), "\n") + "\n"
	for text, want := range map[string]bool{"FANFARE_HISTORY=": false, "http_proxy=": false, "KEPT=yes\n": true, "FANFARE_LISTEN=:1\n": true} {
		if strings.Contains(got, text) != want {
			t.Errorf("contains %q: %v, want %v", text, !want, want)
		}
	}
}
