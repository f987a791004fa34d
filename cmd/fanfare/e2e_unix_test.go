//go:build unix

package main_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// TestUnixSockets: with both listeners on socket files, the commands of fanfare and curl reach them, a reload and a drain work,
// the files have their modes and go at the end, and what a killed server leaves does not keep the next one from starting.
func TestUnixSockets(t *testing.T) {
	dir, err := os.MkdirTemp("", "fanfare")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	stream, admin, file := filepath.Join(dir, "stream"), filepath.Join(dir, "admin"), filepath.Join(dir, "fanfare.yaml")
	text := fmt.Sprintf("listen: unix:%s\nlistenMode: \"0600\"\nlistenOwner: \":%d\"\nadmin: unix:%s\naccessLog: true\n", stream, os.Getgid(), admin)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &proctest.Server{T: t, Binary: binary}
	boot := func() { s.Run(s.Command("--config", file)) }
	boot()
	for path, want := range map[string]os.FileMode{stream: 0o600, admin: 0o660} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, want mode %o", path, info, want)
		}
	}
	env := []string{"FANFARE_SERVER=unix:" + admin}
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env = proctest.Environment(env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s %q: %v: %s", name, args, err, out)
		}
		return string(out)
	}
	sub := proctest.Start(t, exec.Command(binary, "sub", "--url", "unix:"+stream, "--raw", "-n", "3", "news"))
	count := func() string { return run("curl", "-s", "--unix-socket", admin, "http://localhost/count?key=news") }
	eventually.True(t, "it has subscribed", func() bool { return strings.Contains(count(), `"count":1`) })
	run(binary, "pub", "news", "one")
	// What the log says to try works.
	try := s.Log.Find("try")
	run("sh", "-c", fmt.Sprint(try["publish"]))
	if subscribe := fmt.Sprint(try["subscribe"]); !strings.HasPrefix(subscribe, "curl --unix-socket "+stream+" -N 'http://localhost/stream?connectKey=news'") {
		t.Error(subscribe)
	}
	run(binary, "healthcheck", "--config", file)
	if err := os.WriteFile(file, []byte(text+"pingInterval: 5s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Signal(syscall.SIGHUP)
	eventually.True(t, "it has reloaded", func() bool { return s.Log.Find("configuration reloaded") != nil })
	run(binary, "pub", "news", "three")
	sub.Wait()
	if got := sub.Log.String(); !strings.Contains(got, "one") || !strings.Contains(got, "hello") || !strings.Contains(got, "three") {
		t.Errorf("%q", got)
	}
	eventually.True(t, "the end is logged", func() bool { return s.Log.Find("stream ended") != nil })
	if line := s.Log.Find("stream ended"); line["remote"] != "unix" {
		t.Error(line)
	}

	// A second server does not take the files of the first.
	second := proctest.Start(t, s.Command("--config", file))
	if code := second.Wait(); code == 0 || !strings.Contains(second.Log.String(), "listen unix:"+stream+": the address is in use") {
		t.Errorf("%d: %s", code, second.Log)
	}
	run(binary, "healthcheck", "--config", file)
	s.Kill()
	s.Wait()
	boot()
	run(binary, "pub", "news", "after a kill")
	s.Stop(syscall.SIGTERM)
	for _, path := range []string{stream, admin} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	out, err := exec.Command(binary, "pub", "--server", "unix:"+admin, "news", "x").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "cannot publish to unix:"+admin+": there is no such socket") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestUnixSocketActivation: socket files of systemd are served, and stay.
func TestUnixSocketActivation(t *testing.T) {
	dir, err := os.MkdirTemp("", "fanfare")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var files []*os.File
	for _, name := range []string{"stream", "admin"} {
		ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, name), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		f, err := ln.File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = ln.Close(), f.Close() })
		files = append(files, f)
	}
	s := &proctest.Server{T: t}
	for range 2 {
		s.Run(passOn("stream:admin", files))
		out, err := exec.Command(binary, "pub", "--server", "unix:"+filepath.Join(dir, "admin"), "news", "x").CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
		out, err = exec.Command("curl", "-s", "--unix-socket", filepath.Join(dir, "stream"), "http://localhost/healthz").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "ok") {
			t.Errorf("%v: %s", err, out)
		}
		s.Stop(syscall.SIGTERM)
	}
}

// TestHealthcheckWithProxyProtocol: on the stream listener of a server that expects PROXY headers from this address.
func TestHealthcheckWithProxyProtocol(t *testing.T) {
	s := start(t, "--admin", "off", "--proxy-protocol", "--trusted-proxies", "127.0.0.0/8,unix")
	at := proctest.Addr(s.Stream)
	if out, err := exec.Command(binary, "healthcheck", "--admin", "off", "--listen", at, "--proxy-protocol", "--trusted-proxies", "127.0.0.0/8").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := exec.Command(binary, "healthcheck", "--admin", "off", "--listen", at).CombinedOutput(); err == nil {
		t.Errorf("without a header: %s", out)
	}
}
