package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"fanfare/cluster"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// TestMain runs the test binary as a program that is killed under load, if these variables say so.
func TestMain(m *testing.M) {
	if dir := os.Getenv("EMBEDDED_DIR"); dir != "" {
		if os.Getenv("EMBEDDED_BURST") != "" {
			burst(dir)
		}
		appendWithoutEnd(dir, os.Getenv("EMBEDDED_FSYNC"))
	}
	os.Exit(m.Run())
}

// appendWithoutEnd appends events from several goroutines and prints the sequence and the text of each that was acknowledged.
func appendWithoutEnd(dir, fsync string) {
	ctx := context.Background()
	f, err := ParseFsync(fsync)
	if err != nil {
		fail(err)
	}
	l, err := Open(ctx, small(dir, f))
	if err != nil {
		fail(err)
	}
	for writer := range 16 {
		go func() {
			for i := 0; ; i++ {
				text := fmt.Sprintf("%d-%d-%d", os.Getpid(), writer, i)
				results := make([]cluster.Result, 1)
				if l.Append(ctx, []cluster.Message{event(text)}, results); results[0].Err != nil {
					fail(results[0].Err)
				}
				fmt.Printf("%d %s\n", results[0].Seq, text)
			}
		}()
	}
	select {}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// kill runs the program until it has appended some events, kills it, and returns what it has acknowledged.
func kill(t *testing.T, dir string, f Fsync, events int) map[uint64]string {
	t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = proctest.Environment("EMBEDDED_DIR="+dir, "EMBEDDED_FSYNC="+f.String())
	cmd.Stdout = in
	p := proctest.Start(t, cmd)
	_ = in.Close()
	var mu sync.Mutex
	acked := map[uint64]string{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			number, text, ok := strings.Cut(lines.Text(), " ")
			if seq, err := strconv.ParseUint(number, 10, 64); ok && err == nil && strings.Count(text, "-") == 2 {
				mu.Lock()
				acked[seq] = text
				mu.Unlock()
			}
		}
	}()
	p.Await(fmt.Sprintf("%d acknowledged events", events), func() error {
		mu.Lock()
		defer mu.Unlock()
		if len(acked) < events {
			return fmt.Errorf("%d", len(acked))
		}
		return nil
	})
	p.Kill()
	<-done
	_ = out.Close()
	return acked
}

func TestKilledUnderLoad(t *testing.T) {
	for f := FsyncGroup; f <= FsyncInterval; f++ {
		t.Run(f.String(), func(t *testing.T) {
			dir := t.TempDir()
			acked := map[uint64]string{}
			for range 3 {
				for seq, text := range kill(t, dir, f, 500) {
					if other, twice := acked[seq]; twice {
						t.Errorf("sequence %d is %s and %s", seq, other, text)
					}
					acked[seq] = text
				}
			}
			l, _ := open(t, small(dir, f))
			s, got := stateOf(t, l, 0), readAll(t, l, 0)
			if s.Unsynced || s.Last != uint64(len(got)) {
				t.Errorf("%+v, %d entries", s, len(got))
			}
			for seq, text := range acked {
				// The last line of a killed program may be cut.
				if want := "data: " + text; !strings.HasPrefix(got[seq], want) {
					t.Errorf("sequence %d was acknowledged as %s and is %q", seq, text, got[seq])
				}
			}
			t.Logf("%d acknowledged, %d kept", len(acked), len(got))
		})
	}
}

