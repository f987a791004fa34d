package stream

import (
	"slices"
	"sync"
	"time"

	"fanfare/engine"
)

// subjects counts and knows the streams of each subject. It has an entry for each
// subject that has streams, so maxConnections bounds it.
//
// A stream counts from reserve, in Subscribe, until remove: at its end, or in Subscribe
// if another limit refuses it. It is counted also while there is no limit, so that a
// limit set by a reload applies to all streams. Between launch and its end it is also
// in the list of its subject.
type subjects struct {
	mu    sync.Mutex
	known map[string]*subject
	ended map[string]time.Time // when the streams of a subject were ended
}

// subject is the entry of a subject, under subjects.mu. Its streams share it.
type subject struct {
	n       int // streams
	streams []*Stream
}

// notBegun is details.place of a stream that is not in the list of its subject.
const notBegun = -1

// endedFor is how long it is remembered that a subject's streams were ended: longer
// than it takes from asking for a grant to the stream.
const endedFor = time.Minute

// reserve counts a stream with details d as one of its subject, or returns the limit if
// there are limit of them already; 0 is no limit.
func (s *subjects) reserve(d *details, limit int) (refused string) {
	if d == nil || d.subject == "" {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.known[d.subject]
	if of == nil {
		if s.known == nil {
			s.known = map[string]*subject{}
		}
		of = &subject{}
		s.known[d.subject] = of
	}
	if limit > 0 && of.n >= limit {
		return LimitSubject
	}
	of.n++
	d.counted = of
	return ""
}

// launch puts st into the list of its subject. It returns false if the subject's streams
// were ended after the grant was asked for: then st must end, too, or it would have
// slipped through between the two.
func (s *subjects) launch(st *Stream) bool {
	d := st.details
	if d == nil || d.counted == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d.place = len(d.counted.streams)
	d.counted.streams = append(d.counted.streams, st)
	at, ended := s.ended[d.subject]
	return !ended || d.asked.After(at)
}

// remove takes back what reserve and launch have done, once; nil for nothing.
func (s *subjects) remove(d *details) {
	if d == nil || d.counted == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	of := d.counted
	if d.place != notBegun {
		// A subject can have many streams: the last one takes the place of this one, so
		// that nothing is searched.
		last := len(of.streams) - 1
		of.streams[d.place] = of.streams[last]
		of.streams[d.place].details.place = d.place
		of.streams[last] = nil
		of.streams = of.streams[:last]
	}
	if of.n--; of.n == 0 {
		delete(s.known, d.subject)
	}
}

// end returns the streams of a subject, and remembers that they were ended.
func (s *subjects) end(name string) []*Stream {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, at := range s.ended {
		if now.Sub(at) > endedFor {
			delete(s.ended, name)
		}
	}
	if s.ended == nil {
		s.ended = map[string]time.Time{}
	}
	s.ended[name] = now
	if of := s.known[name]; of != nil {
		return slices.Clone(of.streams)
	}
	return nil
}

// Disconnect ends the streams of a subject, and returns how many there were.
func (h *Hub) Disconnect(subject string) (n int) {
	for _, st := range h.subjects.end(subject) {
		if st.sub.Close(engine.ReasonDisconnected) {
			n++
		}
	}
	return n
}

// Presence returns the subjects that have streams on a key, and how many each has. It
// visits the streams of the key.
func (h *Hub) Presence(key string) map[string]int {
	found := map[string]int{}
	for _, sink := range h.eng.Sinks(key) {
		// Subscribe has set the details before the engine knew the stream.
		if st, ok := sink.(*Stream); ok && st.details != nil && st.details.subject != "" && st.sub.Closing() == 0 {
			found[st.details.subject]++
		}
	}
	return found
}
