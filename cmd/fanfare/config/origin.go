package config

import "fmt"

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
