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
	"sync"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// patience bounds the commands of the documents. A build of everything is the longest.
const patience = 5 * time.Minute

// built is a folder with the program fanfare, which TestMain removes.
var built = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "fanfare-docs-"); err == nil {
		_, err = proctest.Build(dir, "../cmd/fanfare")
	}
	return dir, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, _ := built(); dir != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// binaries returns a folder with the program fanfare, for PATH.
func binaries(t *testing.T) string {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

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
	address := proctest.FreeAddr(t)
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
	p := proctest.Start(t, cmd) // go run has the program as a child

	client := http.Client{Timeout: patience}
	var resp *http.Response
	if !eventually.Within(patience, func() bool {
		resp, err = client.Get("http://" + address + "/stream?connectKey=news")
		return err == nil || p.Ended()
	}) || err != nil {
		t.Fatalf("the program does not answer: %v", err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if lines.Text() == "event: greeting" {
			return
		}
	}
	t.Fatal("the stream has ended without the event")
}
