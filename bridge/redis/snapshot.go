package redis

import (
	"fmt"

	"github.com/redis/rueidis"
)

// snapshot is what Redis says about a stream at one moment.
type snapshot struct {
	gone      bool // there is no such stream
	wrongType bool
	entries   []entry // the first ones after stream.last
	length    int64
	added     int64 // entries ever added, -1 before Redis 7
	first     entryID
	last      entryID // the greatest id ever given
	deleted   entryID // the greatest id that XDEL removed
}

// parseSnapshot reads the answers to XRANGE and XINFO STREAM.
func parseSnapshot(entries, info rueidis.RedisMessage) (l snapshot, err error) {
	if err := info.Error(); err != nil {
		re, ok := rueidis.IsRedisErr(err)
		switch {
		case ok && hasCode(re, "WRONGTYPE"):
			return snapshot{wrongType: true}, nil
		case ok && re.Error() == "no such key": // rueidis removes the ERR
			return snapshot{gone: true}, nil
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
