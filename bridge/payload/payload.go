// Package payload tells what the bytes mean that a bridge's source delivers: text, or an event as app.sse.publish takes
// it.
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
	// Auto takes a JSON object that has data, and no members but data, event, id and retry, for an event, and anything
	// else for text. A source can so send either, and an object of the application that only looks alike stays whole.
	Auto Mode = iota
	// Text takes every payload as the data.
	Text
	// JSON takes what app.sse.publish takes, a string or an object with data, event, id and retry, and refuses the rest.
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

// Decode returns the event that b means; as JSON it is what the publish API takes, and a member that looks misspelt
// ("Data") or misplaced is refused as there. Its Data may alias b. Every error is a *codec.Error; data that can't be sent,
// such as bytes that are not UTF-8, is left to codec.Encode to refuse.
func Decode(b []byte, m Mode) (codec.Event, error) {
	if m == JSON || m == Auto && isEvent(b) {
		return codec.DecodePublish(b)
	}
	return codec.Event{Data: b}, nil
}

// options are those of codec.DecodeJSON, which decodes what isEvent has found to be an event.
var options = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// isEvent reports whether b is a JSON object with data and no members but those of an event.
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
