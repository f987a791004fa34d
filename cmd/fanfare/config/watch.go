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
	// watchQuiet is how long the directory must be quiet before the file is read. A truncate and the writes after it are
	// several events, and the empty file between them would be a valid configuration.
	watchQuiet = 200 * time.Millisecond
	// watchPatience bounds that wait in a directory that is never quiet.
	watchPatience = 2 * time.Second
)

// Watch calls onChange each time the bytes of the file at path have changed, starting from its current bytes. It returns when
// the watch is in place. After ctx is done the watch ends; done is closed when it has ended and no call of onChange is running
// or will follow. onChange runs in the goroutine of the watch, so calls never overlap.
//
// Watch watches the directory and not the file, because editors replace files by renaming, and Kubernetes swaps the ..data
// symlink of a mounted ConfigMap. If path is a symlink, the directory of its target is watched as well. A file that is
// missing or unreadable counts as unchanged. The error is that of the system (no such directory, no inotify watch left); a
// reload by signal works without a watch.
func Watch(ctx context.Context, path string, onChange func()) (done <-chan struct{}, err error) {
	data, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot watch the configuration file: %w", err)
	}
	return watch(ctx, path, sha256.Sum256(data), onChange)
}

// Watch watches the file that c was loaded from, like the function Watch. It starts from the bytes that were loaded, so a
// change between the load and the watch is not missed. Without a file there is nothing to watch, and done is ctx.Done().
func (c *Config) Watch(ctx context.Context, onChange func()) (done <-chan struct{}, err error) {
	if c.file == "" {
		return ctx.Done(), nil
	}
	return watch(ctx, c.file, c.sum, onChange)
}

func watch(ctx context.Context, path string, sum [32]byte, onChange func()) (<-chan struct{}, error) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("cannot watch the configuration file: %w", err)
	}
	w := &watcher{fs: fs, path: path, sum: sum, onChange: onChange}
	if err := w.follow(); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot watch the configuration file: %w", err), fs.Close())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer fs.Close() // an error can be ignored: the descriptor is closed in any case
		w.run(ctx)
	}()
	return done, nil
}

// watcher belongs to its goroutine once that is running.
type watcher struct {
	fs       *fsnotify.Watcher
	path     string
	sum      [32]byte // of the bytes at the last onChange
	dirs     []string // watched, in the order of follow
	onChange func()
}

// follow watches the directory of path and of each symlink on the way to the file. It stops watching directories that are no
// longer on that way.
func (w *watcher) follow() error {
	first := filepath.Dir(w.path)
	if err := w.fs.Add(first); err != nil {
		return err
	}
	dirs := []string{first}
	next := w.path
	for range 16 { // bounds a cycle of links
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
			_ = w.fs.Remove(dir) // fails if the directory no longer exists; then the watch does not either
		}
	}
	w.dirs = dirs
	return nil
}

func (w *watcher) addDir(dirs []string, dir string) []string {
	if slices.Contains(dirs, dir) || w.fs.Add(dir) != nil {
		return dirs // a directory that cannot be watched; the link itself still is
	}
	return append(dirs, dir)
}

func (w *watcher) run(ctx context.Context) {
	// The first check detects a change between the load and the watch.
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
			// The queue has overflowed and events were lost: check the file.
			quiet.Reset(watchQuiet)
		case <-quiet.C:
			waiting = time.Time{}
			if w.check(); ctx.Err() != nil {
				return
			}
		}
	}
}

// check calls onChange if the bytes of the file have changed.
func (w *watcher) check() {
	_ = w.follow() // fails if the directory no longer exists; then the file cannot be read either
	data, err := readFile(w.path)
	if err != nil {
		return
	}
	if sum := sha256.Sum256(data); sum != w.sum {
		w.sum = sum
		w.onChange()
	}
}
