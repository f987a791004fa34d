package gate

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// Keys are the limits on the keys that a request names.
type Keys struct {
	Default  string // stands for an empty key: Options.CacheKey
	MaxBytes int    // of one key
	MaxCount int    // of one stream
}

// Check returns what is wrong with a key, for the client to read, or "".
func (k Keys) Check(key string) (problem string) {
	switch {
	case len(key) > k.MaxBytes:
		return fmt.Sprintf("has %d bytes, more than %d (maxKeyBytes): use a shorter key", len(key), k.MaxBytes)
	case !utf8.ValidString(key):
		return "is not valid UTF-8: percent-encode its UTF-8 bytes"
	}
	return ""
}

// Resolve returns the key that a request names, which is the default if name is
// empty, and what is wrong with it, or "".
func (k Keys) Resolve(name string) (key, problem string) {
	if name == "" {
		name = k.Default
	}
	return name, k.Check(name)
}

// OfStream returns the keys of a stream: the values of connectKey, each once, in
// their order; an empty one, or none, means the default. problem is an error for
// the client if they cannot be served.
func (k Keys) OfStream(values []string) (keys []string, problem string) {
	if len(values) == 0 {
		return []string{k.Default}, ""
	}
	for _, v := range values {
		v, problem := k.Resolve(v)
		if problem != "" {
			return nil, "connectKey " + problem
		}
		if !slices.Contains(keys, v) {
			keys = append(keys, v)
		}
		if len(keys) > k.MaxCount {
			return nil, fmt.Sprintf("connectKey names more than %d keys (maxKeysPerConnection): open several streams, or raise the limit", k.MaxCount)
		}
	}
	return keys, ""
}
