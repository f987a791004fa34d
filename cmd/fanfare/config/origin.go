package config

import (
	"fmt"
	"strings"
)

// Layer is one source of settings. A higher layer overrides a lower one.
type Layer int

// The layers, weakest first.
const (
	LayerDefault Layer = iota
	LayerFile
	LayerEnv
	LayerFlag
)

// Origin is the place where a value was given. The zero value is the schema's default.
type Origin struct {
	Layer  Layer
	Name   string // the file's path, the variable or the flag with its dashes
	Line   int    // 1-based, 0 outside a file or for a file as a whole
	Column int    // 1-based, in characters
}

// String is "default", "flag --history", "environment FANFARE_HISTORY" or "fanfare.yaml:3:10".
func (o Origin) String() string {
	switch o.Layer {
	case LayerFlag:
		return "flag " + o.Name
	case LayerEnv:
		return "environment " + o.Name
	case LayerFile:
		if o.Line == 0 {
			return o.Name
		}
		return fmt.Sprintf("%s:%d:%d", o.Name, o.Line, o.Column)
	default:
		return "default"
	}
}

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Origin  Origin
	Setting string // path of the setting, "" if the problem is not about one
	Text    string // what is wrong, with the bad value and what to do
}

// Error is "ORIGIN: SETTING: TEXT" on one line. The origin is left out for a default, and for a problem of the command line as
// a whole.
func (p Problem) Error() string {
	var b strings.Builder
	if p.Origin.Layer != LayerDefault {
		b.WriteString(p.Origin.String())
		b.WriteString(": ")
	}
	if p.Setting != "" {
		b.WriteString(p.Setting)
		b.WriteString(": ")
	}
	b.WriteString(p.Text)
	return strings.NewReplacer("\r", `\r`, "\n", `\n`).Replace(b.String())
}

// Problems is the error of Load and Validate: everything that is wrong, not only the first.
type Problems []Problem

// Error is one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.Is and errors.As see each Problem.
func (ps Problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}

// err returns nil if there are no problems. A nil slice in an error interface would not be nil.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}
