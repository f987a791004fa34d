package deploy_test

import (
	"debug/elf"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fanfare/internal/test/proctest"
)

// The Dockerfile's steps are run as they stand there, without Docker: what is checked is the build's command line and
// that the result needs nothing around it, which is all that the image has to offer.

func dockerfile(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// find returns the first group of the pattern in the Dockerfile.
func find(t *testing.T, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(dockerfile(t))
	if m == nil {
		t.Fatalf("the Dockerfile has nothing like %s any more: the test must follow", pattern)
	}
	return m[1]
}

func TestDockerBuild(t *testing.T) {
	root := dockerContext(t)
	out := filepath.Join(t.TempDir(), "fanfare")
	command := strings.NewReplacer("/out/fanfare", out, "${VERSION}", "1.2.3").Replace(find(t, `(?m)^RUN (CGO_ENABLED=0 go build .*)$`))
	build := exec.Command("sh", "-c", command)
	build.Dir = root
	build.Env = append(os.Environ(), "GOFLAGS=")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, text)
	}

	file, err := elf.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if libs, err := file.ImportedLibraries(); err != nil || len(libs) > 0 || file.Section(".interp") != nil {
		t.Errorf("the binary isn't static: it needs %v (%v)", libs, err)
	}
	version, err := exec.Command(out, "version").CombinedOutput()
	if err != nil || !strings.Contains(string(version), "1.2.3") {
		t.Errorf("fanfare version: %v, %q, want the version given at the build", err, version)
	}
}

// dockerContext copies what .dockerignore lets through: the module's own files and the folders it names. A package
// that the build needs and .dockerignore forgets shows up as a build error.
func dockerContext(t *testing.T) string {
	t.Helper()
	ignore, err := os.ReadFile("../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for line := range strings.Lines(string(ignore)) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "!")
		if !ok {
			continue
		}
		from, to := filepath.Join("..", name), filepath.Join(root, name)
		if info, err := os.Stat(from); err != nil {
			t.Fatalf(".dockerignore lets %s through, which isn't there", name)
		} else if info.IsDir() {
			err = os.CopyFS(to, os.DirFS(from))
			if err != nil {
				t.Fatal(err)
			}
			continue
		}
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestDockerHealthcheck runs the image's own check beside a server: well, and gone.
func TestDockerHealthcheck(t *testing.T) {
	var command []string
	if err := json.Unmarshal([]byte(find(t, `(?m)^HEALTHCHECK .*CMD (\[.*\])$`)), &command); err != nil {
		t.Fatal(err)
	}
	fanfare := startServer(t)
	check := func() ([]byte, error) {
		c := exec.Command(binary, command[1:]...)
		c.Env = append(os.Environ(), "FANFARE_ADMIN="+proctest.Addr(fanfare.Admin))
		return c.CombinedOutput()
	}
	if out, err := check(); err != nil {
		t.Errorf("%v with a healthy server: %v\n%s", command, err, out)
	}
	fanfare.Kill()
	if out, err := check(); err == nil {
		t.Errorf("%v without a server: success, %q", command, out)
	}
}

func TestDockerImageIsModest(t *testing.T) {
	if user := find(t, `(?m)^USER (\S+)$`); !regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`).MatchString(user) {
		t.Errorf("USER %s: want numbers, and not root", user)
	}
	if ports := find(t, `(?m)^EXPOSE (.*)$`); ports != "8080 8081" {
		t.Errorf("EXPOSE %s", ports)
	}
	if final := dockerfile(t)[strings.LastIndex(dockerfile(t), "\nFROM "):]; !strings.HasPrefix(final, "\nFROM scratch\n") {
		t.Errorf("the last stage isn't scratch: %.40q", final)
	}
}
