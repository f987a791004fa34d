package engine

// Past is an event that an engine keeps, with its position.
type Past struct {
	*Event
	Position
	// All says that it is an event of all keys, in log mode. Otherwise each key has its own copy.
	All bool
}

// Kept calls visit for the events of a key that the rings hold, the newest first, until visit returns false. In log mode the
// events of all keys are among them, of the same partition in the order of the log, otherwise by time. It does not create the
// key and does not count as a subscriber. Events that are published or dropped meanwhile may be left out.
func (e *Engine) Kept(name string, visit func(Past) bool) {
	var sources []*pastReader
	if k, ok := e.shard(name).Load(name); ok {
		sources = append(sources, newPastReader(k, false))
	}
	if e.log != nil {
		sources = append(sources, newPastReader(e.log.all, true))
	}
	for {
		// Take the newest one.
		var newest *pastReader
		for _, r := range sources {
			if r.event != nil && (newest == nil || r.newer(newest)) {
				newest = r
			}
		}
		if newest == nil || !visit(Past{newest.event, newest.position(), newest.all}) {
			return
		}
		newest.advance()
	}
}

// pastReader reads the ring of a key backwards.
type pastReader struct {
	key   *key
	all   bool
	part  *partition // nil without a log
	first uint64
	next  uint64
	event *Event // the newest one that was not visited
}

func newPastReader(k *key, all bool) *pastReader {
	r := &pastReader{key: k, all: all, first: k.firstKept(), next: k.tail()}
	if x := k.extra.Load(); x != nil {
		r.part = x.part
	}
	r.advance()
	return r
}

// advance reads the event before. Tombstones and what was lost meanwhile are passed.
func (r *pastReader) advance() {
	for r.event = nil; r.event == nil && r.next >= r.first && r.next > 0; r.next-- {
		r.event, _ = r.key.read(r.next)
	}
}

func (r *pastReader) position() Position {
	if r.part == nil {
		return Position{r.key.epoch, r.event.seq}
	}
	return r.part.position(r.event.pos())
}

func (r *pastReader) newer(than *pastReader) bool {
	return Newer(r.event, than.event, r.part == than.part)
}

// PartitionOf returns the partition of the log that has the events of a key, 0 without a log.
func (e *Engine) PartitionOf(key string) int {
	if e.log == nil {
		return 0
	}
	return e.log.of(key)
}
