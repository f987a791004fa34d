package auth

import (
	"fmt"
	"io"
)

// Secret is a credential. It is formatted, logged and marshaled as "[redacted]", by every verb and inside of other values. The
// text itself is string(s).
type Secret string

const redacted = "[redacted]"

// String returns "[redacted]", or "" if there is none.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format writes what String returns, for every verb.
func (s Secret) Format(f fmt.State, verb rune) {
	text := s.String()
	if verb == 'q' || f.Flag('#') {
		text = `"` + text + `"`
	}
	_, _ = io.WriteString(f, text)
}

// MarshalText is what JSON, YAML and slog have.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
