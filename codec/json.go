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
// which is misspelt ("Data", or "retyr" where there is no retry) or misplaced ("key", which belongs elsewhere) is refused
// by its name, since the event would be another than its publisher meant. Others are passed over, as egg-sse does. Members named in also are the caller's own.
func DecodePublish(body []byte, also ...string) (Event, error) {
	return decodeJSON(body, &unknowns{also: also})
}

// unknowns looks at the members of an object that are not an event's.
type unknowns struct {
	also  []string
	typo  [2]string // name and known name of the first with a slip
	known []string  // members that are there: the event's, and those in also
}

func (u *unknowns) has(name string) { u.known = append(u.known, name) }

// see refuses a name that is a known one but for the case of its letters, or one that belongs elsewhere.
func (u *unknowns) see(name string) error {
	if slices.Contains(u.also, name) {
		u.has(name)
		return nil
	}
	for _, k := range [...]string{fieldData, fieldEvent, fieldID, fieldRetry, "key", "connectKey", "lastEventId", "op", "frame"} {
		switch {
		case strings.EqualFold(k, name):
			return u.refuse(name, k)
		case u.typo[0] == "" && alike(k, name):
			u.typo = [2]string{name, k}
		}
	}
	return nil
}

// end refuses a slip in the name of a member that is not there.
func (u *unknowns) end() error {
	if u.typo[0] != "" && !slices.Contains(u.known, u.typo[1]) {
		return u.refuse(u.typo[0], u.typo[1])
	}
	return nil
}

func (u *unknowns) refuse(name, known string) error {
	reason := "is no member of an event; remove it"
	switch {
	case known == fieldData || known == fieldEvent || known == fieldID || known == fieldRetry || slices.Contains(u.also, known):
		reason = "is no member of an event; did you mean " + known + "?"
	case known == "key" || known == "connectKey":
		reason = "is no member of an event: name the key outside of it, as in POST /publish?key=KEY"
	}
	return &Error{Field: name, Offset: -1, Reason: reason}
}

// alike reports whether name is known but for the case of its letters and one slip: a character too many, too few, another
// one, or two in the wrong order. Of a name of two characters nothing is a slip but an s behind it.
func alike(known, name string) bool {
	a, b := strings.ToLower(known), strings.ToLower(name)
	if len(a) < 3 {
		return a == b || a+"s" == b
	}
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	switch {
	case i == len(a): // equal, or one more at the end
		return true
	case len(a) < len(b):
		return a[i:] == b[i+1:]
	case a[i+1:] == b[i+1:]:
		return true
	}
	return i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}

func decodeJSON(body []byte, u *unknowns) (Event, error) {
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
		return decodeObject(body, i, u)
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

// decodeObject decodes the valid object at i. u, if set, is asked about members that are not an event's.
func decodeObject(body []byte, i int, u *unknowns) (ev Event, err error) {
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
			if u != nil {
				if err := u.see(string(name)); err != nil {
					return Event{}, err
				}
			}
		}
		i = skipJSONSpace(body, v.end)
		if body[i] == ',' {
			i = skipJSONSpace(body, i+1)
		}
	}

	if u != nil {
		for _, m := range [...]struct {
			name string
			member
		}{{fieldData, data}, {fieldEvent, event}, {fieldID, id}, {fieldRetry, retry}} {
			if m.end > 0 {
				u.has(m.name)
			}
		}
		if err := u.end(); err != nil {
			return Event{}, err
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
