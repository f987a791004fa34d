package embedded

import (
	"io/fs"
	"path/filepath"
)

// Of the room that the log has or can have on the disk, retention may use keepPercent, and the server fillPercent: what is missing
// to 100 is for blocks that are written anew, the server's indexes, and other programs.
const (
	keepPercent = 75
	fillPercent = 95
)

// room returns how many bytes the log can have: what is free, and what it has. ok is false if nobody knows.
func room(dir string) (n int64, ok bool) {
	if n, ok = freeBytes(dir); !ok {
		return 0, false
	}
	_ = filepath.WalkDir(filepath.Join(dir, "jetstream"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // it is not there yet, or was removed meanwhile
		}
		if info, err := d.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	return n, true
}

// fit lowers the retention of a log that has not enough room on its disk: otherwise it would fill the disk, and refuse events
// instead of removing old ones. It returns the bytes that the server may use, 0 for its default.
func (o *Options) fit() (serverBytes int64) {
	bytes, ok := room(o.Dir)
	if !ok {
		return 0
	}
	most := bytes / 100 * keepPercent / int64(o.Log.Partitions)
	if o.Log.MaxBytes > most {
		o.Log.Logger.Warn("retentionBytes is more than the disk has room for: the log keeps less", "dataDir", o.Dir,
			"retentionBytes", o.Log.MaxBytes*int64(o.Log.Partitions), "keeps", most*int64(o.Log.Partitions))
		o.Log.MaxBytes = most
	}
	return bytes / 100 * fillPercent
}
