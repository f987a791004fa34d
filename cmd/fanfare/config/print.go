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

// YAML is the effective configuration as a file, with the origin of each value as a comment. Secrets and the header fields of
// schedules are redacted, and their lines are commented out: a file made from this text must not set a token that everybody
// knows. Apart from these, loading the text gives the same configuration.
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
	if s.Fields == nil {
		p.value(s, s.Name, "", s.value(p.c))
		return
	}
	list := reflect.ValueOf(s.value(p.c))
	if list.Len() == 0 {
		p.add(s.Name, s.Name+": []")
		return
	}
	p.add(s.Name, s.Name+":")
	for i := range list.Len() {
		p.object(s, fmt.Sprintf("%s[%d]", s.Name, i), list.Index(i))
	}
}

// object prints the first field, and those fields that differ from their defaults.
func (p *printer) object(s *Setting, path string, object reflect.Value) {
	lead := "  - "
	for i := range s.Fields {
		f := &s.Fields[i]
		v := object.Field(f.field)
		switch {
		case v.Kind() == reflect.Pointer && v.IsNil():
			continue
		case v.Kind() == reflect.Pointer:
			v = v.Elem()
		case i > 0 && (v.IsZero() || formatText(v.Interface()) == f.Default):
			continue
		}
		p.value(f, path+"."+f.Name, lead, v.Interface())
		lead = "    "
	}
}

// value prints one setting. lead is printed before its name.
func (p *printer) value(s *Setting, path, lead string, value any) {
	begin, indent := lead+s.Name+":", strings.Repeat(" ", len(lead))
	if s.redact {
		begin, indent = indent+"# "+s.Name+":", indent+"# "
	}
	switch v := value.(type) {
	case Secret:
		if v != "" {
			p.add(path, fmt.Sprintf("%s# %s: %s", lead, s.Name, v))
			return
		}
		p.add(path, begin+` ""`)
	case []string:
		if len(v) == 0 {
			p.add(path, begin+" []")
			return
		}
		p.add(path, begin)
		for _, item := range v {
			p.add(path, indent+"  - "+quoteYAML(item))
		}
	case map[string]string:
		if len(v) == 0 {
			p.add(path, begin+" {}")
			return
		}
		p.add(path, begin)
		for _, name := range slices.Sorted(maps.Keys(v)) {
			text := quoteYAML(v[name])
			if s.redact {
				text = redacted
			}
			p.add(path+"."+name, indent+"  "+quoteYAML(name)+": "+text)
		}
	case JSON:
		p.add(path, begin+" "+string(v))
	default:
		p.add(path, begin+" "+scalarYAML(s, v))
	}
}

func scalarYAML(s *Setting, value any) string {
	if text, ok := value.(string); ok && len(s.Enum) == 0 {
		return quoteYAML(text)
	}
	return formatText(value)
}

// quoteYAML makes a double-quoted scalar. YAML has the quoting of JSON, with one exception.
func quoteYAML(text string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(text); err != nil {
		return fmt.Sprintf("%q", text) // strings always encode
	}
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "\x7f", `\u007f`) // not allowed in YAML, but in JSON
}

func (p *printer) String() string {
	const widest = 48 // the comment of a longer line follows it directly
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
