package codec

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-json/jsontext"
)

// jsonOptions make go-json's jsontext take JSON as RFC 8259 defines it, and keep its tokens as they are written.
//
// jsontext, and not the functions of the go-json package itself: its Unmarshal matches member names without regard to
// case (an object's "Data" would be its data), and its Valid, which is faster, copies the body into a pooled buffer that
// never shrinks.
// Invalid UTF-8 is allowed here only because jsontext counts an escaped lone surrogate as such: DecodeJSON has refused
// bytes that are not UTF-8 before.
var jsonOptions = []jsontext.Options{
	jsontext.AllowDuplicateNames(true),
	jsontext.AllowInvalidUTF8(true),
	jsontext.PreserveRawStrings(true),
}

// maxDepth is how deep a body may be nested, which jsontext decides. It and this package walk nested values without
// recursion.
const maxDepth = 10_000

// DecodeJSON decodes the event of a publish call: a JSON string, which is the data, or an object with the members
// data, event, id and retry. All of them may be absent; unknown members are ignored, names are compared exactly, and
// of members with the same name the last one wins.
//
//   - data: a string's text, where an escaped lone surrogate becomes U+FFFD. Any other value is its JSON text, without
//     white space between the tokens and otherwise as it came.
//   - event, id: a string, or a number, of which the token is taken as it came.
//   - retry: a whole number of milliseconds that is not negative, or a string of digits. Digits are taken as they came;
//     another form of a whole number up to 2^53, such as 1e3 or 3000.0, is written in digits.
//
// event, id and retry that are false in JavaScript (null, false, "" and zero, but not "0") are left out, as egg-sse
// leaves them out.
//
// The body must be one valid JSON value (RFC 8259) in UTF-8, without a byte order mark, nested at most 10,000 deep.
// Every error is an [*Error]. CR, LF and NUL in event and id are left to [Append] to refuse.
//
// Data may alias body. Nothing is allocated for it unless its text has escapes or its JSON has white space.
func DecodeJSON(body []byte) (Event, error) { return decodeJSON(body, nil) }

// DecodePublish is [DecodeJSON] for a body that can only be meant as an event: an unknown member that looks like one
// which is misspelt ("Data") or misplaced ("key", which belongs elsewhere) is refused by its name, since the event would
// be another than its publisher meant. Members named in also are the caller's own.
func DecodePublish(body []byte, also ...string) (Event, error) {
	return decodeJSON(body, func(name []byte) error { return checkMember(name, also) })
}

// checkMember refuses the name of an unknown member that looks like a known one.
func checkMember(name []byte, also []string) error {
	known := ""
	for _, k := range [...]string{fieldData, fieldEvent, fieldID, fieldRetry, "key", "connectKey", "lastEventId", "op", "frame"} {
		if len(k) == len(name) && strings.EqualFold(k, string(name)) {
			known = k
		}
	}
	switch {
	case known == "" || slices.Contains(also, string(name)):
		return nil
	case known == fieldData || known == fieldEvent || known == fieldID || known == fieldRetry || slices.Contains(also, known):
		return &Error{Field: string(name), Offset: -1, Reason: "is no member of an event; did you mean " + known + "?"}
	case known == "key" || known == "connectKey":
		return &Error{Field: string(name), Offset: -1, Reason: "is no member of an event: name the key outside of it, as in POST /publish?key=KEY"}
	}
	return &Error{Field: string(name), Offset: -1, Reason: "is no member of an event; remove it"}
}

func decodeJSON(body []byte, check func(name []byte) error) (Event, error) {
	if i := invalidUTF8(body); i >= 0 {
		return Event{}, &Error{Field: fieldBody, Offset: i, Reason: reasonUTF8}
	}
	if !jsontext.Value(body).IsValid(jsonOptions...) {
		return Event{}, syntaxError(body)
	}
	// From here on the body is known to be one valid value: what walks it needs no checks of its own.
	i := skipJSONSpace(body, 0)
	switch body[i] {
	case '"':
		return Event{Data: unquote(body[i:stringEnd(body, i)])}, nil
	case '{':
		return decodeObject(body, i, check)
	default:
		return Event{}, &Error{Field: fieldBody, Offset: i,
			Reason: "must be a string or an object with data, event, id, retry; got " + kindName(body[i])}
	}
}

