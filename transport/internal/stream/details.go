package stream

import (
	"slices"
	"sync"
	"time"

	"fanfare/transport/internal/clientlog"
)

// details are what only some streams have, so that the others need no memory for
// it. They do not change, except where it is said.
type details struct {
	remote, agent string
	keys          []string
	subject       string    // of the grant, "" if unknown
	expires       time.Time // of the grant; zero for never
	asked         time.Time // when the grant was asked for
	address       *address  // nil without Config.MaxPerAddress
	logged        bool      // Config.AccessLog was set
	hooked        bool      // Config.OnConnect or OnDisconnect was set

	events, bytes uint64 // written; of the stream's owner
}

// newDetails returns nil if there is nothing to note.
func newDetails(req Request, c *Config) *details {
	d := &details{logged: c.AccessLog, hooked: c.OnConnect != nil || c.OnDisconnect != nil, subject: req.Subject, expires: req.Expires}
	if !d.logged && !d.hooked && d.subject == "" && d.expires.IsZero() && c.MaxPerAddress <= 0 {
		return nil
	}
	d.remote, d.agent, d.keys, d.asked = req.Remote, req.Agent, req.Keys, req.Asked
	return d
}

// count counts events that were written.
func (d *details) count(events, bytes int) {
	if d != nil {
		d.events += uint64(events)
		d.bytes += uint64(bytes)
	}
}

// expired reports whether the grant of the stream has expired.
func (d *details) expired(now time.Time) bool {
	return d != nil && !d.expires.IsZero() && !now.Before(d.expires)
}

// Info is what hooks are told about a stream.
type Info struct {
	Keys    []string
	Subject string // of the grant, "" if unknown
	Remote  string // the client's address
	Agent   string // User-Agent, cut
}

func (d *details) info() Info {
	return Info{Keys: d.keys, Subject: d.subject, Remote: d.remote, Agent: d.agent}
}

// logEnd logs the line of a stream, and calls the hook. Owner only.
func (st *Stream) logEnd(reason string) {
	d, h := st.details, st.hub
	if d == nil {
		return
	}
	c := h.config.Load()
	lasted := time.Duration(h.clock.Load()-st.opened) * time.Millisecond
	if d.logged && c.AccessLog { // both, since the setting may have changed
		h.log.Info("stream ended", "reason", reason, "remote", d.remote, "keys", clientlog.Keys(d.keys), "agent", d.agent, "subject", clientlog.CutTo(d.subject, maxSubject),
			"events", d.events, "bytes", d.bytes, "lag", st.sub.Lag(), "seconds", lasted.Seconds())
	}
	if d.hooked && c.OnDisconnect != nil {
		c.OnDisconnect(d.info(), reason, lasted)
	}
}

// maxSubject bounds a subject in a log line, in bytes.
const maxSubject = 64

// subjects knows the streams of each subject.
type subjects struct {
	mu      sync.Mutex
	streams map[string][]*Stream
	ended   map[string]time.Time // when the streams of a subject were ended
}

// endedFor is how long it is remembered that a subject's streams were ended: longer
// than it takes from asking for a grant to the stream.
const endedFor = time.Minute

// add makes st one of its subject's. It returns false if the subject's streams were
// ended after the grant was asked for: then st must end, too, or it would have
// slipped through between the two.
func (s *subjects) add(st *Stream) bool {
	d := st.details
	if d == nil || d.subject == "" {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams == nil {
		s.streams = map[string][]*Stream{}
	}
	s.streams[d.subject] = append(s.streams[d.subject], st)
	at, ended := s.ended[d.subject]
	return !ended || d.asked.After(at)
}

// end returns the streams of a subject, and remembers that they were ended.
func (s *subjects) end(subject string) []*Stream {
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
	s.ended[subject] = now
	return slices.Clone(s.streams[subject])
}

func (s *subjects) remove(st *Stream) {
	if st.details == nil || st.details.subject == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.streams[st.details.subject]
	if i := slices.Index(list, st); i >= 0 {
		list[i] = list[len(list)-1]
		list[len(list)-1] = nil
		list = list[:len(list)-1]
	}
	if len(list) == 0 {
		delete(s.streams, st.details.subject)
	} else {
		s.streams[st.details.subject] = list
	}
}

// on returns the subjects that have streams on a key, and how many each has.
func (s *subjects) on(key string) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[string]int{}
	for subject, list := range s.streams {
		for _, st := range list {
			if st.sub.Closing() == 0 && slices.Contains(st.details.keys, key) {
				found[subject]++
			}
		}
	}
	return found
}
