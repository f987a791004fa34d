package redis

import (
	"math"
	"strconv"
	"strings"
)

// entryID is the id of a stream's entry: milliseconds and a sequence number. Ids only grow within a stream. The zero id is
// before any entry.
type entryID struct{ ms, seq uint64 }

func parseID(text string) (id entryID, ok bool) {
	ms, seq, ok := strings.Cut(text, "-")
	if !ok {
		return entryID{}, false
	}
	var err1, err2 error
	id.ms, err1 = strconv.ParseUint(ms, 10, 64)
	id.seq, err2 = strconv.ParseUint(seq, 10, 64)
	return id, err1 == nil && err2 == nil
}

func (id entryID) String() string {
	return strconv.FormatUint(id.ms, 10) + "-" + strconv.FormatUint(id.seq, 10)
}

func (id entryID) less(other entryID) bool {
	return id.ms < other.ms || id.ms == other.ms && id.seq < other.seq
}

func (id entryID) zero() bool { return id == entryID{} }

// next is the smallest id after id.
func (id entryID) next() entryID {
	if id.seq == math.MaxUint64 {
		return entryID{id.ms + 1, 0}
	}
	return entryID{id.ms, id.seq + 1}
}

// before is the greatest id before id. id must not be zero.
func (id entryID) before() entryID {
	if id.seq == 0 {
		return entryID{id.ms - 1, math.MaxUint64}
	}
	return entryID{id.ms, id.seq - 1}
}
