package config

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// watchQuiet is how long the directory must be quiet before the file is read: a truncate and the writes behind
	// it come as several events, and an empty file would be a valid configuration.
	watchQuiet = 200 * time.Millisecond
	// watchPatience bounds the wait in a directory that is never quiet.
	watchPatience = 2 * time.Second
)

// Watch calls onChange each time the bytes of the file at path are others than before, starting with the bytes that
// it has now. It returns when the watch is in place; done is closed when it has ended after ctx, and no call of
// onChange is under way or to come. onChange runs on the watch's goroutine, never twice at a time.
//
// The directory is watched, not the file, because editors replace files by renaming and Kubernetes swaps the ..data
// symlink of a mounted ConfigMap; where path is a symlink, the directory of what it leads to is watched as well.
// A file that is missing or unreadable counts as not changed. The error is that of the system (no directory,
// no inotify watch left); a reload by signal works without a watch.
func Watch(ctx context.Context, path string, onChange func()) (done <-chan struct{}, err error) {
	data, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("can't watch the configuration file: %w", err)
	}
	return watch(ctx, path, sha256.Sum256(data), onChange)
}

// Watch is the function Watch for the file that c was loaded from, starting with the bytes that it was loaded from:
// a change between the load and the watch is not missed. Without a file there is nothing to watch, and done is
// closed when ctx is.
func (c *Config) Watch(ctx context.Context, onChange func()) (done <-chan struct{}, err error) {
	if c.file == "" {
		return ctx.Done(), nil
	}
	return watch(ctx, c.file, c.sum, onChange)
}

func watch(ctx context.Context, path string, sum [32]byte, onChange func()) (<-chan struct{}, error) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("can't watch the configuration file: %w", err)
	}
	w := &watcher{fs: fs, path: path, sum: sum, onChange: onChange}
	if err := w.follow(); err != nil {
		return nil, errors.Join(fmt.Errorf("can't watch the configuration file: %w", err), fs.Close())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer fs.Close() // nothing to do about an error: the descriptor is gone either way
		w.run(ctx)
	}()
	return done, nil
}

// watcher is owned by its goroutine once that runs.
type watcher struct {
	fs       *fsnotify.Watcher
	path     string
	sum      [32]byte // of the bytes that onChange last heard of
	dirs     []string // watched, in the order of follow
	onChange func()
}

// follow watches the directories of path and of each symlink on the way to the file, and lets go of those that are
// no longer on it.
func (w *watcher) follow() error {
	first := filepath.Dir(w.path)
	if err := w.fs.Add(first); err != nil {
		return err
	}
	dirs := []string{first}
	next := w.path
	for range 16 { // a loop of links ends here
		target, err := os.Readlink(next)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(next), target)
		}
		next = target
		dirs = w.addDir(dirs, filepath.Dir(next))
	}
	if real, err := filepath.EvalSymlinks(w.path); err == nil { // links in the middle, such as ..data/file
		dirs = w.addDir(dirs, filepath.Dir(real))
	}
	for _, dir := range w.dirs {
		if !slices.Contains(dirs, dir) {
			_ = w.fs.Remove(dir) // fails when the directory is gone, and so is the watch then
		}
	}
	w.dirs = dirs
	return nil
}

func (w *watcher) addDir(dirs []string, dir string) []string {
	if slices.Contains(dirs, dir) || w.fs.Add(dir) != nil {
		return dirs // a directory that can't be watched: the link itself still is
	}
	return append(dirs, dir)
}

func (w *watcher) run(ctx context.Context) {
	// The first look finds what changed between the load and the watch.
	quiet := time.NewTimer(watchQuiet)
	defer quiet.Stop()
	waiting := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-w.fs.Events:
			if !ok {
				return
			}
			if waiting.IsZero() {
				waiting = time.Now()
			}
			quiet.Reset(max(0, min(watchQuiet, watchPatience-time.Since(waiting))))
		case _, ok := <-w.fs.Errors:
			if !ok {
				return
			}
			// The queue overflowed: events are lost, so that only a look at the file can tell.
			quiet.Reset(watchQuiet)
		case <-quiet.C:
			waiting = time.Time{}
			if w.look(); ctx.Err() != nil {
				return
			}
		}
	}
}

// look reports the file if its bytes are new.
func (w *watcher) look() {
	_ = w.follow() // fails when the directory is gone, and then there is no file to read either
	data, err := readFile(w.path)
	if err != nil {
		return
	}
	if sum := sha256.Sum256(data); sum != w.sum {
		w.sum = sum
		w.onChange()
	}
}
