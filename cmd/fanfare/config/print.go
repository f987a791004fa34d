package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// YAML is the effective configuration as a file, each line with the origin of its value as a comment. The publish
// token is left out as a comment of its own: a file made from this text must not set a token that everybody knows.
// Loading the text gives the same configuration but for the token.
func (c *Config) YAML() string {
	p := printer{c: c}
	group := ""
	for i := range schema {
		s := &schema[i]
		if s.Group != group {
			if group != "" {
				p.rows = append(p.rows, row{})
			}
			group = s.Group
			p.rows = append(p.rows, row{text: "# " + group})
		}
		p.setting(s)
	}
	return p.String()
}

type row struct{ text, comment string }

type printer struct {
	c    *Config
	rows []row
}

func (p *printer) add(path, text string) {
	p.rows = append(p.rows, row{text, p.c.Origin(path).String()})
}

func (p *printer) setting(s *Setting) {
	switch v := s.value(p.c).(type) {
	case Secret:
		if v != "" {
			p.add(s.Name, fmt.Sprintf("# %s: %s", s.Name, v))
			return
		}
		p.add(s.Name, s.Name+`: ""`)
	case []string:
		if len(v) == 0 {
			p.add(s.Name, s.Name+": []")
			return
		}
		p.add(s.Name, s.Name+":")
		for _, item := range v {
			p.add(s.Name, "  - "+quoteYAML(item))
		}
	case map[string]string:
		if len(v) == 0 {
			p.add(s.Name, s.Name+": {}")
			return
		}
		p.add(s.Name, s.Name+":")
		for _, name := range slices.Sorted(maps.Keys(v)) {
			p.add(s.Name+"."+name, "  "+quoteYAML(name)+": "+quoteYAML(v[name]))
		}
	case []KeyRule:
		if len(v) == 0 {
			p.add(s.Name, s.Name+": []")
			return
		}
		p.add(s.Name, s.Name+":")
		for i := range v {
			p.rule(fmt.Sprintf("%s[%d]", s.Name, i), reflect.ValueOf(v[i]))
		}
	default:
		p.add(s.Name, s.Name+": "+scalarYAML(s, v))
	}
}

func (p *printer) rule(path string, rule reflect.Value) {
	lead := "  - "
	for i := range ruleSet {
		s := &ruleSet[i]
		f := rule.Field(s.field)
		if f.Kind() == reflect.Pointer {
			if f.IsNil() {
				continue
			}
			f = f.Elem()
		}
		p.add(path+"."+s.Name, lead+s.Name+": "+scalarYAML(ruleSetting(s), f.Interface()))
		lead = "    "
	}
}

func scalarYAML(s *Setting, value any) string {
	if text, ok := value.(string); ok && len(s.Enum) == 0 {
		return quoteYAML(text)
	}
	return formatText(value)
}

// quoteYAML makes a double-quoted scalar. JSON's quoting is YAML's, and settings hold no control characters that it
// would leave bare.
func quoteYAML(text string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(text); err != nil {
		return fmt.Sprintf("%q", text) // strings always encode
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (p *printer) String() string {
	const widest = 48 // longer lines have their comment right behind them
	width := 0
	for _, r := range p.rows {
		if n := len(r.text); r.comment != "" && n <= widest {
			width = max(width, n)
		}
	}
	var b strings.Builder
	for _, r := range p.rows {
		b.WriteString(r.text)
		if r.comment != "" {
			fmt.Fprintf(&b, "%*s# %s", max(0, width-len(r.text))+2, "", strings.ReplaceAll(r.comment, "\n", " "))
		}
		b.WriteByte('\n')
	}
	return b.String()
}
