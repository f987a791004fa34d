package redis

import (
	"fmt"

	"github.com/redis/rueidis"
)

// stream is one Redis stream and how far it was read. It outlives connections.
//
// Redis counts what was ever added to a stream (entries-added, since version 7). With the count at the last entry read,
// the number of entries that were trimmed before they could be read is known, and that there were none: a stream that
// keeps a single entry loses the last one read with each new one.
type stream struct {
	name, key string
	last      entryID // of the last entry read; zero: all are to be read
	count     int64   // entries added up to last, -1 if that isn't known
	first     entryID // the oldest entry that was there when last looked at
	placed    bool    // last was chosen, and a look taken from there
	unread    bool    // there is more than the last look has brought
	wrongType bool    // the name is not a stream's
	batch     int     // entries to ask for
	behind    int64   // entries not read yet at the last look, 0 if that isn't known
}

// A batch is aimed at this many bytes, in steps of what the last one brought.
const (
	batchBytes = 1 << 20
	firstBatch = 16
	maxBatch   = 512
)

// look is what Redis says of a stream at one moment.
type look struct {
	gone      bool // there is no such stream
	wrongType bool
	entries   []entry // the first ones behind stream.last
	length    int64
	added     int64 // entries ever added, -1 before Redis 7
	first     entryID
	last      entryID // the greatest id ever given
	deleted   entryID // the greatest that XDEL removed
}

type entry struct {
	id     entryID
	fields []field
}

// size is about what an entry takes in memory, in bytes.
func (e entry) size() (n int) {
	for _, f := range e.fields {
		n += len(f.name) + len(f.value) + 32
	}
	return n
}

// progress takes in a look: it moves the stream's position behind the entries of the look, and returns them, unless the
// stream isn't the one that it was. gap reports whether something is missing before them, and missed how much, -1 if
// nobody knows.
func (s *stream) progress(l look) (entries []entry, gap bool, missed int64) {
	placed := s.placed
	s.placed, s.wrongType = true, l.wrongType
	s.behind, s.unread = 0, false
	switch {
	case l.gone || l.wrongType:
		gap = !s.last.zero() // what was added since the last look went with it
		s.last, s.count, s.first = entryID{}, 0, entryID{}
		return nil, gap, -1
	case l.last.less(s.last) && s.sameBefore(l):
		s.last, s.count, s.first = l.last, l.added, l.first
		return nil, true, -1
	case l.last.less(s.last): // another stream of the same name: all of it is new
		s.last, s.count, s.first, s.unread = entryID{}, 0, entryID{}, true
		return nil, true, -1
	}
	if placed {
		gap, missed = s.trimmed(l)
	}
	n := len(l.entries)
	switch {
	case n > 0:
		s.last = l.entries[n-1].id
	case gap:
		s.last = l.last // nothing is left of what was missed
	}
	removed := n > 0 && !l.deleted.less(l.entries[0].id) // by XDEL, perhaps from among the entries
	switch {
	case s.last == l.last:
		s.count = l.added
	case s.count < 0 || missed < 0 || removed:
		s.count = -1
	default:
		s.count += missed + int64(n)
	}
	if l.added >= 0 && s.count >= 0 {
		s.behind = max(l.added-s.count, 0)
	}
	s.first, s.unread = l.first, n >= s.batch
	return l.entries, gap, missed
}

// sameBefore reports whether a stream whose last entries are gone is the one that was read, as it was a while ago: a
// Redis that saves every second can lose its newest entries in a crash. It is not if its oldest entry says otherwise.
func (s *stream) sameBefore(l look) bool {
	return l.length > 0 && (l.first == s.first || l.first.less(s.first) && l.added > l.length)
}

// trimmed reports whether entries behind the position were removed before they were read, and how many, -1 if nobody
// knows.
func (s *stream) trimmed(l look) (gap bool, missed int64) {
	switch {
	case s.last == l.last:
		return false, 0 // read to the end
	case l.added >= 0 && l.added < s.count+int64(len(l.entries)):
		return true, -1 // fewer were added than were read: it has lost its end, and gone on since, or it is another stream
	case l.length > 0 && !s.last.less(l.first):
		return false, 0 // the last one read, or something before it, is still there: all that follows is too
	case l.added >= 0 && s.count >= 0 && (l.length == 0 || l.deleted.less(l.first)):
		missed = max(l.added-l.length-s.count, -1) // less than 0: of another stream
		return missed != 0, missed
	case s.last.zero():
		return false, 0 // nothing of it was read yet, and Redis doesn't say what it has lost
	}
	return true, -1
}

// sized adapts the next batch to the bytes that this one had.
func (s *stream) sized(entries []entry) {
	if len(entries) == 0 {
		return
	}
	bytes := 0
	for _, e := range entries {
		bytes += e.size()
	}
	s.batch = min(max(batchBytes/(bytes/len(entries)+1), 1), maxBatch)
}

// parseLook reads the answers to XRANGE and XINFO STREAM.
func parseLook(entries, info rueidis.RedisMessage) (l look, err error) {
	if err := info.Error(); err != nil {
		re, ok := rueidis.IsRedisErr(err)
		switch {
		case ok && hasCode(re, "WRONGTYPE"):
			return look{wrongType: true}, nil
		case ok && re.Error() == "no such key": // rueidis has taken the ERR away
			return look{gone: true}, nil
		}
		return l, err
	}
	if l.entries, err = parseEntries(entries); err != nil {
		return l, err
	}
	m, err := info.AsMap()
	if err != nil {
		return l, err
	}
	number := func(name string) int64 {
		v := m[name]
		n, numberErr := v.AsInt64()
		if numberErr != nil {
			return -1
		}
		return n
	}
	id := func(name string) entryID {
		v := m[name]
		text, _ := v.ToString()
		id, _ := parseID(text)
		return id
	}
	l.length, l.added = number("length"), number("entries-added")
	l.last, l.deleted = id("last-generated-id"), id("max-deleted-entry-id")
	if first := m["first-entry"]; !first.IsNil() {
		e, err := parseEntry(first)
		if err != nil {
			return l, err
		}
		l.first = e.id
	}
	return l, nil
}

func parseEntries(m rueidis.RedisMessage) ([]entry, error) {
	list, err := m.ToArray()
	if err != nil {
		return nil, err
	}
	entries := make([]entry, 0, len(list))
	for i := range list {
		e, err := parseEntry(list[i])
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func parseEntry(m rueidis.RedisMessage) (e entry, err error) {
	slice, err := m.AsXRangeSlice()
	if err != nil {
		return e, err
	}
	var ok bool
	if e.id, ok = parseID(slice.ID); !ok {
		return e, fmt.Errorf("redis: %q is not the id of an entry", slice.ID)
	}
	e.fields = make([]field, len(slice.FieldValues))
	for i, f := range slice.FieldValues {
		e.fields[i] = field{f.Field, f.Value}
	}
	return e, nil
}
