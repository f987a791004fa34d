package engine

import (
	"strconv"
	"strings"
)

// Position is a place in a key's stream: after the event Seq, in the life of the key that Epoch identifies. A key that
// was retired and created again, and a key of a restarted process, have another Epoch. The text form of a Position is
// "<epoch in base 36>-<sequence in base 10>".
type Position struct{ Epoch, Seq uint64 }

// maxPositionLen is the length of the longest text form: 13 digits for 2^64-1 in base 36, a hyphen, and 20 digits in
// base 10.
const maxPositionLen = 13 + 1 + 20

// minPositionLen is the length of an epoch and its hyphen, see epochBits. Every position that an engine issues is
// longer.
const minPositionLen = 13

// Append appends the text form to dst.
func (p Position) Append(dst []byte) []byte {
	dst = strconv.AppendUint(dst, p.Epoch, 36)
	dst = append(dst, '-')
	return strconv.AppendUint(dst, p.Seq, 10)
}

// String returns the text form, for example "mf3k2a9x1b-42".
func (p Position) String() string { return string(p.Append(make([]byte, 0, maxPositionLen))) }

func (p Position) epochText() string {
	text, _, _ := strings.Cut(p.String(), "-")
	return text
}

// ParsePosition parses the text form. It accepts only what Append writes: no sign, no leading zero, lower case.
func ParsePosition(s string) (p Position, ok bool) {
	for i := range len(s) {
		if s[i] != '-' {
			continue
		}
		var err1, err2 error
		p.Epoch, err1 = strconv.ParseUint(s[:i], 36, 64)
		p.Seq, err2 = strconv.ParseUint(s[i+1:], 10, 64)
		if err1 != nil || err2 != nil {
			return Position{}, false
		}
		var text [maxPositionLen]byte
		if string(p.Append(text[:0])) != s {
			return Position{}, false
		}
		return p, true
	}
	return Position{}, false
}
