package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFileBytes is a limit so that a file named by mistake (a log, a device) is not read as a whole.
const maxFileBytes = 1 << 20

// loadFile reads the YAML or JSON file at path over c.
func loadFile(c *Config, path string) Problems {
	at := Origin{Layer: LayerFile, Name: path}
	data, err := readFile(path)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return Problems{{Origin: at, Text: "cannot read the configuration file: " + err.Error()}}
	}
	c.file, c.sum = path, sha256.Sum256(data)
	return decodeFile(c, path, data)
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("it is a directory: name a file in it")
	case info.Size() > maxFileBytes:
		return nil, fmt.Errorf("it has %d bytes, more than the limit of %d: is it the right file?", info.Size(), maxFileBytes)
	}
	return os.ReadFile(path)
}

// decodeFile reads data over c. Each value is decoded on its own from the syntax tree to its field, so every problem is
// reported with its place, not only the first one.
func decodeFile(c *Config, path string, data []byte) Problems {
	d := &fileDecoder{c: c, path: path}
	// The parser miscounts lines that end with CR LF.
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.TrimPrefix(string(data), "\ufeff"))
	if len(text) > maxFileBytes {
		return d.fail(Origin{Layer: LayerFile, Name: path}, "", fmt.Sprintf("the file has more than %d bytes", maxFileBytes))
	}
	if at, text, ok := badText(text); !ok {
		at.Layer, at.Name = LayerFile, path
		return d.fail(at, "", text)
	}
	file, err := parser.ParseBytes([]byte(text), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		at, message := Origin{Layer: LayerFile, Name: path}, err.Error()
		var ye yaml.Error
		if errors.As(err, &ye) {
			at, message = d.at(ye.GetToken()), ye.GetMessage()
		}
		return d.fail(at, "", "syntax error: "+message)
	}
	var body ast.Node
	for _, doc := range file.Docs {
		switch doc.Body.(type) {
		case nil, *ast.DirectiveNode, *ast.CommentGroupNode:
			continue
		}
		if body != nil {
			return d.fail(d.at(start(doc.Body)), "", "a second document begins here; the file must have only one")
		}
		body = doc.Body
	}
	if body != nil && body.Type() != ast.NullType {
		d.mapping(body, "", schema, func(s *Setting, node ast.Node) { d.setting(s, node) })
	}
	return d.problems
}

// badText finds characters that YAML does not allow, or with which the positions of the parser are wrong. ok is false if it
// found one.
func badText(text string) (at Origin, problem string, ok bool) {
	line, column, brackets, indent := 1, 0, 0, 0
	for i, r := range text {
		column++
		if indent == column-1 && strings.ContainsRune(" -?", r) {
			indent++
		}
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD"):
			return Origin{Line: line, Column: column}, "the file is not valid UTF-8 at this place", false
		case r < ' ' && r != '\n' && r != '\t', r == 0x7f:
			return Origin{Line: line, Column: column}, fmt.Sprintf("control character U+%04X is not allowed", r), false
		case r == '[' || r == '{':
			if brackets++; brackets > maxBrackets {
				return Origin{Line: line, Column: column}, fmt.Sprintf("more than %d opening brackets", maxBrackets), false
			}
		case indent > maxIndent:
			return Origin{Line: line, Column: column}, fmt.Sprintf("more than %d characters of indentation", maxIndent), false
		case r == '\n':
			line, column, indent = line+1, 0, 0
		}
	}
	return Origin{}, "", true
}

// The parser recurses, and takes quadratic time on deeply nested files. No real file comes near these limits. Brackets inside
// quotes count as well.
const (
	maxBrackets = 10000
	maxIndent   = 200
)

type fileDecoder struct {
	c        *Config
	path     string
	problems Problems
}

func (d *fileDecoder) at(tk *token.Token) Origin {
	o := Origin{Layer: LayerFile, Name: d.path}
	if tk != nil && tk.Position != nil {
		o.Line, o.Column = tk.Position.Line, max(1, tk.Position.Column)
	}
	return o
}

func (d *fileDecoder) fail(at Origin, setting, text string) Problems {
	d.problems = append(d.problems, Problem{Origin: at, Setting: setting, Text: text})
	return d.problems
}

// mapping calls set for each entry of a mapping whose name is a known setting, once per name. prefix is the path of the
// mapping ("" or "keys[0]").
func (d *fileDecoder) mapping(node ast.Node, prefix string, known []Setting, set func(*Setting, ast.Node)) {
	m, ok := node.(*ast.MappingNode)
	if !ok {
		what := "the file must be"
		if prefix != "" {
			what = "must be"
		}
		d.fail(d.at(start(node)), prefix, fmt.Sprintf("%s a mapping of settings (name: value), not %s", what, describe(node)))
		return
	}
	d.entries(m, prefix, func(name string, at Origin, value ast.Node) {
		for i := range known {
			if known[i].Name == name {
				set(&known[i], value)
				return
			}
		}
		d.fail(at, join(prefix, name), "unknown setting"+didYouMean(name, settingNames(known)))
	})
}

