package sse

import (
	"bytes"
	"time"

	"github.com/tidwall/gjson"
)

// measure says where the payload of an event has what is measured: paths of members, as "seq" or "meta.seq".
type measure struct {
	sequence  string // a number that grows by one from event to event; "" measures no loss
	timestamp string // when the event was published, since 1970; "" measures no latency
	key       string // what sequence belongs to; "" if a stream has one sequence
	unit      time.Duration

	// Of a stream that says what it expects. Every event of type message is then a whole JSON object with the sequence and
	// this key.
	expected string // "" expects nothing
}

// sighting is what an event's data told.
type sighting struct {
	published time.Time // zero if the data doesn't say it
	counts
	malformed bool // it is not what the stream expects: cut off, or without its sequence or key
	misrouted bool // it is of another key than the stream's
}

// look takes sequence and time of an event's data. Data that isn't a JSON object, or has none, measures nothing. named
// tells that the event is not of type message.
func (m *measure) look(data []byte, named bool, s *sequences, now time.Time) (got sighting) {
	data = bytes.TrimLeft(data, " \t\r\n")
	strict := m.expected != "" && !named
	if len(data) == 0 || data[0] != '{' || strict && !gjson.ValidBytes(data) {
		got.malformed = strict
		return got
	}
	var key string
	if m.key != "" {
		key = gjson.GetBytes(data, m.key).String()
	}
	if strict && key != m.expected {
		got.malformed, got.misrouted = key == "", key != ""
		return got
	}
	if m.timestamp != "" {
		if ts := gjson.GetBytes(data, m.timestamp); ts.Type == gjson.Number && ts.Num > 0 {
			got.published = time.Unix(0, int64(ts.Num*float64(m.unit)))
			if n := ts.Int(); float64(n) == ts.Num {
				got.published = time.Unix(0, n*int64(m.unit))
			}
		}
	}
	if m.sequence == "" {
		return got
	}
	seq := gjson.GetBytes(data, m.sequence)
	if seq.Type != gjson.Number {
		got.malformed = strict
		return got
	}
	if m.expected != "" {
		key = "" // the only one there is
	}
	got.counts = s.next(key, seq.Int(), now)
	return got
}