// rewriteRecord changes what the last run has told.
func rewriteRecord(t *testing.T, dir string, change func(*state)) {
	t.Helper()
	r, err := openRecord(filepath.Join(dir, "record"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.close() }()
	s := r.state
	change(&s)
	if err := r.put(s, true); err != nil {
		t.Fatal(err)
	}
}

func TestPowerLoss(t *testing.T) {
	for _, c := range []struct {
		fsync   Fsync
		running bool
		boot    string
		want    bool
	}{
		{FsyncInterval, true, "another", true},
		{FsyncInterval, false, "another", false}, // a restart of the machine
		{FsyncInterval, true, bootID(), bootID() == ""},
		{FsyncAlways, true, "another", false}, // nothing was delivered that was not on disk
		{FsyncGroup, true, "another", false},
	} {
		t.Run(fmt.Sprintf("%s running=%v boot=%s", c.fsync, c.running, c.boot), func(t *testing.T) {
			dir := t.TempDir()
			l, _ := open(t, small(dir, c.fsync))
			appendTo(t, l, event("1"))
			l.Close()
			rewriteRecord(t, dir, func(s *state) { s.Running, s.Boot = c.running, c.boot })
			checkUnsynced(t, small(dir, c.fsync), c.want)
		})
	}
}

// checkUnsynced opens the log twice: what was noticed is not forgotten before a new epoch, and then it is.
func checkUnsynced(t *testing.T, o Options, want bool) {
	t.Helper()
	for range 2 {
		l, text := open(t, o)
		if s := stateOf(t, l, 0); s.Unsynced != want {
			t.Fatalf("%+v, want unsynced %v: %s", s, want, text)
		}
		appendTo(t, l, event("more"))
		if s := stateOf(t, l, 0); s.Unsynced != want {
			t.Fatalf("%+v after an event, want unsynced %v", s, want)
		}
		l.Close()
	}
	l, _ := open(t, o)
	s := stateOf(t, l, 0)
	appendTo(t, l, cluster.Message{Op: cluster.OpEpoch, Epoch: 9, After: s.Last + 1})
	for range 2 {
		if s := stateOf(t, l, 0); s.Unsynced || s.Epoch != 9 {
			t.Fatalf("%+v after a new epoch", s)
		}
		l.Close()
		l, _ = open(t, o)
	}
}

// fill makes a log of several blocks, and returns the paths of the blocks.
func fill(t *testing.T, o Options) (files []string) {
	t.Helper()
	l, _ := open(t, o)
	pad := strings.Repeat("x", 30_000)
	messages := make([]cluster.Message, 100)
	for range 4 {
		for i := range messages {
			messages[i] = event(pad)
		}
		results := make([]cluster.Result, len(messages))
		if l.Append(patient(t), messages, results); results[len(results)-1].Err != nil {
			t.Fatal(results[len(results)-1].Err)
		}
	}
	l.Close()
	files, err := filepath.Glob(filepath.Join(blocks(o.Dir, "fanfare"), "*.blk"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%d blocks, want several: %v", len(files), err)
	}
	slices.SortFunc(files, func(a, b string) int {
		x, _ := blockNumber(filepath.Base(a))
		y, _ := blockNumber(filepath.Base(b))
		return x - y
	})
	return files
}

// TestDamage changes the files of a log that was closed, or was killed: then the server reads all blocks.
func TestDamage(t *testing.T) {
	flip := func(t *testing.T, file string) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 0x40
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, files []string)
	}{
		{"a flipped byte in the middle", func(t *testing.T, files []string) { flip(t, files[len(files)/2]) }},
		{"a flipped byte in the newest block", func(t *testing.T, files []string) { flip(t, files[len(files)-1]) }},
		{"a truncated tail", func(t *testing.T, files []string) {
			newest := files[len(files)-1]
			info, err := os.Stat(newest)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(newest, info.Size()-10); err != nil {
				t.Fatal(err)
			}
		}},
		{"the newest block is gone", func(t *testing.T, files []string) {
			if err := os.Remove(files[len(files)-1]); err != nil {
				t.Fatal(err)
			}
		}},
		{"the stream is gone", func(t *testing.T, files []string) {
			if err := os.RemoveAll(filepath.Dir(filepath.Dir(files[0]))); err != nil {
				t.Fatal(err)
			}
		}},
		{"the record is gone", func(t *testing.T, files []string) {
			if err := os.Remove(filepath.Join(filepath.Dir(filepath.Dir(files[0])), "../../../../record")); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := small(t.TempDir(), FsyncInterval)
			files := fill(t, o)
			_ = os.Remove(filepath.Join(filepath.Dir(files[0]), "index.db")) // as after kill -9: it is written at the end
			c.damage(t, files)
			l, text := open(t, o)
			s := stateOf(t, l, 0)
			t.Logf("%+v", s)
			if holes := countHoles(t, l); !s.Unsynced && holes == 0 {
				t.Fatalf("%+v, and no hole: %s", s, text)
			} else if holes > 0 {
				q := cluster.Query{Key: "other", Through: s.Last, Max: 1000, Scan: 1000, Bytes: 1 << 20}
				err := l.Fetch(patient(t), q, func(*cluster.Entry) error { return nil })
				if !errors.Is(err, cluster.ErrTooOld) {
					t.Errorf("a fetch over %d lost entries: %v, want ErrTooOld", holes, err)
				}
			}
			l.Close()
			if s.Unsynced {
				checkUnsynced(t, o, true)
			}
		})
	}
}

