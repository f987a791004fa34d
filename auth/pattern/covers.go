package pattern

import (
	"path"
	"strings"
	"unicode/utf8"
)

// Covers reports whether outer matches every key that inner matches: user.* covers user.42.*, and not *. It decides what
// somebody who has been granted outer may pass on.
//
// It errs on the side of no. Two patterns that match the same keys are not recognized as such if they are written with
// different classes, and an outer pattern with a class that matches a slash covers only itself and what it matches literally.
func Covers(outer, inner string) bool {
	switch {
	case Check(outer) != nil || Check(inner) != nil:
		return false
	case outer == All || outer == inner:
		return true
	case inner == All:
		return false
	}
	o, p := split(outer), split(inner)
	if literal, ok := text(p); ok {
		return Match(outer, literal)
	}
	for _, e := range o {
		// path.Match commits to the first place where the part between two stars fits. This loses no key unless that part has
		// a class that matches a slash: then what follows from the parts one by one does not follow for the whole.
		if e.kind == class && e.slash {
			return false
		}
	}
	return covers(o, p)
}

// covers matches the elements of inner as if they were the characters of a key. ok[j] tells whether the rest of outer covers
// inner[j:].
func covers(outer, inner []element) bool {
	ok := make([]bool, len(inner)+1)
	ok[len(inner)] = true
	for i := len(outer) - 1; i >= 0; i-- {
		next := make([]bool, len(inner)+1)
		if outer[i].kind == star {
			next[len(inner)] = ok[len(inner)]
		}
		for j := len(inner) - 1; j >= 0; j-- {
			if outer[i].kind == star {
				next[j] = ok[j] || next[j+1] && !inner[j].slash
			} else {
				next[j] = ok[j+1] && outer[i].one(inner[j])
			}
		}
		ok = next
	}
	return ok[0]
}

type kind uint8

const (
	literal  kind = iota // one character
	question             // ?
	class                // [...]
	star                 // *
)

// element is a part of a pattern.
type element struct {
	kind  kind
	text  string // the character of a literal, a class as it is written
	slash bool   // it can match a slash
}

// one reports whether e, which is not a star, matches everything that inner matches.
func (e element) one(inner element) bool {
	switch {
	case inner.kind == star:
		return false
	case e.kind == question:
		return !inner.slash
	case e.kind == inner.kind && e.text == inner.text:
		return true
	case e.kind == class && inner.kind == literal:
		ok, err := path.Match(e.text, inner.text)
		return ok && err == nil
	}
	return false
}

// split takes a pattern that Check accepts apart.
func split(pattern string) (list []element) {
	for pattern != "" {
		var e element
		n := 1
		switch pattern[0] {
		case '*':
			e = element{kind: star}
		case '?':
			e = element{kind: question}
		case '[':
			n = classEnd(pattern)
			e = element{kind: class, text: pattern[:n]}
			e.slash, _ = path.Match(e.text, "/")
		case '\\':
			pattern = pattern[1:]
			fallthrough
		default:
			_, n = utf8.DecodeRuneInString(pattern)
			e = element{kind: literal, text: pattern[:n], slash: pattern[0] == '/'}
		}
		list = append(list, e)
		pattern = pattern[n:]
	}
	return list
}

// classEnd returns the length of the class that the pattern begins with.
func classEnd(pattern string) int {
	for i := 1; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i++
		case ']':
			return i + 1
		}
	}
	return len(pattern)
}

// text returns the only key that the elements match, if there are only literals.
func text(list []element) (key string, ok bool) {
	var b strings.Builder
	for _, e := range list {
		if e.kind != literal {
			return "", false
		}
		b.WriteString(e.text)
	}
	return b.String(), true
}
