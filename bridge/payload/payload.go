// Package payload decodes the bytes that a source delivers (a Redis message, a command's output): they are the data of an
// event, or a whole event as JSON, as app.sse.publish takes it.
//
//	ev, err := payload.Decode([]byte(`{"event": "price", "data": 100}`), payload.Auto)
package payload

import (
	"bytes"
	"fmt"

	"github.com/goccy/go-json/jsontext"

	"fanfare/codec"
)

// Mode is how a payload is read.
type Mode uint8

const (
	// Auto reads a JSON object as an event if it has data and no members other than data, event, id and retry. Everything
	// else is data. So a source can send both, and an application's own object that only looks similar stays whole.
	Auto Mode = iota
	// Text takes every payload as data.
	Text
	// JSON requires what app.sse.publish takes: a string, or an object with data, event, id and retry. It refuses all else.
	JSON
)

// ParseMode reads "auto", "text" or "json".
func ParseMode(s string) (Mode, error) {
	for m := Auto; m <= JSON; m++ {
		if m.String() == s {
			return m, nil
		}
	}
	return 0, fmt.Errorf("payload %q is unknown: use auto, text or json", s)
}

// String returns the name that ParseMode reads.
func (m Mode) String() string { return [...]string{"auto", "text", "json"}[m] }

// Decode returns the event that b means. JSON is read by the rules of the publish API, which refuse a member that looks
// misspelled ("Data") or misplaced. The event's Data may alias b. Every error is a *codec.Error. Decode does not check that
// the data can be sent (that it is UTF-8, for instance); codec.Encode does.
func Decode(b []byte, m Mode) (codec.Event, error) {
	if m == JSON || m == Auto && isEvent(b) {
		return codec.DecodePublish(b)
	}
	return codec.Event{Data: b}, nil
}

// options are the same as those of codec.DecodeJSON, which decodes what isEvent accepts.
var options = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// isEvent reports whether b is a JSON object with data and no members other than those of an event.
func isEvent(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	if len(b) == 0 || b[0] != '{' {
		return false // fast path: most payloads are text, or other JSON
	}
	dec := jsontext.NewDecoder(bytes.NewReader(b), options...)
	if _, err := dec.ReadToken(); err != nil {
		return false
	}
	hasData := false
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return false
		}
		switch name.String() {
		case "data":
			hasData = true
		case "event", "id", "retry":
		default:
			return false
		}
		if dec.SkipValue() != nil {
			return false
		}
	}
	if _, err := dec.ReadToken(); err != nil { // the closing brace
		return false
	}
	return hasData && len(bytes.TrimLeft(b[dec.InputOffset():], " \t\r\n")) == 0
}
