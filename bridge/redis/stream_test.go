package redis

import "testing"

func TestEntryIDs(t *testing.T) {
	for _, text := range []string{"0-0", "1526919030474-55", "18446744073709551615-18446744073709551615"} {
		if id, ok := parseID(text); !ok || id.String() != text {
			t.Errorf("%s: %v, %v", text, id, ok)
		}
	}
	for _, text := range []string{"", "1", "1-", "-1", "1-2-3", "a-1", "1--1", "18446744073709551616-0"} {
		if id, ok := parseID(text); ok {
			t.Errorf("%s is %v", text, id)
		}
	}
	for _, pair := range [][2]string{{"0-0", "0-1"}, {"5-18446744073709551615", "6-0"}, {"5-3", "5-4"}} {
		a, _ := parseID(pair[0])
		b, _ := parseID(pair[1])
		if a.next() != b || b.before() != a || !a.less(b) || b.less(a) || a.less(a) {
			t.Errorf("%s and %s", pair[0], pair[1])
		}
	}
}

// at is an id for tests.
func at(n uint64) entryID { return entryID{ms: n} }

func entriesAt(ns ...uint64) (list []entry) {
	for _, n := range ns {
		list = append(list, entry{id: at(n)})
	}
	return list
}

func TestProgress(t *testing.T) {
	const unknown = -1
	read := stream{positioned: true, batch: 3, last: at(5), count: 5, first: at(1)}
	uncounted := stream{positioned: true, batch: 3, last: at(5), count: unknown, first: at(1)}
	fresh := stream{positioned: true, batch: 3}
	for _, test := range []struct {
		what   string
		s      stream
		l      snapshot
		n      int // entries to publish
		gap    bool
		missed int64
		last   entryID
		count  int64
		unread bool
	}{
		{"nothing new", read, snapshot{length: 5, added: 5, first: at(1), last: at(5)}, 0, false, 0, at(5), 5, false},
		{"news", read, snapshot{entries: entriesAt(6, 7), length: 7, added: 7, first: at(1), last: at(7)}, 2, false, 0, at(7), 7, false},
		{"a full batch", read, snapshot{entries: entriesAt(6, 7, 8), length: 9, added: 9, first: at(1), last: at(9)}, 3, false, 0, at(8), 8, true},
		{"trimmed up to what was read", read, snapshot{entries: entriesAt(6), length: 1, added: 6, first: at(6), last: at(6)}, 1, false, 0, at(6), 6, false},
		{"trimmed beyond it", read, snapshot{entries: entriesAt(9), length: 1, added: 9, first: at(9), last: at(9)}, 1, true, 3, at(9), 9, false},
		{"trimmed beyond it, more to come", read, snapshot{entries: entriesAt(9, 10, 11), length: 5, added: 13, first: at(9), last: at(13)}, 3, true, 3, at(11), 11, true},
		{"trimmed beyond it, and emptied", read, snapshot{length: 0, added: 9, last: at(9)}, 0, true, 4, at(9), 9, false},
		{"emptied", read, snapshot{length: 0, added: 5, last: at(5)}, 0, false, 0, at(5), 5, false},
		{"one that was read is deleted", read, snapshot{entries: entriesAt(6), length: 5, added: 6, first: at(1), last: at(6), deleted: at(3)}, 1, false, 0, at(6), 6, false},
		{"one that was not read is deleted", read, snapshot{entries: entriesAt(7), length: 6, added: 7, first: at(1), last: at(7), deleted: at(6)}, 1, false, 0, at(7), 7, false},
		{"trimmed, and one of the rest deleted", read, snapshot{entries: entriesAt(9), length: 1, added: 10, first: at(9), last: at(10), deleted: at(10)}, 1, true, -1, at(9), unknown, false},
		{"before Redis 7", uncounted, snapshot{entries: entriesAt(6), length: 6, added: unknown, first: at(1), last: at(6)}, 1, false, 0, at(6), unknown, false},
		{"before Redis 7, trimmed", uncounted, snapshot{entries: entriesAt(6), length: 1, added: unknown, first: at(6), last: at(6)}, 1, true, -1, at(6), unknown, false},
		{"before Redis 7, trimmed and emptied", uncounted, snapshot{added: unknown, last: at(6)}, 0, true, -1, at(6), unknown, false},
		{"the count comes back at the end", uncounted, snapshot{entries: entriesAt(6), length: 6, added: 6, first: at(1), last: at(6)}, 1, false, 0, at(6), 6, false},
		{"gone", read, snapshot{gone: true}, 0, true, -1, entryID{}, 0, false},
		{"not a stream", read, snapshot{wrongType: true}, 0, true, -1, entryID{}, 0, false},
		{"never there", fresh, snapshot{gone: true}, 0, false, -1, entryID{}, 0, false},
		{"new", fresh, snapshot{entries: entriesAt(1, 2), length: 2, added: 2, first: at(1), last: at(2)}, 2, false, 0, at(2), 2, false},
		{"new, trimmed before it was read", fresh, snapshot{entries: entriesAt(3), length: 1, added: 3, first: at(3), last: at(3)}, 1, true, 2, at(3), 3, false},
		{"made again, with greater ids", read, snapshot{entries: entriesAt(8, 9), length: 2, added: 2, first: at(8), last: at(9)}, 2, true, -1, at(9), 2, false},
		{"made again, with as many entries", read, snapshot{entries: entriesAt(6, 7, 8), length: 5, added: 5, first: at(6), last: at(10)}, 3, true, -1, at(8), unknown, true},
		{"made again, with lower ids", read, snapshot{length: 2, added: 2, first: at(2), last: at(3)}, 0, true, -1, entryID{}, 0, true},
		{"its end is lost", read, snapshot{length: 3, added: 3, first: at(1), last: at(3)}, 0, true, -1, at(3), 3, false},
		{"its end is lost, and it goes on", read, snapshot{entries: entriesAt(6), length: 4, added: 4, first: at(1), last: at(6)}, 1, true, -1, at(6), 4, false},
		{"its end is lost, and a trim", stream{positioned: true, batch: 3, last: at(5), count: 5, first: at(3)},
			snapshot{length: 2, added: 3, first: at(2), last: at(3)}, 0, true, -1, at(3), 3, false},
		{"just positioned", stream{batch: 3, last: at(2), count: unknown}, snapshot{entries: entriesAt(3), length: 1, added: 3, first: at(3), last: at(3)}, 1, false, 0, at(3), 3, false},
	} {
		s := test.s
		entries, gap, missed := s.advance(test.l)
		if !gap {
			missed = test.missed
		}
		if len(entries) != test.n || gap != test.gap || missed != test.missed || s.last != test.last || s.count != test.count || s.unread != test.unread || !s.positioned {
			t.Errorf("%s: %d entries, gap %v of %d; %+v", test.what, len(entries), gap, missed, s)
		}
		if _, again, _ := s.advance(snapshot{gone: test.l.gone, wrongType: test.l.wrongType, length: test.l.length, added: test.l.added,
			first: test.l.first, last: test.l.last, deleted: test.l.deleted}); again && !test.l.last.less(test.s.last) && !s.unread && s.last == test.l.last {
			t.Errorf("%s: told twice", test.what)
		}
	}
}

func TestBatchFollowsTheSizeOfEntries(t *testing.T) {
	s := stream{batch: firstBatch}
	for _, test := range []struct{ bytes, want int }{{10, maxBatch}, {1 << 10, 992}, {100 << 10, 10}, {64 << 20, 1}} {
		s.sized([]entry{{fields: []field{{"d", string(make([]byte, test.bytes))}}}})
		if s.batch != min(test.want, maxBatch) {
			t.Errorf("entries of %d bytes: batches of %d, want %d", test.bytes, s.batch, test.want)
		}
	}
	s.sized(nil)
	if s.batch != 1 {
		t.Errorf("no entries: batches of %d", s.batch)
	}
}
