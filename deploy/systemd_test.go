package deploy_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanfare/internal/test/proctest"
)

// maxExposure is the highest score of `systemd-analyze security`, in tenths (0 is sealed, 100 is open), that the unit
// may have. What is left is what a server needs: internet sockets on the host's network.
const maxExposure = 15

// unit writes the shipped unit to a folder, with the binary's path in place of the installed one's.
func unit(t *testing.T) (file, text string) {
	t.Helper()
	shipped, err := os.ReadFile("fanfare.service")
	if err != nil {
		t.Fatal(err)
	}
	const installed = "ExecStart=/usr/local/bin/fanfare\n"
	if !strings.Contains(string(shipped), installed) {
		t.Fatalf("fanfare.service has no %q any more: the test must follow", installed)
	}
	text = strings.Replace(string(shipped), installed, "ExecStart="+binary+"\n", 1)
	file = filepath.Join(t.TempDir(), "fanfare.service")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file, text
}

func TestUnitIsValid(t *testing.T) {
	tool := proctest.Tool(t, "systemd-analyze")
	file, _ := unit(t)
	out, err := exec.Command(tool, "verify", "--man=no", file).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// An unknown setting is only a warning; here it is a mistake. Other units of the machine may have their own.
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "fanfare.service") {
			t.Errorf("systemd-analyze verify: %s", line)
		}
	}
}

// TestSocketUnit: the socket unit is valid beside the service, and systemd's own tool passes its sockets on so that they are
// used, by the name that the unit gives.
func TestSocketUnit(t *testing.T) {
	tool := proctest.Tool(t, "systemd-analyze")
	service, _ := unit(t)
	shipped, err := os.ReadFile("fanfare.socket")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(filepath.Dir(service), "fanfare.socket")
	if err := os.WriteFile(file, shipped, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tool, "verify", "--man=no", file).CombinedOutput()
	if err != nil || strings.Contains(string(out), "fanfare.socket") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}

	addr := proctest.FreeAddr(t)
	cmd := exec.Command(proctest.Tool(t, "systemd-socket-activate"), "--listen="+addr,
		"--fdname="+setting(t, string(shipped), "FileDescriptorName"), binary, "--listen", "127.0.0.1:1", "--admin", "off")
	proctest.Start(t, cmd).Await("the server answers", func() error {
		resp, err := http.Get("http://" + addr + "/healthz") // the first one starts the server
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			t.Errorf("status %d", resp.StatusCode)
		}
		return resp.Body.Close()
	})
}

func TestUnitIsHardened(t *testing.T) {
	tool := proctest.Tool(t, "systemd-analyze")
	file, _ := unit(t)
	out, err := exec.Command(tool, "security", "--offline=true", "--threshold="+strconv.Itoa(maxExposure), file).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// TestUnitOutlastsDrain: systemd must not kill what still drains.
func TestUnitOutlastsDrain(t *testing.T) {
	_, text := unit(t)
	stop, err := time.ParseDuration(setting(t, text, "TimeoutStopSec"))
	if err != nil {
		t.Fatal(err)
	}
	if defaultDrain := 10 * time.Second; stop < 2*defaultDrain {
		t.Errorf("TimeoutStopSec is %v; the default drain takes up to %v, and the last answers some more", stop, defaultDrain)
	}
	for name, want := range map[string]string{
		"KillSignal": "SIGTERM", "ExecReload": "/bin/kill -HUP $MAINPID", "Restart": "on-failure", "DynamicUser": "yes",
	} {
		if got := setting(t, text, name); got != want {
			t.Errorf("%s=%s, want %s", name, got, want)
		}
	}
}

// setting is the value of a line `name=value` of the unit.
func setting(t *testing.T, text, name string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("fanfare.service has no %s=", name)
	return ""
}
