package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// recordInterval is how often the newest confirmed sequences are written to the record. It is not synced: it is for files that
// are damaged or truncated, and a loss of power is noticed by the boot.
const recordInterval = 100 * time.Millisecond

// disk is what the log knows of the server's files, see nats.Disk.
//
// Publishes and readers that wait for the disk share one fsync (FsyncGroup):
//
//	Sync:  note what was acknowledged; join the next group; wake run; wait for the group
//	Await: return if a sync has covered the entry; otherwise as Sync
//	run:   take the next group, so that later callers make another, and what was noted; sync the files; note what is synced;
//	       release those who wait
//
// The server has written a message to its file before it acknowledges or delivers it, and Sync and Await are called after that.
// So a sync that begins after they have joined the group covers the message. A client gets no event that a loss of power can take
// back, so sequences that clients have are not given to other events.
type disk struct {
	o      Options
	log    *slog.Logger
	record *recordFile

	mu       sync.Mutex
	next     *group   // those who wait for the next sync
	seen     []uint64 // of each partition: the newest sequence that the server has acknowledged or delivered
	synced   []uint64 // of each partition: what is on disk for certain
	last     []uint64
	unsynced []bool
	changed  bool  // last or unsynced differ from the record
	failure  error // why events cannot be stored now

	folders []folder // of each partition. Owned by run, and by Opened before and end after it.

	wake chan struct{} // has room for one
	stop chan struct{}
	done sync.WaitGroup
}

// folder is what is known of the blocks of a stream.
type folder struct {
	synced int // the newest block when it was synced last
	newest int
	mtime  time.Time // of the folder when it was listed, zero if that was too soon after a change
}

// tick is more than the granularity of a folder's time: within it another change may leave the time as it is.
const tick = 100 * time.Millisecond

// group is a number of callers that wait for one sync.
type group struct {
	partitions []bool
	covers     []uint64      // seen when the sync began
	done       chan struct{} // closed when err is set
	err        error
}

var errClosed = errors.New("the log is closed")

// openDisk reads the record of the last run.
func openDisk(o Options) (*disk, error) {
	d := &disk{
		o: o, log: o.Log.Logger, last: make([]uint64, o.Log.Partitions),
		seen: make([]uint64, o.Log.Partitions), synced: make([]uint64, o.Log.Partitions), unsynced: make([]bool, o.Log.Partitions),
		folders: make([]folder, o.Log.Partitions), wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	d.next = d.newGroup()
	var err error
	d.record, err = openRecord(filepath.Join(o.Dir, "record"))
	if err != nil {
		return nil, fmt.Errorf("dataDir %s: %w", o.Dir, err)
	}
	return d, nil
}

func (d *disk) newGroup() *group {
	return &group{partitions: make([]bool, d.o.Log.Partitions), covers: make([]uint64, d.o.Log.Partitions), done: make(chan struct{})}
}

// Opened compares what the streams have with what the last run has confirmed, and writes down that this run has begun.
func (d *disk) Opened(last []uint64) error {
	old := d.record.state
	if old.Stream != d.o.Log.Stream {
		old = state{Boot: old.Boot, Running: old.Running, Fsync: old.Fsync, Version: old.Version}
	}
	power := old.Running && (old.Boot == "" || old.Boot != bootID()) && old.Fsync == FsyncInterval.String()
	d.mu.Lock()
	for p, seq := range last {
		d.last[p] = seq
		if p < len(old.Last) && old.Last[p] > seq {
			d.log.Error("the log has lost events that were confirmed: its files are damaged, or older ones were put back. A new epoch begins",
				"stream", d.o.Log.StreamName(p), "confirmed", old.Last[p], "has", seq)
			d.unsynced[p] = true
		}
		if power && seq > 0 {
			d.log.Warn("the machine has lost power: the events of the last interval may be lost. A new epoch begins", "stream", d.o.Log.StreamName(p), "newest", seq)
			d.unsynced[p] = true
		}
		if p < len(old.Unsynced) && old.Unsynced[p] {
			d.unsynced[p] = true // noticed before, and the process ended before the new epoch
		}
		if old.Version == 0 && seq > 0 { // there was no record
			d.log.Warn("the directory has a log but no record of what was confirmed. A new epoch begins", "stream", d.o.Log.StreamName(p))
			d.unsynced[p] = true
		}
	}
	d.mu.Unlock()
	for p, seq := range last {
		if err := d.syncStream(p); err != nil {
			return err
		}
		d.seen[p], d.synced[p] = seq, seq
	}
	return d.write(true)
}

// begin starts what runs beside the log.
func (d *disk) begin() {
	d.done.Go(d.run)
}

// end stops it and notes a clean end.
func (d *disk) end() {
	close(d.stop)
	d.done.Wait()
	all := d.newGroup()
	for p := range all.partitions {
		all.partitions[p] = true
	}
	d.syncGroup(all)
	running := false
	if all.err != nil {
		d.log.Error("the log could not be written to the disk", "err", all.err)
		running = true
	}
	if err := d.write(running); err != nil {
		d.log.Error("the record of the log could not be written", "err", err)
	}
	_ = d.record.close()
}

// abandon closes the record without a change.
func (d *disk) abandon() { _ = d.record.close() }

// Sync returns when everything that was acknowledged is on disk (FsyncGroup).
func (d *disk) Sync(acked []uint64) error {
	if d.o.Fsync != FsyncGroup {
		return nil
	}
	d.mu.Lock()
	for p, seq := range acked {
		if seq > 0 {
			d.joinLocked(p, seq)
		}
	}
	g := d.next
	d.mu.Unlock()
	return d.await(g)
}

// Await returns when the entry is on disk (FsyncGroup).
func (d *disk) Await(partition int, seq uint64) error {
	if d.o.Fsync != FsyncGroup {
		return nil
	}
	d.mu.Lock()
	if seq <= d.synced[partition] {
		d.mu.Unlock()
		return nil // fast path
	}
	d.joinLocked(partition, seq)
	g := d.next
	d.mu.Unlock()
	return d.await(g)
}

// joinLocked makes the next sync cover the entry.
func (d *disk) joinLocked(partition int, seq uint64) {
	d.next.partitions[partition] = true
	d.seen[partition] = max(d.seen[partition], seq)
}

// await wakes run and waits for the group.
func (d *disk) await(g *group) error {
	select {
	case d.wake <- struct{}{}:
	default:
	}
	select {
	case <-g.done:
		return g.err
	case <-d.stop:
		return errClosed
	}
}

// Err returns why events cannot be stored now, or nil.
func (d *disk) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failure
}

