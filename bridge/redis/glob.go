package redis

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// isPattern reports whether the text is a pattern (for PSUBSCRIBE, SCAN MATCH) and not a name.
func isPattern(text string) bool { return strings.ContainsAny(text, `*?[\`) }

// CheckPattern refuses names and patterns that are empty, that are not UTF-8, or that Redis would read in another way than
// they look: with a [ that is not closed, or a \ at the end.
func CheckPattern(text string) error {
	if text == "" {
		return errors.New("must not be empty")
	}
	if !utf8.ValidString(text) {
		return errors.New("is not UTF-8")
	}
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			if i++; i == len(text) {
				return errors.New(`ends with a \: write \\ for a literal backslash`)
			}
		case '[':
			end := classEnd(text, i)
			if end < 0 {
				return errors.New(`has a [ without a ]: write \[ for a literal bracket`)
			}
			i = end - 1
		}
	}
	return nil
}

// classEnd is the offset after the ] of the class that begins at i, or -1.
func classEnd(p string, i int) int {
	if i++; i < len(p) && p[i] == '^' {
		i++
	}
	for ; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
		case ']':
			return i + 1
		default:
			if i+2 < len(p) && p[i+1] == '-' { // the end of a range is literal, even a ] or a \
				i += 2
			}
		}
	}
	return -1
}

// matches reports whether the pattern matches the whole name, by the rules of Redis: * is any run of bytes, ? one byte,
// [abc] [a-z] [^a] one byte of a class, and \ makes the next byte literal. The pattern must have passed CheckPattern.
func matches(p, name string) bool {
	star, again := -1, 0 // the offset after the last *, and where in name the run that it matches ends so far
	i, j := 0, 0
	for j < len(name) {
		if i < len(p) && p[i] == '*' {
			i++
			star, again = i, j
			continue
		}
		if i < len(p) {
			if n, ok := matchByte(p[i:], name[j]); ok {
				i += n
				j++
				continue
			}
		}
		if star < 0 {
			return false
		}
		again++
		i, j = star, again
	}
	return strings.Trim(p[i:], "*") == ""
}

// matchByte matches one byte against the first element of p, which must not be a *. n is the length of that element.
func matchByte(p string, c byte) (n int, ok bool) {
	switch p[0] {
	case '?':
		return 1, true
	case '\\':
		return 2, p[1] == c
	case '[':
		end := classEnd(p, 0)
		return end, inClass(p[1:end-1], c)
	}
	return 1, p[0] == c
}

// inClass reports whether c is in the class. class is the text between the brackets.
func inClass(class string, c byte) bool {
	class, not := strings.CutPrefix(class, "^")
	in := false
	for i := 0; i < len(class); i++ {
		switch {
		case class[i] == '\\' && i+1 < len(class):
			i++
			in = in || class[i] == c
		case i+2 < len(class) && class[i+1] == '-':
			lo, hi := min(class[i], class[i+2]), max(class[i], class[i+2])
			in = in || lo <= c && c <= hi
			i += 2
		default:
			in = in || class[i] == c
		}
	}
	return in != not
}
