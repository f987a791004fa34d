package codec

import (
	"slices"
	"strings"
)

// unknownMembers checks the members of an object that are not members of an event. It refuses those that look like a
// mistake.
type unknownMembers struct {
	allowed    []string
	misspelled [2]string // the first misspelled name, and the known name that it resembles
	known      []string  // the members that occur: those of an event, and those in allowed
}

func (u *unknownMembers) add(name string) { u.known = append(u.known, name) }

// check refuses a name that differs from a known name only in case, or that belongs elsewhere. It remembers the first
// name that looks misspelled.
func (u *unknownMembers) check(name string) error {
	if slices.Contains(u.allowed, name) {
		u.add(name)
		return nil
	}
	for _, k := range [...]string{fieldData, fieldEvent, fieldID, fieldRetry, "key", "connectKey", "lastEventId", "op", "frame", "idempotencyKey"} {
		switch {
		case strings.EqualFold(k, name):
			return u.refuse(name, k)
		case u.misspelled[0] == "" && similar(k, name):
			u.misspelled = [2]string{name, k}
		}
	}
	return nil
}

// finish refuses the misspelled name if the member that it resembles does not occur.
func (u *unknownMembers) finish() error {
	if u.misspelled[0] != "" && !slices.Contains(u.known, u.misspelled[1]) {
		return u.refuse(u.misspelled[0], u.misspelled[1])
	}
	return nil
}

func (u *unknownMembers) refuse(name, known string) error {
	reason := "is not a member of an event; remove it"
	switch {
	case known == fieldData || known == fieldEvent || known == fieldID || known == fieldRetry || slices.Contains(u.allowed, known):
		reason = "is not a member of an event; did you mean " + known + "?"
	case known == "key" || known == "connectKey":
		reason = "is not a member of an event; name the key outside of the event, as in POST /publish?key=KEY"
	case known == "idempotencyKey":
		reason = "is not a member of an event; send it as the header field Idempotency-Key"
	}
	return &Error{Field: name, Offset: -1, Reason: reason}
}

// similar reports whether name differs from known only in case and by at most one typing error: one character too many,
// one missing, one replaced, or two swapped. For a name of two characters, the only error that counts is an additional
// s.
func similar(known, name string) bool {
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
