package chaos_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/natstest"
	"fanfare/internal/test/proctest"
)

// disk is a file system in a file. The file has what the machine's disk would have after a power loss: what was synced, and what
// the kernel has written by itself, but nothing that only the page cache has.
type disk struct {
	t      *testing.T
	dir    string
	image  string // the file
	Folder string // where it is mounted
	losses int
}

func (d *disk) run(args ...string) {
	d.t.Helper()
	if out, err := exec.Command(proctest.Tool(d.t, args[0]), args[1:]...).CombinedOutput(); err != nil {
		d.t.Fatalf("%v: %v\n%s(mounting needs root)", args, err, out)
	}
}

// newDisk makes a disk of so many MiB. It is unmounted at the end of the test, so make it before what uses it.
func newDisk(t *testing.T, size int64) *disk {
	t.Helper()
	dir := t.TempDir()
	d := &disk{t: t, dir: dir, image: filepath.Join(dir, "image-0"), Folder: filepath.Join(dir, "disk")}
	if err := os.Mkdir(d.Folder, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(d.image)
	if err == nil {
		err = f.Truncate(size << 20)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	d.run("mkfs.ext4", "-q", d.image)
	d.run("mount", "-o", "loop", d.image, d.Folder)
	t.Cleanup(func() { _ = exec.Command("umount", d.Folder).Run() })
	return d
}

// losePower kills the processes and takes from the disk what was not on it at that moment.
func (d *disk) losePower(processes ...*proctest.Process) {
	d.t.Helper()
	for _, p := range processes { // all at once: none may write or answer after another one has stopped
		p.Signal(syscall.SIGSTOP)
	}
	for _, p := range processes {
		eventually.True(d.t, "the process is stopped", func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Cmd.Process.Pid))
			return err == nil && strings.Contains(string(stat), ") T ")
		})
	}
	d.losses++
	after := filepath.Join(d.dir, fmt.Sprintf("image-%d", d.losses))
	d.run("cp", "--sparse=always", d.image, after)
	for _, p := range processes {
		p.Kill()
	}
	d.run("umount", d.Folder)
	d.run("mount", "-o", "loop", after, d.Folder)
	d.image = after // the next loss is one of this disk
}

// TestPowerLoss: what was confirmed with fsync group or always is there after a power loss, and no client gets a gap. Otherwise an
// epoch begins.
func TestPowerLoss(t *testing.T) {
	if !long {
		t.Skip("needs root: scripts/chaos.sh runs it")
	}
	for _, fsync := range []string{"group", "always", "interval"} {
		t.Run("embedded, fsync "+fsync, func(t *testing.T) {
			d := newDisk(t, 256)
			f := newFleet(t, 0)
			f.partitions = 1
			// Another start of the machine has another id, and that of this one cannot change: the server sees a file instead.
			boot := filepath.Join(t.TempDir(), "boot_id")
			id := func(n int) {
				if err := os.WriteFile(boot, fmt.Appendf(nil, "00000000-0000-4000-8000-%012d\n", n), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			id(0)
			s := f.addServer(&proctest.Server{Binary: proctest.Tool(t, "unshare"), Args: []string{"-m", "sh", "-c", `mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"`, boot,
				binary, "--backplane", "embedded", "--data-dir", filepath.Join(d.Folder, "data"), "--fsync", fsync, "--retention-bytes", "64MiB"}})
			f.start(load{pause: 20 * time.Millisecond, size: 1000})
			for i := range 3 {
				f.flows(50)
				d.losePower(s.Process)
				id(i + 1)
				s.Restart()
			}
			f.flows(10)
			if fsync == "interval" {
				f.finish("epoch", "history")
			} else {
				f.finish()
			}
		})
	}
	t.Run("nats-server without sync", func(t *testing.T) {
		d := newDisk(t, 256)
		f := brokerOn(t, d, "")
		f.start(load{pause: 20 * time.Millisecond, size: 1000})
		f.flows(50)
		d.losePower(f.broker.Process)
		f.broker.Start()
		f.flows(10)
		f.finish("epoch", "history")
	})
	t.Run("nats-server, sync always", func(t *testing.T) {
		d := newDisk(t, 256)
		f := brokerOn(t, d, "sync_interval: always")
		f.start(load{pause: 20 * time.Millisecond, size: 1000})
		for range 2 {
			f.flows(50)
			d.losePower(f.broker.Process)
			f.broker.Start()
		}
		f.flows(10)
		f.finish()
	})
}

// brokerOn is a broker whose folder is on the disk, with two nodes. jetstream is more text for that part of its configuration.
func brokerOn(t *testing.T, d *disk, jetstream string) *natsFleet {
	t.Helper()
	return newNATSFleetOn(t, &natstest.Server{T: t, Folder: filepath.Join(d.Folder, "nats"), JetStream: jetstream}, 2, "--retention-bytes", "32MiB")
}

// TestFullDisk: a broker whose disk is full confirms nothing, and goes on when there is space again.
func TestFullDisk(t *testing.T) {
	if !long {
		t.Skip("needs root: scripts/chaos.sh runs it")
	}
	d := newDisk(t, 64)
	f := brokerOn(t, d, "")
	f.start(load{pause: 20 * time.Millisecond, size: 1000})
	f.flows(20)
	hog := filepath.Join(d.Folder, "hog")
	_ = exec.Command("dd", "if=/dev/zero", "of="+hog, "bs=1M").Run() // fails when the disk is full
	f.awaitRefusal()
	if err := os.Remove(hog); err != nil {
		t.Fatal(err)
	}
	// nats-server stops a stream whose file cannot be written, until it is restarted.
	f.broker.Kill()
	f.broker.Start()
	f.flows(20)
	f.finish()
}
