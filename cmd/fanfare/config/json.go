package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/goccy/go-yaml/ast"
)

// JSON is a value of the file as JSON text. The members of objects are in the order of the file. "" is no value.
type JSON string

// nodeJSON turns any value of the file into JSON.
func nodeJSON(node ast.Node) (JSON, error) {
	if node == nil || node.Type() == ast.NullType {
		return "", errors.New("has no value: write one after the colon")
	}
	text, err := appendJSON(nil, node)
	return JSON(text), err
}

func appendJSON(dst []byte, node ast.Node) ([]byte, error) {
	switch n := node.(type) {
	case nil, *ast.NullNode:
		return append(dst, "null"...), nil
	case *ast.BoolNode:
		return strconv.AppendBool(dst, n.Value), nil
	case *ast.StringNode, *ast.LiteralNode:
		text, _ := plainText(n)
		return append(dst, quoteYAML(text)...), nil
	case *ast.IntegerNode:
		return fmt.Appendf(dst, "%d", n.Value), nil
	case *ast.FloatNode:
		if text := n.Token.Value; json.Valid([]byte(text)) {
			return append(dst, text...), nil // with all of its digits
		}
		if math.IsInf(n.Value, 0) || math.IsNaN(n.Value) {
			return nil, fmt.Errorf("%s is out of range for a number", quoteShort(n.Token.Value))
		}
		return strconv.AppendFloat(dst, n.Value, 'g', -1, 64), nil
	case *ast.SequenceNode:
		return appendArray(dst, n)
	case *ast.MappingNode:
		return appendObject(dst, n)
	}
	return nil, fmt.Errorf("contains %s: JSON has no such value", describe(node))
}

func appendArray(dst []byte, n *ast.SequenceNode) (_ []byte, err error) {
	dst = append(dst, '[')
	for i, v := range n.Values {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendJSON(dst, v); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func appendObject(dst []byte, n *ast.MappingNode) (_ []byte, err error) {
	dst = append(dst, '{')
	seen := make(map[string]bool, len(n.Values))
	for i, entry := range n.Values {
		name, ok := scalarText(entry.Key)
		switch {
		case !ok:
			return nil, errors.New("contains a name that is not plain text; merge keys, anchors and complex keys are not supported")
		case seen[name]:
			return nil, fmt.Errorf("contains the name %s twice", quoteShort(name))
		}
		seen[name] = true
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, quoteYAML(name)...), ':')
		if dst, err = appendJSON(dst, entry.Value); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// Payload is the value as the payload of an event: the text of a string, and the JSON of any other value.
func (j JSON) Payload() []byte {
	text := ""
	if bytes.HasPrefix([]byte(j), []byte(`"`)) && json.Unmarshal([]byte(j), &text) == nil {
		return []byte(text)
	}
	return []byte(j)
}
