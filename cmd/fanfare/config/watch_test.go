package config

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fanfare/internal/test/eventually"
)

// startWatch watches path until the test ends; each change is one value on the channel.
func startWatch(t *testing.T, watch func(context.Context, func()) (<-chan struct{}, error)) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	changes := make(chan struct{}, 100)
	done, err := watch(ctx, func() { changes <- struct{}{} })
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		<-done
		goleak.VerifyNone(t)
	})
	return changes
}

func pathWatch(path string) func(context.Context, func()) (<-chan struct{}, error) {
	return func(ctx context.Context, f func()) (<-chan struct{}, error) { return Watch(ctx, path, f) }
}

// expect waits for one change, and sees to it that no second one follows.
func expect(t *testing.T, changes <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-changes:
	case <-time.After(eventually.Patience):
		t.Fatalf("%s: not noticed", what)
	}
	expectNone(t, changes, what)
}

// expectSome is expect for writes in place: a truncate and a write are two steps, and a machine under load can be slow
// enough between them for the watch to see both.
func expectSome(t *testing.T, changes <-chan struct{}, atMost int, what string) {
	t.Helper()
	select {
	case <-changes:
	case <-time.After(eventually.Patience):
		t.Fatalf("%s: not noticed", what)
	}
	for n := 1; ; n++ {
		select {
		case <-changes:
			if n >= atMost {
				t.Fatalf("%s: more than %d changes", what, atMost)
			}
		case <-time.After(2 * watchQuiet):
			return
		}
	}
}

func expectNone(t *testing.T, changes <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-changes:
		t.Fatalf("%s: a change too many", what)
	case <-time.After(2 * watchQuiet): // the absence of something can only be waited for
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchWritesAndRenames(t *testing.T) {
	dir := t.TempDir()
	path, tmp := filepath.Join(dir, "fanfare.yaml"), filepath.Join(dir, ".fanfare.yaml.swp")
	write(t, path, "history: 4\n")
	changes := startWatch(t, pathWatch(path))

	write(t, path, "history: 8\n")
	expectSome(t, changes, 2, "a write in place")

	write(t, tmp, "history: 16\n")
	must(t, os.Rename(tmp, path))
	expect(t, changes, "an atomic rename")

	must(t, os.Rename(path, path+"~"))
	write(t, path, "history: 32\n")
	expectSome(t, changes, 2, "a backup and a new file")

	must(t, os.Remove(path))
	expectNone(t, changes, "a removal")
	write(t, tmp, "history: 32\n")
	must(t, os.Rename(tmp, path))
	expectNone(t, changes, "the same bytes again")
	must(t, os.Chtimes(path, time.Now(), time.Now()))
	write(t, filepath.Join(dir, "other.yaml"), "x")
	expectNone(t, changes, "another file")

	for i := range 20 {
		write(t, path, string(rune('a'+i)))
	}
	expectSome(t, changes, 5, "a burst of 20 writes")
}

// A ConfigMap volume: fanfare.yaml -> ..data/fanfare.yaml, ..data -> ..1, replaced by renaming a new link over ..data.
func TestWatchConfigMapSwap(t *testing.T) {
	dir := t.TempDir()
	generation := func(name, text string) {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		write(t, filepath.Join(dir, name, "fanfare.yaml"), text)
		must(t, os.Symlink(name, filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	generation("..1", "history: 4\n")
	path := filepath.Join(dir, "fanfare.yaml")
	must(t, os.Symlink(filepath.Join("..data", "fanfare.yaml"), path))
	changes := startWatch(t, pathWatch(path))

	generation("..2", "history: 8\n")
	must(t, os.RemoveAll(filepath.Join(dir, "..1")))
	expect(t, changes, "the swap")
	generation("..3", "history: 8\n")
	must(t, os.RemoveAll(filepath.Join(dir, "..2")))
	expectNone(t, changes, "a swap to the same bytes")
	generation("..4", "history: 16\n")
	expect(t, changes, "the third swap")
}

func TestWatchLinkToAnotherDirectory(t *testing.T) {
	etc, opt, opt2 := t.TempDir(), t.TempDir(), t.TempDir()
	path := filepath.Join(etc, "fanfare.yaml")
	write(t, filepath.Join(opt, "a.yaml"), "history: 4\n")
	write(t, filepath.Join(opt2, "b.yaml"), "history: 8\n")
	must(t, os.Symlink(filepath.Join(opt, "a.yaml"), path))
	changes := startWatch(t, pathWatch(path))

	write(t, filepath.Join(opt, "a.yaml"), "history: 16\n")
	expectSome(t, changes, 2, "a write to what the link leads to")
	must(t, os.Symlink(filepath.Join(opt2, "b.yaml"), path+".new"))
	must(t, os.Rename(path+".new", path))
	expect(t, changes, "another link")
	write(t, filepath.Join(opt2, "b.yaml"), "history: 32\n")
	expectSome(t, changes, 2, "a write behind the other link")
	write(t, filepath.Join(opt, "a.yaml"), "history: 64\n")
	expectNone(t, changes, "a write to the file that is no longer meant")
}

func TestWatchOfAConfigSeesWhatChangedBefore(t *testing.T) {
	c, err := load(t, "history: 4\n", nil)
	must(t, err)
	write(t, c.File(), "history: 8\n") // between the load and the watch
	changes := startWatch(t, c.Watch)
	expect(t, changes, "the change before the watch")
	write(t, c.File(), "history: 16\n")
	expectSome(t, changes, 2, "a change in a relative path")
}

func TestWatchErrorsAndNothingToWatch(t *testing.T) {
	if _, err := Watch(t.Context(), filepath.Join(t.TempDir(), "none", "fanfare.yaml"), func() {}); err == nil {
		t.Error("no error for a directory that is not there")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done, err := Defaults().Watch(ctx, func() { t.Error("called") })
	must(t, err)
	cancel()
	<-done
}