// entries visits the entries of a mapping. It refuses names that are not plain text, and names that are given twice.
func (d *fileDecoder) entries(m *ast.MappingNode, prefix string, visit func(name string, at Origin, value ast.Node)) {
	seen := make(map[string]Origin, len(m.Values))
	for _, entry := range m.Values {
		at := d.at(entry.Key.GetToken())
		key, ok := entry.Key.(*ast.StringNode)
		if !ok {
			d.fail(at, prefix, "a name must be plain text; merge keys, anchors and complex keys are not supported")
			continue
		}
		name := key.Value
		if first, twice := seen[name]; twice {
			d.fail(at, join(prefix, name), fmt.Sprintf("is given twice; the first is on line %d", first.Line))
			continue
		}
		seen[name] = at
		visit(name, at, entry.Value)
	}
}

// setting decodes one top-level value.
func (d *fileDecoder) setting(s *Setting, node ast.Node) {
	if s.Fields != nil {
		d.objects(s, node)
		d.c.setOrigin(s.Name, d.at(start(node)))
		return
	}
	d.value(s.target(d.c), s, s.Name, node)
}

// value decodes node into target, a pointer to the type of s. It reports whether that succeeded.
func (d *fileDecoder) value(target any, s *Setting, path string, node ast.Node) bool {
	at := d.at(start(node))
	var err error
	switch target := target.(type) {
	case *[]string:
		var list []string
		if list, err = d.list(node, s.Flag != ""); err == nil {
			*target = list
		}
	case *map[string]string:
		var headers map[string]string
		if headers, err = d.headers(node, path); err == nil {
			*target = headers
		}
	case *JSON:
		var value JSON
		if value, err = nodeJSON(node); err == nil {
			*target = value
		}
	default:
		err = setNode(target, s, node)
	}
	if err != nil {
		d.fail(at, path, err.Error())
		return false
	}
	d.c.setOrigin(path, at)
	return true
}

// list reads a sequence of texts. With commas it also takes a single text in the form of the flag. Without commas, for a
// setting that has no flag, it also takes numbers and booleans as elements, and keeps them as they are written.
func (d *fileDecoder) list(node ast.Node, commas bool) ([]string, error) {
	seq, ok := node.(*ast.SequenceNode)
	if !ok {
		if text, isText := plainText(node); isText && commas {
			return parseList(text), nil
		}
		return nil, fmt.Errorf("must be a list of texts, not %s", describe(node))
	}
	var list []string
	for _, v := range seq.Values {
		text, isText := plainText(v)
		if !commas {
			text, isText = scalarText(v)
		}
		if !isText {
			return nil, fmt.Errorf("must be a list of texts; it contains %s", describe(v))
		}
		list = append(list, text)
	}
	return list, nil
}

// headers reads a mapping of names to texts. It keeps numbers and booleans as they are written, and takes no value as "".
func (d *fileDecoder) headers(node ast.Node, prefix string) (map[string]string, error) {
	m, ok := node.(*ast.MappingNode)
	if !ok {
		return nil, fmt.Errorf("must be a mapping of header names to values, not %s", describe(node))
	}
	headers := make(map[string]string, len(m.Values))
	d.entries(m, prefix, func(name string, at Origin, value ast.Node) {
		text := ""
		if value != nil && value.Type() != ast.NullType {
			if text, ok = scalarText(value); !ok {
				d.fail(d.at(start(value)), join(prefix, name), "must be a text, not "+describe(value))
				return
			}
		}
		headers[name] = text
		d.c.setOrigin(join(prefix, name), at)
	})
	return headers, nil
}

// objects reads a list of objects. Fields that an object does not have get their defaults.
func (d *fileDecoder) objects(s *Setting, node ast.Node) {
	first := &s.Fields[0]
	seq, ok := node.(*ast.SequenceNode)
	if !ok {
		d.fail(d.at(start(node)), s.Name, fmt.Sprintf("must be a %s (- %s: %s), not %s", s.Form, first.Name, first.Form, describe(node)))
		return
	}
	list := reflect.MakeSlice(s.typ, len(seq.Values), len(seq.Values))
	for i, item := range seq.Values {
		where := fmt.Sprintf("%s[%d]", s.Name, i)
		d.c.setOrigin(where, d.at(start(item)))
		setDefaults(s.Fields, list.Index(i))
		hasFirst := false
		d.mapping(item, where, s.Fields, func(f *Setting, value ast.Node) {
			hasFirst = hasFirst || f.Name == first.Name
			field := list.Index(i).Field(f.field)
			if field.Kind() != reflect.Pointer {
				d.value(field.Addr().Interface(), f, join(where, f.Name), value)
				return
			}
			field.Set(reflect.New(field.Type().Elem()))
			if !d.value(field.Interface(), f, join(where, f.Name), value) {
				field.SetZero()
			}
		})
		if _, isMapping := item.(*ast.MappingNode); isMapping && !hasFirst {
			d.fail(d.at(start(item)), join(where, first.Name), "is missing: "+first.Required)
		}
	}
	reflect.ValueOf(s.target(d.c)).Elem().Set(list)
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}