// syntaxError is the error of a body that is not valid JSON, which jsontext reports when it is asked to format it.
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

// member is the value of a member of a valid object: body[at:end]. end is 0 if the object has no such member.
type member struct {
	at, end int
	spaced  bool // there is white space between its tokens
}

// decodeObject decodes the valid object at i. check, if set, is asked about members that are not an event's.
func decodeObject(body []byte, i int, check func(name []byte) error) (ev Event, err error) {
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
		v.at = skipJSONSpace(body, skipJSONSpace(body, end)+1) // behind the colon
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
			if check != nil {
				if err := check(name); err != nil {
					return Event{}, err
				}
			}
		}
		i = skipJSONSpace(body, v.end)
		if body[i] == ',' {
			i = skipJSONSpace(body, i+1)
		}
	}

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
		// It can't fail: raw is part of a valid value.
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
	case notDigit(raw) >= 0:
		// 1e3 and 3000.0 are whole numbers to JavaScript, and some languages write theirs so. 2^53 is what a double
		// still counts exactly.
		if f, err := strconv.ParseFloat(string(raw), 64); err == nil && f >= 1 && f <= 1<<53 && f == float64(int64(f)) {
			return strconv.FormatInt(int64(f), 10), nil
		}
	}
	if notDigit(text) >= 0 {
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
			break // the digits of the exponent count for nothing
		}
	}
	return true
}

func isNumber(c byte) bool { return c == '-' || '0' <= c && c <= '9' }

// kindName names the kind of the value that begins with c.
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

// excerpt is the beginning of a value, for an error.
func excerpt(raw []byte) string {
	const most = 40
	if len(raw) <= most {
		return string(raw)
	}
	return strings.ToValidUTF8(string(raw[:most]), "") + "…"
}

// unquote is the text of a valid JSON string: a part of raw if it has no escapes.
func unquote(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	// The error can only be an escaped lone surrogate, which has become U+FFFD.
	text, _ := jsontext.AppendUnquote(make([]byte, 0, len(raw)), raw)
	return text
}

// skipJSONSpace is the offset of the first byte at or after i that isn't white space (RFC 8259, section 2).
func skipJSONSpace(b []byte, i int) int {
	for i < len(b) && isJSONSpace(b[i]) {
		i++
	}
	return i
}

func isJSONSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// stringEnd is the offset behind the valid JSON string that begins at i.
func stringEnd(b []byte, i int) int {
	for i++; ; i++ {
		i = indexFrom(b, i, '"')
		escapes := 0
		for b[i-1-escapes] == '\\' { // it ends at the opening quote at the latest
			escapes++
		}
		if escapes%2 == 0 {
			return i + 1
		}
	}
}

// valueEnd is the offset behind the valid JSON value that begins at i, and whether it has white space between its
// tokens.
func valueEnd(b []byte, i int) (end int, spaced bool) {
	for depth := 0; ; {
		switch c := b[i]; {
		case c == '"':
			i = stringEnd(b, i)
		case c == '{' || c == '[':
			depth++
			i++
		case c == '}' || c == ']':
			depth--
			i++
		case isJSONSpace(c):
			spaced = true
			i++
		default: // a number, a literal, a comma or a colon
			for i++; !endsToken(b[i]); i++ {
			}
		}
		if depth == 0 {
			return i, spaced
		}
	}
}

// endsToken reports whether c ends a run of bytes that need no look: it opens or closes something, or separates.
// Members are always followed by such a byte, as the object's brace comes last.
func endsToken(c byte) bool {
	switch c {
	case '"', '{', '}', '[', ']', ',', ' ', '\n', '\r', '\t':
		return true
	}
	return false
}
