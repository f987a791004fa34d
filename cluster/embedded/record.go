package embedded

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// state is what one run tells the next.
type state struct {
	// Version counts the writes of the record.
	Version uint64 `json:"version"`
	// Boot is the start of the machine in which the process ran.
	Boot string `json:"boot"`
	// Running says that the process has not ended by Close.
	Running bool `json:"running"`
	// Fsync is how safe events were.
	Fsync string `json:"fsync"`
	// Stream is the name of the log.
	Stream string `json:"stream"`
	// Last has the newest confirmed sequence of each partition.
	Last []uint64 `json:"last"`
	// Unsynced says which partitions need a new epoch and have not got it.
	Unsynced []bool `json:"unsynced"`
}

// slotSize is the size of each of the two slots of a record. The state of 1,024 partitions fits.
const slotSize = 64 << 10

// recordFile is a file with two slots. Writes alternate, so one of them is whole if the machine loses power while the other is
// written. A slot has a CRC-32 and a length of four bytes each, and a state as JSON.
type recordFile struct {
	mu    sync.Mutex
	f     *os.File
	state state
}

// openRecord opens a record, or makes one without a state.
func openRecord(name string) (*recordFile, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	r := &recordFile{f: f}
	for slot := range int64(2) {
		s, ok, err := r.get(slot)
		if err != nil {
			_ = f.Close()
			return nil, err
		}
		if ok && s.Version > r.state.Version {
			r.state = s
		}
	}
	if err := syncFolder(filepath.Dir(name)); err != nil {
		_ = f.Close()
		return nil, err
	}
	return r, nil
}

// get reads a slot. ok is false if it is empty or torn.
func (r *recordFile) get(slot int64) (s state, ok bool, err error) {
	b := make([]byte, slotSize)
	n, err := r.f.ReadAt(b, slot*slotSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return s, false, err
	}
	if n < 8 {
		return s, false, nil
	}
	sum, size := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	if int64(size)+8 > int64(n) || crc32.ChecksumIEEE(b[4:8+size]) != sum {
		return s, false, nil
	}
	err = json.Unmarshal(b[8:8+size], &s)
	return s, err == nil, nil
}

// put writes a state.
func (r *recordFile) put(s state, sync bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Version = r.state.Version + 1
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if len(text)+8 > slotSize {
		return fmt.Errorf("%s: a state of %d bytes does not fit", r.f.Name(), len(text))
	}
	b := make([]byte, 8, 8+len(text))
	b = append(b, text...)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(text)))
	binary.LittleEndian.PutUint32(b, crc32.ChecksumIEEE(b[4:]))
	if _, err := r.f.WriteAt(b, int64(s.Version%2)*slotSize); err != nil {
		return err
	}
	r.state = s
	if sync {
		return r.f.Sync()
	}
	return nil
}

func (r *recordFile) close() error { return r.f.Close() }
