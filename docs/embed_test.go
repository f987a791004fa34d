// Package docs_test runs what the documents say.
package docs_test

import (
	"bufio"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait. A build of everything is the longest.
const patience = 5 * time.Minute

// blocks are the fenced blocks of one section of a Markdown file, in their order: language and text.
func blocks(t *testing.T, file, section string) (found [][2]string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n## "+section+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", file, section)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	for _, m := range regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$").FindAllStringSubmatch(rest, -1) {
		found = append(found, [2]string{m[1], m[2]})
	}
	return found
}

// TestEmbed builds a module from the program and the commands of docs/embed.md, and subscribes to what it serves. Only the port
// differs, because 8080 may be taken.
func TestEmbed(t *testing.T) {
	found := blocks(t, "embed.md", "A program")
	if len(found) != 2 || found[0][0] != "go" || found[1][0] != "sh" {
		t.Fatalf("the section has other blocks than a program and its commands: %q", found)
	}
	address := freePort(t)
	program := strings.Replace(found[0][1], `":8080"`, `"`+address+`"`, 1)
	if program == found[0][1] {
		t.Fatal("the program does not listen on :8080")
	}

	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	live := filepath.Join(dir, "live")
	if err := errors.Join(os.Symlink(root, filepath.Join(dir, "fanfare")), os.Mkdir(live, 0o755),
		os.WriteFile(filepath.Join(live, "main.go"), []byte(program), 0o644)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-ec", found[1][1])
	cmd.Dir = live
	cmd.Env = append(os.Environ(), "PWD="+live)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // go run has the program as a child
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-exited
		if t.Failed() {
			t.Logf("%s", log.String()) // its writer has ended
		}
	})

	client := http.Client{Timeout: patience}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		select {
		case <-exited:
			t.Fatal("the commands have ended")
		default:
		}
		resp, err := client.Get("http://" + address + "/stream?connectKey=news")
		if err != nil {
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			continue
		}
		defer resp.Body.Close()
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			if lines.Text() == "event: greeting" {
				return
			}
		}
		t.Fatal("the stream has ended without the event")
	}
}