func (d *disk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failure = err
}

// Unsynced reports whether the partition needs a new epoch.
func (d *disk) Unsynced(partition int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.unsynced[partition]
}

// Stored is called when an entry has been confirmed. A new epoch ends what Unsynced says.
func (d *disk) Stored(partition int, seq uint64, epoch bool) {
	d.mu.Lock()
	d.last[partition] = max(d.last[partition], seq)
	d.changed = true
	begun := epoch && d.unsynced[partition]
	if begun {
		d.unsynced[partition] = false
	}
	d.mu.Unlock()
	if begun {
		if err := d.write(true); err != nil {
			d.log.Error("the record of the log could not be written", "err", err)
		}
	}
}

// run syncs for those who wait, and keeps the record.
func (d *disk) run() {
	ticker := time.NewTicker(recordInterval)
	defer ticker.Stop()
	for {
		select {
		case <-d.wake:
			d.mu.Lock()
			g := d.next
			d.next = d.newGroup()
			copy(g.covers, d.seen)
			d.mu.Unlock()
			d.syncGroup(g)
		case <-ticker.C:
			d.mu.Lock()
			state, changed := d.state(true), d.changed
			d.changed = false
			d.mu.Unlock()
			if changed {
				if err := d.record.put(state, false); err != nil {
					d.log.Error("the record of the log could not be written", "err", err)
				}
			}
		case <-d.stop:
			return
		}
	}
}

func (d *disk) syncGroup(g *group) {
	for p, stored := range g.partitions {
		if !stored {
			continue
		}
		err := d.syncBlocks(p)
		d.mu.Lock()
		if err != nil {
			g.err = errors.Join(g.err, err)
			d.unsynced[p] = true // the kernel may have dropped what it could not write
			d.changed = true
		} else {
			d.synced[p] = max(d.synced[p], g.covers[p])
		}
		d.mu.Unlock()
	}
	close(g.done)
}

// syncBlocks syncs the block that was the newest at the last sync, and all after it: the server goes on to another block when one
// is full, and may have done so several times.
func (d *disk) syncBlocks(p int) error {
	path, f := blocks(d.o.Dir, d.o.Log.StreamName(p)), &d.folders[p]
	if err := f.look(path); err != nil {
		return err
	}
	for n := f.synced; n <= f.newest; n++ {
		// A block that is gone was removed by retention or a purge.
		if err := syncFile(filepath.Join(path, strconv.Itoa(n)+".blk")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if f.newest > f.synced { // its name is new
		if err := syncFolder(path); err != nil {
			return err
		}
		f.synced = f.newest
	}
	return nil
}

// look finds the newest block. It lists the folder only if a name was added or removed since the last time: a large log has
// thousands of blocks.
func (f *folder) look(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !f.mtime.IsZero() && info.ModTime().Equal(f.mtime) {
		return nil
	}
	_, newest, ok, err := blockRange(path)
	if err != nil {
		return err
	}
	if ok {
		f.newest = newest
	}
	f.mtime = time.Time{}
	if time.Since(info.ModTime()) > tick {
		f.mtime = info.ModTime()
	}
	return nil
}

// syncStream syncs the files and folders of a stream. The last run may have left blocks that are not on disk: it was killed, or
// had another setting.
func (d *disk) syncStream(p int) error {
	path := blocks(d.o.Dir, d.o.Log.StreamName(p))
	oldest, _, _, err := blockRange(path)
	if err != nil {
		return err
	}
	d.folders[p].synced = oldest
	if err := d.syncBlocks(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, name := range []string{"meta.inf", "meta.sum"} {
		if err := syncFile(filepath.Join(filepath.Dir(path), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for ; len(path) >= len(filepath.Clean(d.o.Dir)); path = filepath.Dir(path) {
		if err := syncFolder(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// state is what the record says now. Called with mu.
func (d *disk) state(running bool) state {
	return state{
		Boot: bootID(), Running: running, Fsync: d.o.Fsync.String(), Stream: d.o.Log.Stream,
		Last: append([]uint64(nil), d.last...), Unsynced: append([]bool(nil), d.unsynced...),
	}
}

// write writes the record and syncs it.
func (d *disk) write(running bool) error {
	d.mu.Lock()
	s := d.state(running)
	d.changed = false
	d.mu.Unlock()
	return d.record.put(s, true)
}

func syncFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return syncData(f)
}

// syncFolder makes new names in a folder safe. Windows does so by itself.
func syncFolder(name string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
