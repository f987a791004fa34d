package config

import (
	_ "embed"
	"reflect"
	"strings"
	"text/template"
	"time"
)

//go:embed docs.md.tmpl
var docsText string

// Docs returns the text of docs/configuration.md.
func Docs() string {
	t := template.Must(template.New("docs").Parse(docsText))
	var b strings.Builder
	if err := t.Execute(&b, docsData()); err != nil {
		panic("config: docs template: " + err.Error()) // a mistake in the template; every test meets it
	}
	return b.String()
}

type docsGroup struct {
	Title    string
	Settings []docsSetting
}

type docsSetting struct{ Name, Flag, Env, Type, Default, Reload, Help string }

func docsData() map[string]any {
	var groups []docsGroup
	for i := range schema {
		s := &schema[i]
		if len(groups) == 0 || groups[len(groups)-1].Title != s.Group {
			groups = append(groups, docsGroup{Title: s.Group})
		}
		g := &groups[len(groups)-1]
		g.Settings = append(g.Settings, docsOf(s))
	}
	var fixed []docsSetting
	for _, name := range []string{"Transfer-Encoding", "Content-Length", "Content-Type"} {
		fixed = append(fixed, docsSetting{Name: name, Help: fixedHeaders[strings.ToLower(name)]})
	}
	return map[string]any{"Groups": groups, "Publishers": fieldDocs("publishTokens"), "Rules": fieldDocs("keys"), "Schedules": fieldDocs("schedules"), "Fixed": fixed, "MaxFile": Size(maxFileBytes).String()}
}

// fieldDocs documents the fields of one object of a list.
func fieldDocs(list string) (docs []docsSetting) {
	fields := byName[list].Fields
	for i := range fields {
		d := docsOf(&fields[i])
		if fields[i].inherited {
			d.Help = "Replaces `" + fields[i].Name + "` for the keys that match."
		}
		docs = append(docs, d)
	}
	return docs
}

func docsOf(s *Setting) docsSetting {
	d := docsSetting{
		Name: s.Name, Flag: code(s.Flag), Env: code(s.Env), Type: cell(s.docsType()),
		Default: code(s.Default), Reload: "yes", Help: cell(s.Help),
	}
	if s.Flag == "" {
		d.Flag, d.Env = "file only", "file only"
	}
	if s.Default == "" {
		d.Default = "empty"
	}
	if !s.Reload {
		d.Reload = "restart"
	}
	return d
}

func (s *Setting) docsType() string {
	if len(s.Enum) > 0 {
		return "`" + strings.Join(s.Enum, "`, `") + "`"
	}
	if s.Fields != nil || s.typ == reflect.TypeFor[JSON]() {
		return s.Form
	}
	name := ""
	switch s.typ {
	case reflect.TypeFor[bool]():
		return "true, false"
	case reflect.TypeFor[int]():
		name = "number"
	case reflect.TypeFor[time.Duration]():
		name = "duration"
	case reflect.TypeFor[Size]():
		name = "size"
	case reflect.TypeFor[[]string]():
		return "list of `" + s.Form + "`"
	case reflect.TypeFor[map[string]string]():
		return "map of `" + s.Form + "`"
	default:
		return "text `" + s.Form + "`"
	}
	return name + ", " + s.Range()
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

// cell escapes the character that would end a cell of a Markdown table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
