package redis

import (
	"fmt"

	"github.com/goccy/go-json/jsontext"

	"fanfare/codec"
)

// Payload says how messages become events.
type Payload uint8

const (
	// Auto takes an object that has data, and no members besides data, event, id and retry, for an event as egg-sse has
	// it, and anything else for the data.
	Auto Payload = iota
	// Text takes every message for the data.
	Text
	// JSON takes every message for what egg-sse's publish takes, a JSON string or an object with data, event, id,
	// retry, and refuses what is neither.
	JSON
)

// ParsePayload reads "auto", "text" or "json".
func ParsePayload(text string) (Payload, error) {
	switch text {
	case "auto":
		return Auto, nil
	case "text":
		return Text, nil
	case "json":
		return JSON, nil
	}
	return Auto, fmt.Errorf("%q is none of auto, text, json", text)
}

// decode makes the event of a message. Data may alias it. Errors: *codec.Error.
func (p Payload) decode(message []byte) (codec.Event, error) {
	if p == JSON || p == Auto && codec.IsEvent(message) {
		return codec.DecodeJSON(message)
	}
	return codec.Event{Data: message}, nil
}

// field is a field of a stream's entry. Names can repeat.
type field struct{ name, value string }

// entryEvent makes the event of a stream's entry, without its id:
//
//	one field, whatever its name                   its value, as a message
//	data, and event or retry or both               an event of these
//	any other fields                               data: a JSON object of them, in their order
func (p Payload) entryEvent(fields []field) (codec.Event, error) {
	if len(fields) == 1 {
		return p.decode([]byte(fields[0].value))
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
