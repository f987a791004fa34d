package codec

import "github.com/goccy/go-json"

// Gap is the data of an event "gap", which reports a loss to clients. A member that is nil is null: it is not known.
type Gap struct {
	// Key is the key whose events are lost. nil: perhaps those of any key.
	Key    *string `json:"key"`
	Reason string  `json:"reason"`
	// Missed is the number of lost events.
	Missed *int64 `json:"missed"`
	// After is the id of the last event before the gap, and Next is that of the place before the next one.
	After *string `json:"after"`
	Next  *string `json:"next"`
}

// Event returns the event, which is a notice and has no id.
func (g Gap) Event() Event {
	data, err := json.Marshal(g)
	if err != nil {
		panic("codec: the data of a gap: " + err.Error()) // it has texts and a number only
	}
	return Event{Event: "gap", Data: data, Notice: true}
}
