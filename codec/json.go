package codec

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/goccy/go-json/jsontext"
)

// jsonOptions make go-json's jsontext accept JSON as RFC 8259 defines it, and keep its tokens as they are written.
//
// The functions of the go-json package itself are not suitable. Its Unmarshal matches member names without regard to
// case (an object's "Data" would be its data). Its Valid is faster, but copies the body into a pooled buffer that never
// shrinks.
//
// Invalid UTF-8 is allowed here only because jsontext treats an escaped lone surrogate as such. DecodeJSON refuses
// bytes that are not UTF-8 before it calls jsontext.
var jsonOptions = []jsontext.Options{
	jsontext.AllowDuplicateNames(true),
	jsontext.AllowInvalidUTF8(true),
	jsontext.PreserveRawStrings(true),
}

// maxDepth is the maximum nesting depth of a body, which jsontext enforces. Neither jsontext nor this package uses
// recursion for nested values.
const maxDepth = 10_000

// DecodeJSON decodes the event of a publish call: a JSON string, which is the data, or an object with the members data,
// event, id and retry. All members are optional. Unknown members are ignored. Names are compared exactly. If several
// members have the same name, the last one counts.
//
//   - data: the text of a string, in which an escaped lone surrogate becomes U+FFFD; or any other value, as its JSON
//     text without white space between the tokens and otherwise unchanged.
//   - event, id: a string; or a number, as its token.
//   - retry: a whole number of milliseconds that is not negative, or a string of digits. Digits are kept as they are. A
//     whole number up to 2^53 in another form, such as 1e3 or 3000.0, is converted to digits.
//
// If event, id or retry is false in JavaScript (null, false, "" and zero, but not "0"), it is left out, as in egg-sse.
//
// The body must be one valid JSON value (RFC 8259) in UTF-8, without a byte order mark, nested at most 10,000 deep.
// Every error is an [*Error]. DecodeJSON does not refuse CR, LF and NUL in event and id: [Append] does.
//
// Data may alias body. DecodeJSON allocates memory for it only if its text has escapes or its JSON has white space.
func DecodeJSON(body []byte) (Event, error) { return decodeJSON(body, nil) }

// DecodePublish is [DecodeJSON] for a body that must be an event. It refuses an unknown member that looks like a
// mistake, because the event would not be what the publisher intended: a misspelled name ("Data", or "retyr" without a
// retry), or a member that belongs elsewhere ("key"). It ignores other unknown members, as egg-sse does. The caller
// uses the members in allowed itself.
func DecodePublish(body []byte, allowed ...string) (Event, error) {
	return decodeJSON(body, &unknownMembers{allowed: allowed})
}

func decodeJSON(body []byte, u *unknownMembers) (Event, error) {
	if i := indexInvalidUTF8(body); i >= 0 {
		return Event{}, &Error{Field: fieldBody, Offset: i, Reason: reasonUTF8}
	}
	if !jsontext.Value(body).IsValid(jsonOptions...) {
		return Event{}, syntaxError(body)
	}
	// From here on the body is one valid value, and the code that reads it needs no checks.
	i := skipJSONSpace(body, 0)
	switch body[i] {
	case '"':
		return Event{Data: unquote(body[i:stringEnd(body, i)])}, nil
	case '{':
		return decodeObject(body, i, u)
	default:
		return Event{}, &Error{Field: fieldBody, Offset: i,
			Reason: "must be a string or an object with data, event, id, retry; got " + kindName(body[i])}
	}
}

// syntaxError returns the error for a body that is not valid JSON. jsontext finds the place when it formats the body.
func syntaxError(body []byte) error {
	_, err := jsontext.AppendFormat(nil, body, jsonOptions...)
	e := &Error{Field: fieldBody, Offset: -1, Reason: "is not valid JSON"}
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		e.Offset = int(syntax.ByteOffset)
		err = syntax.Err
	}
	switch {
	case len(bytes.TrimLeft(body, " \t\r\n")) == 0:
		e.Reason = "is empty; send a JSON string or an object with data, event, id, retry"
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		e.Reason = "is not valid JSON: it ends too early"
	case err != nil && strings.Contains(err.Error(), "max depth"):
		e.Reason = "is nested deeper than " + strconv.Itoa(maxDepth) + " levels; send a flatter value, or its JSON text as a string"
	case err != nil:
		e.Reason += ": " + err.Error()
	}
	return e
}

// member is the value of a member of a valid object: body[at:end]. end is 0 if the object does not have the member.
type member struct {
	at, end int
	spaced  bool // there is white space between its tokens
}

