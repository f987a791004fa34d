package redis

// stream is one Redis stream and the position up to which it was read. It outlives connections.
//
// Redis counts all entries ever added to a stream (entries-added, since version 7). The bridge keeps that count for the last
// entry that it has read. From the two it knows how many entries were trimmed before it could read them, or that none were.
// The ids alone do not tell: a stream that keeps a single entry loses the last entry read with each new one.
type stream struct {
	name, key  string
	last       entryID // of the last entry read; zero: read from the beginning
	count      int64   // entries ever added up to last, -1 if unknown
	first      entryID // the oldest entry at the last snapshot
	positioned bool    // last was set, and a snapshot was taken after it
	unread     bool    // there may be more entries after those of the last snapshot
	wrongType  bool    // the name is not a stream's
	batch      int     // entries to ask for
	lag        int64   // entries not read yet at the last snapshot, 0 if unknown
}

// Batches are sized to bring about batchBytes, by the size of the entries in the last one.
const (
	batchBytes = 1 << 20
	firstBatch = 16
	maxBatch   = 512
)

// advance moves the stream's position to the end of the snapshot's entries and returns them. It returns none if the stream is
// not the same one as before. gap reports whether entries were lost before them, and missed how many, -1 if unknown.
func (s *stream) advance(now snapshot) (entries []entry, gap bool, missed int64) {
	positioned := s.positioned
	s.positioned, s.wrongType = true, now.wrongType
	s.lag, s.unread = 0, false
	switch {
	case now.gone || now.wrongType:
		gap = !s.last.zero() // what was added since the last snapshot was deleted with it
		s.last, s.count, s.first = entryID{}, 0, entryID{}
		return nil, gap, -1
	case now.last.less(s.last) && s.sameBefore(now):
		s.last, s.count, s.first = now.last, now.added, now.first
		return nil, true, -1
	case now.last.less(s.last): // another stream of the same name: all of it is new
		s.last, s.count, s.first, s.unread = entryID{}, 0, entryID{}, true
		return nil, true, -1
	}
	if positioned {
		gap, missed = s.trimmed(now)
	}
	n := len(now.entries)
	switch {
	case n > 0:
		s.last = now.entries[n-1].id
	case gap:
		s.last = now.last // nothing is left of what was missed
	}
	removed := n > 0 && !now.deleted.less(now.entries[0].id) // XDEL may have removed some from among the entries
	switch {
	case s.last == now.last:
		s.count = now.added
	case s.count < 0 || missed < 0 || removed:
		s.count = -1
	default:
		s.count += missed + int64(n)
	}
	if now.added >= 0 && s.count >= 0 {
		s.lag = max(now.added-s.count, 0)
	}
	s.first, s.unread = now.first, n >= s.batch
	return now.entries, gap, missed
}

// sameBefore reports whether a stream that ends before the position is an earlier state of the stream that was read: a Redis
// that saves every second can lose its newest entries in a crash. Otherwise it is another stream of the same name. The
// oldest entry decides.
func (s *stream) sameBefore(now snapshot) bool {
	return now.length > 0 && (now.first == s.first || now.first.less(s.first) && now.added > now.length)
}

// trimmed reports whether entries after the position were removed before they were read, and how many, -1 if unknown.
func (s *stream) trimmed(now snapshot) (gap bool, missed int64) {
	switch {
	case s.last == now.last:
		return false, 0 // read to the end
	case now.added >= 0 && now.added < s.count+int64(len(now.entries)):
		return true, -1 // fewer were added than were read: it lost its end and then grew, or it is another stream
	case now.length > 0 && !s.last.less(now.first):
		return false, 0 // the last entry read, or one before it, still exists, and so do all that follow
	case now.added >= 0 && s.count >= 0 && (now.length == 0 || now.deleted.less(now.first)):
		missed = max(now.added-now.length-s.count, -1) // negative: the counts are of another stream
		return missed != 0, missed
	case s.last.zero():
		return false, 0 // nothing was read yet, and Redis does not say what the stream has lost
	}
	return true, -1
}

// sized sets the size of the next batch by the bytes of this one.
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
