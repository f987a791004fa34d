package catalog

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// module is this nested module's name; the main module is two folders above.
const module = "fanfare/bench/peers"

// Env has the folders of the sources and of the programs that are built. It is safe for concurrent use.
type Env struct {
	Root string // folder of this module
	Bin  string // folder of the programs that were built

	mu    sync.Mutex
	built map[string]error

	certificate func() (Certificate, error) // makes it once
}

// NewEnv finds this module, from the current folder.
func NewEnv(ctx context.Context, bin string) (*Env, error) {
	mod, err := output(ctx, ".", "go", "env", "GOMOD")
	if err != nil {
		return nil, err
	}
	root := filepath.Dir(mod)
	name, err := output(ctx, root, "go", "list", "-m")
	if err != nil || name != module {
		return nil, fmt.Errorf("this is not the folder bench/peers: run `go run .` there, because the servers are built from its sources")
	}
	e := &Env{Root: root, Bin: bin, built: map[string]error{}}
	e.certificate = sync.OnceValues(func() (Certificate, error) { return makeCertificate(bin) })
	return e, nil
}

// Main is the folder of the main module.
func (e *Env) Main() string { return filepath.Dir(filepath.Dir(e.Root)) }

// Build builds a Go program once and returns its path. dir is the module's folder, pkg the package in it.
func (e *Env) Build(ctx context.Context, name, dir, pkg string) (string, error) {
	return e.once(name, func(target string) error {
		_, err := output(ctx, dir, "go", "build", "-o", target, pkg)
		return err
	})
}

// Install builds a Go program of another module once, with that module's own dependencies, and returns its path. version is PATH@VERSION.
func (e *Env) Install(ctx context.Context, name, version string) (string, error) {
	return e.once(name, func(string) error {
		_, err := output(ctx, e.Bin, "env", "GOBIN="+e.Bin, "GOFLAGS=", "go", "install", version) // in a folder outside of every module
		return err
	})
}

// BuildC compiles a C program once, with more arguments for the compiler after the source, and returns its path.
func (e *Env) BuildC(ctx context.Context, name string, source []byte, more ...string) (string, error) {
	return e.once(name, func(target string) error {
		if err := os.WriteFile(target+".c", source, 0o644); err != nil {
			return err
		}
		_, err := output(ctx, e.Bin, "gcc", append([]string{"-O2", "-Wall", "-Wextra", "-Werror", "-o", target, target + ".c"}, more...)...)
		return err
	})
}

func (e *Env) once(name string, build func(target string) error) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	target := filepath.Join(e.Bin, name)
	err, done := e.built[name]
	if !done {
		err = build(target)
		e.built[name] = err
	}
	return target, err
}

// output runs a command and returns its standard output, trimmed. The error has its standard error output.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, bytes.TrimSpace(errs.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}

// firstLine returns the first line that a program prints about its version, to standard output or standard error.
func firstLine(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

// program looks for a program in PATH and in Debian's folders for servers.
func program(name string) (string, bool) {
	if path, err := exec.LookPath(name); err == nil {
		return path, true
	}
	path := filepath.Join("/usr/sbin", name)
	info, err := os.Stat(path)
	return path, err == nil && !info.IsDir()
}
