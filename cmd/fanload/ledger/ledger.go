//go:build linux

package ledger

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ledger has two numbers for each key. Only the publisher writes them, and they only grow. A reader gets the value of some
// moment during its call. A nil Ledger knows nothing.
type Ledger struct {
	keys []account
	mem  []byte
	file *os.File
}

type account struct {
	sent    atomic.Int64 // the newest sequence whose request may have been written in part
	settled atomic.Int64 // the newest sequence that is answered together with all before it
}

// New makes a ledger for a number of keys. Call Close when it is no longer used.
func New(keys int) (*Ledger, error) {
	fd, err := unix.MemfdCreate("fanload-ledger", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memory for the ledger: %w", err)
	}
	file := os.NewFile(uintptr(fd), "fanload-ledger")
	if err := file.Truncate(int64(keys) * int64(unsafe.Sizeof(account{}))); err != nil {
		return nil, errors.Join(fmt.Errorf("memory for the ledger: %w", err), file.Close())
	}
	return Open(file, keys)
}

// Open opens the ledger of another process by its file. Close closes the file.
func Open(file *os.File, keys int) (*Ledger, error) {
	mem, err := unix.Mmap(int(file.Fd()), 0, keys*int(unsafe.Sizeof(account{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("memory of the ledger: %w", err), file.Close())
	}
	// Safety: mem begins at a page, has the length of that many accounts, and is mapped until Close.
	all := unsafe.Slice((*account)(unsafe.Pointer(&mem[0])), keys)
	return &Ledger{keys: all, mem: mem, file: file}, nil
}

// File is the file that another process opens.
func (l *Ledger) File() *os.File { return l.file }

// Close releases the memory. The ledger must not be used afterwards.
func (l *Ledger) Close() error {
	if l == nil {
		return nil
	}
	l.keys = nil
	return errors.Join(unix.Munmap(l.mem), l.file.Close())
}

// Sending records that a sequence of a key is about to be sent.
func (l *Ledger) Sending(key int, seq int64) {
	if l != nil {
		l.keys[key].sent.Store(seq)
	}
}

// Settle records that a sequence of a key and all before it are answered, or will never be.
func (l *Ledger) Settle(key int, seq int64) {
	if l != nil {
		l.keys[key].settled.Store(seq)
	}
}

// Sent returns the newest sequence of a key that a subscriber who joins now may have missed. It must get everything later.
func (l *Ledger) Sent(key int) int64 {
	if l == nil {
		return 0
	}
	return l.keys[key].sent.Load()
}

// Settled returns the newest sequence of a key that the server has answered together with all before it.
func (l *Ledger) Settled(key int) int64 {
	if l == nil {
		return 0
	}
	return l.keys[key].settled.Load()
}
