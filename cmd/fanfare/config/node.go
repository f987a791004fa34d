package config

import (
	"fmt"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// setNode decodes a scalar of the file into target, a pointer to the type of a setting. It is stricter about types than
// setText, because the file distinguishes a number from a text.
func setNode(target any, s *Setting, node ast.Node) error {
	text, ok := scalarText(node)
	if !ok {
		return fmt.Errorf("must be %s, not %s", wanted(target), describe(node))
	}
	quoted := isQuoted(node)
	switch target.(type) {
	case *string, *Secret:
		if _, isText := plainText(node); !isText && len(s.Enum) == 0 {
			if s.secret() {
				return fmt.Errorf("must be a text, not %s: put it in quotes", describeType(node))
			}
			return fmt.Errorf("must be a text, not %s: put it in quotes", describe(node))
		}
	case *bool:
		if node.Type() != ast.BoolType {
			return fmt.Errorf("must be true or false, not %s", describe(node))
		}
	case *int:
		if quoted || node.Type() == ast.BoolType {
			return fmt.Errorf("must be a whole number, not %s%s", describe(node), unquoteHint(quoted))
		}
	case *time.Duration, *Size:
		if node.Type() == ast.BoolType {
			return fmt.Errorf("must be %s, not %s", wanted(target), describe(node))
		}
	}
	return setText(target, text)
}

func unquoteHint(quoted bool) string {
	if quoted {
		return ": remove the quotes"
	}
	return ""
}

func wanted(target any) string {
	switch target.(type) {
	case *bool:
		return "true or false"
	case *int:
		return "a whole number"
	case *time.Duration:
		return "a duration (10s) or milliseconds (10000)"
	case *Size:
		return "a size (64KiB) or bytes (65536)"
	}
	return "a text"
}

// plainText is the content of a text node.
func plainText(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	}
	return "", false
}

// scalarText is a scalar as it was written. Null, anchors, aliases and tags are not scalars here.
func scalarText(node ast.Node) (string, bool) {
	switch node.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return node.GetToken().Value, true
	}
	return plainText(node)
}

func isQuoted(node ast.Node) bool {
	switch n := node.(type) {
	case *ast.LiteralNode:
		return true
	case *ast.StringNode:
		return n.Token.Type == token.SingleQuoteType || n.Token.Type == token.DoubleQuoteType
	}
	return false
}

// describe says what a node is, with the text of a scalar.
func describe(node ast.Node) string {
	what := describeType(node)
	if text, ok := scalarText(node); ok {
		return fmt.Sprintf("%s %s", what, quoteShort(text))
	}
	return what
}

func describeType(node ast.Node) string {
	switch node.(type) {
	case nil, *ast.NullNode:
		return "nothing"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "the number"
	case *ast.BoolNode:
		return "the boolean"
	case *ast.StringNode, *ast.LiteralNode:
		return "the text"
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or alias, which is not supported"
	case *ast.TagNode:
		return "a tag, which is not supported"
	}
	return "this"
}

// quoteShort quotes a text for a message, and cuts a long one.
func quoteShort(text string) string {
	const most = 80
	if runes := []rune(text); len(runes) > most {
		return fmt.Sprintf("%q…", string(runes[:most]))
	}
	return fmt.Sprintf("%q", text)
}

// start is the first token of a node. The own token of a mapping is the colon after its first name.
func start(node ast.Node) *token.Token {
	switch n := node.(type) {
	case nil:
		return nil
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return n.Values[0].Key.GetToken()
		}
	}
	return node.GetToken()
}
