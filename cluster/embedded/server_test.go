package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanfare/cluster"
	"fanfare/cluster/nats"
)

func TestReopen(t *testing.T) {
	for f := FsyncGroup; f <= FsyncInterval; f++ {
		t.Run(f.String(), func(t *testing.T) {
			o := Options{Dir: filepath.Join(t.TempDir(), "a", "b"), Fsync: f, Log: nats.Options{Partitions: 2}}
			l, _ := open(t, o)
			before := stateOf(t, l, 0)
			for i := range 10 {
				appendTo(t, l, event(fmt.Sprint(i)))
			}
			appendTo(t, l, cluster.Message{Op: cluster.OpEpoch, Epoch: 5, Partition: 1})
			if got := readAll(t, l, cluster.PartitionOf("news", 2)); len(got) != 10 {
				t.Fatalf("%d events, want 10", len(got))
			}
			l.Close()
			l, text := open(t, o)
			for p := range 2 {
				if s := stateOf(t, l, p); s.Unsynced || p == 0 && s.Created != before.Created || s.Last == 0 {
					t.Errorf("%+v after a clean end, created %s: %s", s, before.Created, text)
				}
			}
			if got := readAll(t, l, cluster.PartitionOf("news", 2)); len(got) != 10 || got[10] != "data: 9\n\n" {
				t.Fatalf("%v", got)
			}
		})
	}
}

func TestOneProcessAtATime(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	l, _ := open(t, o)
	_, err := Open(patient(t), o)
	if want := fmt.Sprintf("dataDir %s: another process uses it (process %d)", o.Dir, os.Getpid()); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Fatalf("%v, want %s", err, want)
	}
	l.Close()
	open(t, o)
}

func TestDirectoriesThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ dir, want string }{
		{"", "dataDir: it is empty"},
		{file, "dataDir " + file + ": "},
		{filepath.Join(file, "below"), "dataDir " + file + "/below: "},
	} {
		if _, err := Open(patient(t), Options{Dir: c.dir}); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.dir, err, c.want)
		}
	}
}

func TestParseFsync(t *testing.T) {
	for f := FsyncGroup; f <= FsyncInterval; f++ {
		if got, err := ParseFsync(f.String()); err != nil || got != f {
			t.Errorf("%s: %s, %v", f, got, err)
		}
	}
	if _, err := ParseFsync("never"); err == nil || err.Error() != "fsync: never is not one of group, always, interval" {
		t.Error(err)
	}
}