// decodeObject decodes the valid object at i. If u is set, it checks the members that are not members of an event.
func decodeObject(body []byte, i int, u *unknownMembers) (ev Event, err error) {
	// Find the members.
	var data, event, id, retry member
	for i = skipJSONSpace(body, i+1); body[i] != '}'; {
		end := stringEnd(body, i)
		name := body[i:end]
		if bytes.IndexByte(name, '\\') >= 0 {
			// slow path: "d\u0061ta" is data too
			name = unquote(name)
		} else {
			name = name[1 : len(name)-1]
		}
		var v member
		v.at = skipJSONSpace(body, skipJSONSpace(body, end)+1) // after the colon
		v.end, v.spaced = valueEnd(body, v.at)
		switch string(name) {
		case fieldData:
			data = v
		case fieldEvent:
			event = v
		case fieldID:
			id = v
		case fieldRetry:
			retry = v
		default:
			if u != nil {
				if err := u.check(string(name)); err != nil {
					return Event{}, err
				}
			}
		}
		i = skipJSONSpace(body, v.end)
		if body[i] == ',' {
			i = skipJSONSpace(body, i+1)
		}
	}

	// Refuse a misspelled member if the member that it resembles does not occur.
	if u != nil {
		for _, m := range [...]struct {
			name string
			member
		}{{fieldData, data}, {fieldEvent, event}, {fieldID, id}, {fieldRetry, retry}} {
			if m.end > 0 {
				u.add(m.name)
			}
		}
		if err := u.finish(); err != nil {
			return Event{}, err
		}
	}

	// Decode the values.
	if ev.Event, err = decodeName(fieldEvent, body, event); err != nil {
		return Event{}, err
	}
	if ev.ID, err = decodeName(fieldID, body, id); err != nil {
		return Event{}, err
	}
	if ev.Retry, err = decodeRetry(body, retry); err != nil {
		return Event{}, err
	}
	switch raw := body[data.at:data.end]; {
	case len(raw) == 0:
	case raw[0] == '"':
		ev.Data = unquote(raw)
	case data.spaced:
		// This cannot fail, because raw is part of a valid value.
		ev.Data, _ = jsontext.AppendFormat(make([]byte, 0, len(raw)), raw, jsonOptions...)
	default:
		ev.Data = raw
	}
	return ev, nil
}

// decodeName decodes an event name or an id.
func decodeName(field string, body []byte, m member) (string, error) {
	raw := body[m.at:m.end]
	if falsy(raw) {
		return "", nil
	}
	switch c := raw[0]; {
	case c == '"':
		return string(unquote(raw)), nil
	case isNumber(c):
		return string(raw), nil
	default:
		return "", &Error{Field: field, Offset: m.at, Reason: "must be a string or a number; got " + kindName(c)}
	}
}

// decodeRetry decodes a reconnection time.
func decodeRetry(body []byte, m member) (string, error) {
	raw := body[m.at:m.end]
	if falsy(raw) {
		return "", nil
	}
	text := raw
	switch c := raw[0]; {
	case c == '"':
		text = unquote(raw)
	case !isNumber(c):
		return "", &Error{Field: fieldRetry, Offset: m.at, Reason: reasonRetry + "; got " + kindName(c)}
	case indexNonDigit(raw) >= 0:
		// 1e3 and 3000.0 are whole numbers in JavaScript, and some languages write whole numbers this way. A double
		// represents whole numbers exactly up to 2^53.
		if f, err := strconv.ParseFloat(string(raw), 64); err == nil && f >= 1 && f <= 1<<53 && f == float64(int64(f)) {
			return strconv.FormatInt(int64(f), 10), nil
		}
	}
	if indexNonDigit(text) >= 0 {
		return "", &Error{Field: fieldRetry, Offset: m.at, Reason: reasonRetry + "; got " + excerpt(raw)}
	}
	return string(text), nil
}

// falsy reports whether raw, a value or nothing, is false in JavaScript: absent, null, false, "" or zero.
func falsy(raw []byte) bool {
	if len(raw) == 0 {
		return true
	}
	switch c := raw[0]; {
	case c == 'n' || c == 'f':
		return true
	case c == '"':
		return len(raw) == 2
	case !isNumber(c):
		return false
	}
	for _, c := range raw {
		if '1' <= c && c <= '9' {
			return false
		}
		if c == 'e' || c == 'E' {
			break // the digits of the exponent do not matter
		}
	}
	return true
}

func isNumber(c byte) bool { return c == '-' || '0' <= c && c <= '9' }

// kindName returns the name of the kind of a value that begins with c.
func kindName(c byte) string {
	switch c {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}

// excerpt returns the beginning of a value, for an error message.
func excerpt(raw []byte) string {
	const limit = 40
	if len(raw) <= limit {
		return string(raw)
	}
	return strings.ToValidUTF8(string(raw[:limit]), "") + "…"
}
