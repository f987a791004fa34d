package sse

import (
	"bytes"
	"time"

	"github.com/tidwall/gjson"
)

// maxKeys bounds how many sequences a stream keeps apart by measure.key. Events of further keys are counted, and their
// latency is measured, but not their order.
const maxKeys = 10_000

// measure says where the payload of an event has what is measured: paths of members, as "seq" or "meta.seq".
type measure struct {
	sequence  string // a number that grows by one from event to event; "" measures no loss
	timestamp string // when the event was published, since 1970; "" measures no latency
	key       string // what sequence belongs to; "" if a stream has one sequence
	unit      time.Duration
}

// sequences is how far a stream has come: the newest sequence number for each key. The zero value has seen nothing.
type sequences struct {
	one  int64 // without keys
	seen bool
	keys map[string]int64
}

// look takes sequence and time of an event's data. Data that isn't a JSON object, or has none, measures nothing.
func (m *measure) look(data []byte, s *sequences) (published time.Time, lost, duplicate int64) {
	data = bytes.TrimLeft(data, " \t\r\n")
	if len(data) == 0 || data[0] != '{' {
		return published, 0, 0
	}
	if m.timestamp != "" {
		if ts := gjson.GetBytes(data, m.timestamp); ts.Type == gjson.Number && ts.Num > 0 {
			published = time.Unix(0, int64(ts.Num*float64(m.unit)))
			if n := ts.Int(); float64(n) == ts.Num {
				published = time.Unix(0, n*int64(m.unit))
			}
		}
	}
	if m.sequence == "" {
		return published, 0, 0
	}
	seq := gjson.GetBytes(data, m.sequence)
	if seq.Type != gjson.Number {
		return published, 0, 0
	}
	var key string
	if m.key != "" {
		key = gjson.GetBytes(data, m.key).String()
	}
	lost, duplicate = s.next(key, seq.Int())
	return published, lost, duplicate
}

// next notes a sequence number. The first one of a key is where counting begins; what is lower than the newest is a
// duplicate: a stream is in order.
func (s *sequences) next(key string, seq int64) (lost, duplicate int64) {
	last, seen := s.one, s.seen
	if key != "" {
		last, seen = s.keys[key]
	}
	switch {
	case !seen && key != "" && len(s.keys) >= maxKeys:
		return 0, 0
	case seen && seq <= last:
		return 0, 1
	case seen:
		lost = seq - last - 1
	}
	if key == "" {
		s.one, s.seen = seq, true
		return lost, 0
	}
	if s.keys == nil {
		s.keys = make(map[string]int64)
	}
	s.keys[key] = seq
	return lost, 0
}
