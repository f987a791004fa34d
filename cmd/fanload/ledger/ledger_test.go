//go:build linux

package ledger_test

import (
	"os"
	"syscall"
	"testing"

	"fanfare/cmd/fanload/ledger"
)

// TestShared: what one side writes, the other reads, each key by itself.
func TestShared(t *testing.T) {
	const keys = 1000
	mine, err := ledger.New(keys)
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	fd, err := syscall.Dup(int(mine.File().Fd())) // as another process has it
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := ledger.Open(os.NewFile(uintptr(fd), "copy"), keys)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	for key := range keys {
		mine.Sending(key, int64(key)+7)
		mine.Settle(key, int64(key)+5)
	}
	for key := range keys {
		if theirs.Sent(key) != int64(key)+7 || theirs.Settled(key) != int64(key)+5 {
			t.Fatalf("key %d: sent %d, settled %d", key, theirs.Sent(key), theirs.Settled(key))
		}
	}
}

// TestNone: a run that publishes nothing has no ledger.
func TestNone(t *testing.T) {
	var none *ledger.Ledger
	none.Sending(3, 1)
	none.Settle(3, 1)
	if none.Sent(3) != 0 || none.Settled(3) != 0 || none.Close() != nil {
		t.Error("it knows something")
	}
}
