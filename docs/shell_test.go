package docs_test

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// startFanfare puts the server's program into dir and runs it on free addresses.
func startFanfare(t *testing.T, dir string) *proctest.Server {
	t.Helper()
	binary := filepath.Join(dir, "fanfare")
	if err := os.Link(filepath.Join(binaries(t), "fanfare"), binary); err != nil { // no symbolic link: a build into dir would follow it
		t.Fatal(err)
	}
	return (&proctest.Server{T: t, Binary: binary}).Start()
}

// TestShellPub runs each command of docs/shell.md that publishes, with files of the names that it uses: a subscriber gets
// what it publishes.
func TestShellPub(t *testing.T) {
	dir := t.TempDir()
	fanfare := startFanfare(t, dir)
	for name, text := range map[string]string{
		"letter": "Dear all,\n", "app.log": "started\n", "events.ndjson": "\"one\"\n{\"data\":\"two\",\"event\":\"e\"}\n",
		"batch.ndjson": "{\"key\":\"news\",\"data\":\"three\"}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), eventually.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fanfare.URL("news", "log"), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data := make(chan string, 100)
	go func() {
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				data <- text
			}
		}
	}()

	found := blocks(t, "shell.md", "fanfare pub [KEY] [DATA]")
	if len(found) == 0 || found[0][0] != "console" {
		t.Fatalf("no commands: %q", found)
	}
	want := [][]string{{"hello"}, {"Dear all,"}, {"started"}, {"one", "two"}, {"three"}, {"back in a minute"}}
	commands := strings.Split(strings.TrimSpace(found[0][1]), "\n")
	if len(commands) != len(want) {
		t.Fatalf("%d commands, and %d are known here: add what the new ones publish", len(commands), len(want))
	}
	for i, line := range commands {
		command, ok := strings.CutPrefix(line, "$ ")
		if !ok {
			t.Fatalf("%q is no command", line)
		}
		var out strings.Builder
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "FANFARE_SERVER="+fanfare.Admin)
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for _, text := range want[i] {
			select {
			case got := <-data:
				if got != text {
					t.Errorf("%s: published %q, want %q", command, got, text)
				}
			case <-time.After(eventually.Patience):
				t.Errorf("%s: %q does not come", command, text)
			}
		}
		endless := strings.HasPrefix(command, "tail -f ")
		if endless {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !(endless && errors.As(err, &exit)) {
			t.Errorf("%s: %v\n%s", command, err, out.String())
		}
	}
}
