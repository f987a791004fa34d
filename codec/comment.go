package codec

import "unicode/utf8"

// commentText returns the text of the comment if data is a comment, and data itself otherwise. The rule is egg-sse's:
// data that matches /^\s*:\s*/ is a comment, and its text is what follows the match. \s is JavaScript's (ECMA-262,
// WhiteSpace and LineTerminator).
func commentText(data []byte) (text []byte, comment bool) {
	i := skipSpace(data, 0)
	if i == len(data) || data[i] != ':' {
		return data, false
	}
	return data[skipSpace(data, i+1):], true
}

// skipSpace returns the offset of the first byte at or after i that does not begin white space.
func skipSpace(b []byte, i int) int {
	for i < len(b) {
		if c := b[i]; c < utf8.RuneSelf {
			if c != ' ' && (c < '\t' || c > '\r') {
				return i
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if !isSpace(r) {
			return i
		}
		i += n
	}
	return i
}

// isSpace reports whether JavaScript's \s matches r, which is not ASCII. unicode.IsSpace differs: it includes U+0085
// and excludes U+FEFF.
func isSpace(r rune) bool {
	switch r {
	case 0x00A0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF:
		return true
	}
	return 0x2000 <= r && r <= 0x200A
}
