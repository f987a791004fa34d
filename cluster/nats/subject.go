package nats

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
)

// Tokens that are not the text of a key: an equals sign that two upper-case hexadecimal digits do not follow.
const (
	broadcastToken = "=all"
	epochToken     = "=epoch"
	emptyToken     = "="
	hashPrefix     = "=~"
)

// maxTokenLen bounds a token. A longer one is replaced by a hash: the server closes the connection of whoever sends a
// protocol line over 4,096 bytes, which has the subject, a reply subject and lengths.
const maxTokenLen = 3000

const upperHex = "0123456789ABCDEF"

// plain reports whether a byte of a key stands for itself in a token: printable ASCII, without what means something in a
// subject (. * >), and without the escape.
func plain(c byte) bool {
	return c > ' ' && c < 0x7f && c != '.' && c != '*' && c != '>' && c != '='
}

// escape appends the text of a key, in which a byte that is not plain is =XX.
func escape(dst []byte, key string) []byte {
	for i := range len(key) {
		if c := key[i]; plain(c) {
			dst = append(dst, c)
		} else {
			dst = append(dst, '=', upperHex[c>>4], upperHex[c&15])
		}
	}
	return dst
}

// unescape reverses escape. It accepts only what escape makes, so that a key has one token.
func unescape(text string) (key string, ok bool) {
	if strings.IndexByte(text, '=') < 0 {
		for i := range len(text) {
			if !plain(text[i]) {
				return "", false
			}
		}
		return text, true // fast path
	}
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		if plain(c) {
			b = append(b, c)
			continue
		}
		if c != '=' || i+2 >= len(text) {
			return "", false
		}
		high, low := strings.IndexByte(upperHex, text[i+1]), strings.IndexByte(upperHex, text[i+2])
		if high < 0 || low < 0 || plain(byte(high<<4|low)) {
			return "", false
		}
		b = append(b, byte(high<<4|low))
		i += 2
	}
	return string(b), true
}

// appendToken appends the token of a key. If hashed, the token does not have the key, and the message has the escaped key in
// a header.
func appendToken(dst []byte, key string) (token []byte, hashed bool) {
	if key == "" {
		return append(dst, emptyToken...), false
	}
	start := len(dst)
	if len(key) <= maxTokenLen {
		if dst = escape(dst, key); len(dst)-start <= maxTokenLen {
			return dst, false
		}
	}
	sum := sha256.Sum256([]byte(key))
	dst = append(dst[:start], hashPrefix...)
	return base64.RawURLEncoding.AppendEncode(dst, sum[:]), true
}

// keyOf returns the key of a token. header is the escaped key that the message has, which counts if the token is a hash.
func keyOf(token, header string) (key string, ok bool) {
	switch {
	case token == emptyToken:
		return "", true
	case token == "":
		return "", false
	case !strings.HasPrefix(token, hashPrefix):
		return unescape(token)
	}
	if key, ok = unescape(header); !ok {
		return "", false
	}
	want, hashed := appendToken(make([]byte, 0, 64), key)
	return key, hashed && string(want) == token
}

// subjects makes the subjects of a log.
type subjects struct{ prefix string }

// partition begins the subjects of a partition.
func (s subjects) partition(p int) string { return s.prefix + "." + strconv.Itoa(p) + "." }

// all matches all subjects of a partition's stream.
func (s subjects) all(p int) string { return s.partition(p) + ">" }

// key is the subject of a key's events.
func (s subjects) key(p int, key string) (subject string, hashed bool) {
	b := append(make([]byte, 0, 128), s.prefix...)
	b = append(strconv.AppendInt(append(b, '.'), int64(p), 10), '.')
	b, hashed = appendToken(b, key)
	return string(b), hashed
}