// countHoles reads the log and counts the entries that it reports as lost.
func countHoles(t *testing.T, l cluster.Log) (holes int) {
	t.Helper()
	last := stateOf(t, l, 0).Last
	if last == 0 {
		return 0
	}
	var after uint64
	err := l.Read(patient(t), 0, 0, func(e *cluster.Entry) error {
		if e.Op == cluster.OpHole {
			holes += int(e.Seq - after)
		}
		if after = e.Seq; after >= last {
			return errStop
		}
		return nil
	}, func(uint64) {})
	if err != errStop {
		t.Fatal(err)
	}
	return holes
}

// TestGroupSyncsEveryBlock counts on the bookkeeping alone: what the disk has cannot be seen without a loss of power.
func TestGroupSyncsEveryBlock(t *testing.T) {
	o := small(t.TempDir(), FsyncGroup)
	files := fill(t, o)
	newest, _ := blockNumber(filepath.Base(files[len(files)-1]))
	l, _ := open(t, o)
	if got := l.disk.folders[0].synced; got != newest {
		t.Errorf("block %d is the newest that is synced, want %d", got, newest)
	}
	pad := strings.Repeat("x", 60_000)
	for range 160 { // one after the other, over several blocks
		appendTo(t, l, event(pad))
	}
	l.Close()
	_, newest, ok, err := blockRange(blocks(o.Dir, "fanfare"))
	if got := l.disk.folders[0].synced; err != nil || !ok || got != newest || newest < len(files)+1 {
		t.Errorf("block %d is the newest that is synced, want %d (%v)", got, newest, err)
	}
}

// TestSyncFails has a folder instead of a block: fsync of what the server writes fails.
func TestSyncFails(t *testing.T) {
	l, _ := open(t, small(t.TempDir(), FsyncGroup))
	appendTo(t, l, event("1"))
	path := blocks(l.disk.o.Dir, "fanfare")
	if err := os.Mkdir(filepath.Join(path, "2.blk"), 0o700); err != nil {
		t.Fatal(err)
	}
	results := make([]cluster.Result, 1)
	l.Append(patient(t), []cluster.Message{event("2")}, results)
	if results[0].Err == nil || !strings.HasPrefix(results[0].Err.Error(), cluster.ErrUnknown.Error()) || !stateOf(t, l, 0).Unsynced {
		t.Errorf("%+v", results[0])
	}
	// Clients do not get what a loss of power can take back.
	err := l.Read(patient(t), 0, 1, func(e *cluster.Entry) error {
		t.Errorf("sequence %d was delivered", e.Seq)
		return errStop
	}, func(uint64) {})
	if err == nil || errors.Is(err, errStop) || !strings.Contains(err.Error(), "2.blk") {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(path, "2.blk")); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, l, 0); len(got) != 2 {
		t.Errorf("%v", got)
	}
	eventually.True(t, "events are stored again", func() bool {
		l.Append(patient(t), []cluster.Message{event("3")}, results)
		return results[0].Err == nil
	})
}
