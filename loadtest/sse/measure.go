package sse

import (
	"bytes"
	"time"

	"github.com/tidwall/gjson"
)

// measure says where the payload of an event has the measured values: paths of members, such as "seq" or "meta.seq".
type measure struct {
	sequence  string // a number that grows by one from event to event; "" measures no loss
	timestamp string // when the event was published, since 1970; "" measures no latency
	key       string // the key to which the sequence belongs; "" if a stream has only one sequence
	unit      time.Duration

	// expected is the key that a stream expects. Every event of type message must then be a complete JSON object with the
	// sequence and this key. "": the stream expects nothing.
	expected string
}

// observation has the measured values of an event's data.
type observation struct {
	published time.Time // zero if the data does not have it
	counts
	malformed bool // not what the stream expects: cut off, or without sequence or key
	misrouted bool // of another key than the stream's
}

// observe reads sequence and time from an event's data. If the data is not a JSON object, or has neither, nothing is measured.
// named says that the event is not of type message.
func (m *measure) observe(data []byte, named bool, s *sequences, now time.Time) (got observation) {
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
		key = "" // the only sequence
	}
	got.counts = s.next(key, seq.Int(), now)
	return got
}
