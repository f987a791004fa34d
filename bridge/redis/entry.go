package redis

import (
	"github.com/goccy/go-json/jsontext"

	"fanfare/bridge/payload"
	"fanfare/codec"
)

// entry is an entry of a stream.
type entry struct {
	id     entryID
	fields []field
}

// size is about how many bytes of memory the entry takes.
func (e entry) size() (n int) {
	for _, f := range e.fields {
		n += len(f.name) + len(f.value) + 32
	}
	return n
}

// field is a field of a stream's entry. A name may occur more than once.
type field struct{ name, value string }

// entryEvent converts the fields of a stream's entry to an event without an id:
//
//	one field, whatever its name          its value is read like a message of Pub/Sub
//	data, and event or retry or both      an event with these fields
//	any other fields                      the data is a JSON object of them, in their order
func entryEvent(fields []field, mode payload.Mode) (codec.Event, error) {
	if len(fields) == 1 {
		return payload.Decode([]byte(fields[0].value), mode)
	}
	if ev, ok := plainEvent(fields); ok {
		return ev, nil
	}
	object := []byte{'{'}
	for i, f := range fields {
		if i > 0 {
			object = append(object, ',')
		}
		var err error
		if object, err = jsontext.AppendQuote(object, f.name); err != nil {
			return codec.Event{}, &codec.Error{Field: "a field's name", Offset: -1, Reason: "is not UTF-8"}
		}
		object = append(object, ':')
		if object, err = jsontext.AppendQuote(object, f.value); err != nil {
			return codec.Event{}, &codec.Error{Field: f.name, Offset: -1, Reason: "is not UTF-8"}
		}
	}
	return codec.Event{Data: append(object, '}')}, nil
}

// plainEvent reads the fields data, event and retry. It reports false if there is no data, another field, or a field twice.
func plainEvent(fields []field) (ev codec.Event, ok bool) {
	seen := map[string]bool{}
	for _, f := range fields {
		if seen[f.name] {
			return codec.Event{}, false
		}
		seen[f.name] = true
		switch f.name {
		case "data":
			ev.Data = []byte(f.value)
		case "event":
			ev.Event = f.value
		case "retry":
			ev.Retry = f.value
		default:
			return codec.Event{}, false
		}
	}
	return ev, seen["data"]
}
