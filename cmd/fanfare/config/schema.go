package config

import (
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"
)

// Setting is one setting as the schema describes it.
type Setting struct {
	Name     string // in the file: "maxClients"
	Flag     string // "--max-clients", "" for a setting of the file alone
	Env      string // "FANFARE_MAX_CLIENTS", likewise
	Group    string
	Default  string // as a user would write it; "" for empty
	Min, Max string // inclusive; "" where the type has no range
	Enum     []string
	Form     string // placeholder: "DURATION"
	Help     string
	Reload   bool // takes effect without a restart
	// Fields are the settings of one object if the setting is a list of objects, and nil otherwise. The first of them is
	// required; its Required says why.
	Fields   []Setting
	Required string

	field     int // index in Config, or in the struct of the objects
	typ       reflect.Type
	inherited bool // a field that has everything except its place from the setting of the same name
	redact    bool // its values are not printed
}

// envPrefix begins every environment variable of the server.
const envPrefix = "FANFARE_"

var (
	schema = inherit(schemaOf(reflect.TypeFor[Config]()))
	byName = indexSettings(schema)
)

// Schema lists the settings in the order of Config.
func Schema() []Setting { return append([]Setting(nil), schema...) }

func indexSettings(settings []Setting) map[string]*Setting {
	m := make(map[string]*Setting, len(settings))
	for i := range settings {
		m[settings[i].Name] = &settings[i]
	}
	return m
}

func settingNames(settings []Setting) []string {
	names := make([]string, len(settings))
	for i := range settings {
		names[i] = settings[i].Name
	}
	return names
}

func schemaOf(t reflect.Type) []Setting {
	var settings []Setting
	for f := range t.Fields() {
		if !f.IsExported() {
			continue
		}
		s := Setting{
			Name:     f.Tag.Get("yaml"),
			Group:    f.Tag.Get("group"),
			Default:  f.Tag.Get("default"),
			Min:      f.Tag.Get("min"),
			Max:      f.Tag.Get("max"),
			Form:     f.Tag.Get("form"),
			Help:     f.Tag.Get("help"),
			Reload:   f.Tag.Get("reload") != "no",
			Required: f.Tag.Get("required"),
			redact:   f.Tag.Get("redact") == "yes",
			field:    f.Index[0],
			typ:      f.Type,
		}
		if e := f.Tag.Get("enum"); e != "" {
			s.Enum = strings.Split(e, ",")
		}
		if s.Form == "" {
			s.Form = formOf(s)
		}
		switch {
		case s.typ.Kind() == reflect.Slice && s.typ.Elem().Kind() == reflect.Struct:
			s.Fields = schemaOf(s.typ.Elem())
		case t == reflect.TypeFor[Config]():
			kebab := kebabCase(s.Name)
			s.Flag = "--" + kebab
			s.Env = envPrefix + strings.ToUpper(strings.ReplaceAll(kebab, "-", "_"))
		}
		settings = append(settings, s)
	}
	return settings
}

// inherit gives a field of an object the schema of the setting with the same name, if the field has no help of its own.
func inherit(settings []Setting) []Setting {
	top := indexSettings(settings)
	for i := range settings {
		for j := range settings[i].Fields {
			f := &settings[i].Fields[j]
			if from, ok := top[f.Name]; ok && f.Help == "" {
				place := f.field
				*f = *from
				f.field, f.inherited, f.Flag, f.Env = place, true, "", ""
			}
		}
	}
	return settings
}

func formOf(s Setting) string {
	switch {
	case len(s.Enum) > 0:
		return strings.Join(s.Enum, "|")
	case s.typ == reflect.TypeFor[time.Duration]():
		return "DURATION"
	case s.typ == reflect.TypeFor[Size]():
		return "SIZE"
	case s.typ == reflect.TypeFor[int]():
		return "N"
	case s.typ == reflect.TypeFor[bool]():
		return "true|false"
	}
	return "TEXT"
}

// kebabCase turns maxKeysPerConnection into max-keys-per-connection, historyTTL into history-ttl and adminTLSCert into
// admin-tls-cert.
func kebabCase(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// Defaults is the configuration of a server without any settings.
func Defaults() *Config {
	c := new(Config)
	setDefaults(schema, reflect.ValueOf(c).Elem())
	return c
}

// setDefaults sets the fields of a struct to the defaults of their settings. Pointers stay nil.
func setDefaults(settings []Setting, to reflect.Value) {
	for i := range settings {
		s := &settings[i]
		field := to.Field(s.field)
		if s.Default == "" || field.Kind() == reflect.Pointer {
			continue
		}
		if err := setText(field.Addr().Interface(), s.Default); err != nil {
			panic(fmt.Sprintf("config: default of %s: %v", s.Name, err)) // a mistake in the tags; every test meets it
		}
	}
}

// target is a pointer to the setting's field.
func (s *Setting) target(c *Config) any {
	return reflect.ValueOf(c).Elem().Field(s.field).Addr().Interface()
}

// value is the value of the setting's field.
func (s *Setting) value(c *Config) any { return reflect.ValueOf(c).Elem().Field(s.field).Interface() }

func (s *Setting) secret() bool { return s.typ == reflect.TypeFor[Secret]() }

// Range is the range, or the allowed words, as the documentation and the messages show them.
func (s *Setting) Range() string {
	switch {
	case len(s.Enum) > 0:
		return strings.Join(s.Enum, ", ")
	case s.Min != "":
		return s.Min + " to " + s.Max
	}
	return ""
}
