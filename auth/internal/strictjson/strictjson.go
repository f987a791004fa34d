// Package strictjson refuses JSON texts that two readers may understand differently: with a name that an object has twice,
// with bytes that are not UTF-8, or with something after the value (RFC 7493). encoding/json takes the last of two names, other
// libraries the first, so a signed text could mean one thing where it was made and another here.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"unicode/utf8"
)

// maxDepth bounds how deep objects and arrays may nest.
const maxDepth = 32

var errText = errors.New("is not a JSON object with unique names in valid UTF-8")

// Object decodes a JSON object. The error quotes nothing of the text.
func Object(text []byte) (map[string]any, error) {
	if !utf8.Valid(text) {
		return nil, errText
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	v, err := value(dec, 0)
	if err != nil {
		return nil, errText
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errText
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, errText
	}
	return object, nil
}

func value(dec *json.Decoder, depth int) (any, error) {
	t, err := dec.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if depth == maxDepth {
		return nil, errText
	}
	if delim == '[' {
		list := []any{}
		for dec.More() {
			v, err := value(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = dec.Token()
		return list, err
	}
	object := map[string]any{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, ok := t.(string)
		if !ok {
			return nil, errText
		}
		if _, twice := object[name]; twice {
			return nil, errText
		}
		if object[name], err = value(dec, depth+1); err != nil {
			return nil, err
		}
	}
	_, err = dec.Token()
	return object, err
}

// Strings reads a list of texts; nil stands for an empty one.
func Strings(v any) (list []string, ok bool) {
	if v == nil {
		return nil, true
	}
	values, ok := v.([]any)
	if !ok {
		return nil, false
	}
	for _, v := range values {
		s, ok := v.(string)
		if !ok {
			return nil, false
		}
		list = append(list, s)
	}
	return list, true
}
