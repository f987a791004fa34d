package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

// figure is something that was measured: its value, and where it comes from.
type figure struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	What   string  `json:"what"`
	Origin string  `json:"origin"`
}

//go:embed figures.json
var figuresFile []byte

// figures has them by name, in the order of the file.
type figures struct {
	list   []figure
	byName map[string]figure
}

func readFigures(file []byte) (figures, error) {
	f := figures{byName: map[string]figure{}}
	if err := json.Unmarshal(file, &f.list); err != nil {
		return f, err
	}
	for _, x := range f.list {
		if x.Name == "" || x.Value <= 0 || x.Unit == "" || x.What == "" || x.Origin == "" {
			return f, fmt.Errorf("figure %q is incomplete: %+v", x.Name, x)
		}
		if _, twice := f.byName[x.Name]; twice {
			return f, fmt.Errorf("figure %q is there twice", x.Name)
		}
		f.byName[x.Name] = x
	}
	return f, nil
}
