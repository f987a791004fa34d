package config

import "strings"

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
