package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanfare/cluster"
	"fanfare/cluster/nats"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// TestFullDisk runs fullDisk as a program with a small file system of its own.
func TestFullDisk(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = proctest.Environment("EMBEDDED_FULL=" + t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if id := os.Getuid(); id != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

func init() {
	if dir := os.Getenv("EMBEDDED_FULL"); dir != "" {
		if err := fullDisk(dir); err != nil {
			fail(err)
		}
		os.Exit(0)
	}
}

func fullDisk(dir string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_PRIVATE|syscall.MS_REC, ""); err != nil {
		return err
	}
	if err := syscall.Mount("fanfare", dir, "tmpfs", 0, "size=24m"); err != nil {
		return err
	}
	o := Options{Dir: filepath.Join(dir, "data"), Log: nats.Options{MaxBytes: 10 << 30}} // more than there is
	var text proctest.Log
	o.Log.Logger = slog.New(slog.NewTextHandler(io.MultiWriter(os.Stdout, &text), nil))
	ctx, cancel := context.WithTimeout(context.Background(), eventually.Patience)
	defer cancel()
	l, err := Open(ctx, o)
	if err != nil {
		return err
	}
	if !strings.Contains(text.String(), "retentionBytes is more than the disk has room for") {
		return fmt.Errorf("no warning of too large a retention: %s", &text)
	}
	acked := uint64(0)
	pad := strings.Repeat("x", 4000)
	one := func() error {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		results := make([]cluster.Result, 1)
		if l.Append(ctx, []cluster.Message{event(pad)}, results); results[0].Err == nil {
			acked = results[0].Seq
		}
		return results[0].Err
	}
	for range 100 {
		if err := one(); err != nil {
			return err
		}
	}
	// Another program fills the disk.
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 24<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("the disk is not full: %w", err)
	}
	// In-flight events are unknown, later ones are refused at once.
	for err = one(); !errors.Is(err, cluster.ErrFull); err = one() {
		if ctx.Err() != nil {
			return fmt.Errorf("events are not refused: %w", err)
		}
	}
	fmt.Printf("%d acknowledged, then: %v\n", acked, err)
	// There is room again.
	if err := os.Remove(ballast); err != nil {
		return err
	}
	before := acked
	for err = one(); err != nil; err = one() {
		if ctx.Err() != nil {
			return fmt.Errorf("events are not stored again: %w", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if acked <= before {
		return fmt.Errorf("sequence %d was given away twice: %d are acknowledged", acked, before)
	}
	s, err := l.State(ctx, 0)
	if err != nil || s.Last != acked || s.Unsynced {
		return fmt.Errorf("%+v, %w: want the last sequence %d", s, err, acked)
	}
	n := uint64(0)
	if err := l.Read(ctx, 0, 0, func(e *cluster.Entry) error {
		if n++; e.Seq != n || e.Op != cluster.OpEvent {
			return fmt.Errorf("sequence %d after %d, op %d", e.Seq, n-1, e.Op)
		}
		if n == acked {
			return errStop
		}
		return nil
	}, func(uint64) {}); !errors.Is(err, errStop) {
		return err
	}
	l.Close()
	return nil
}
