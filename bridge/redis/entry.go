package redis

import (
	"github.com/goccy/go-json/jsontext"

	"fanfare/bridge/payload"
	"fanfare/codec"
)

// field is a field of a stream's entry. Names can repeat.
type field struct{ name, value string }

// entryEvent makes the event of a stream's entry, without its id:
//
//	one field, whatever its name                   its value, as a message
//	data, and event or retry or both               an event of these
//	any other fields                               data: a JSON object of them, in their order
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

// plainEvent reads the fields data, event and retry, and reports false if there are others, or one of them twice.
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
