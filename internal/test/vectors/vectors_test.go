package vectors

import (
	"slices"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	all := Load(t)
	for want, spoil := range map[string]func([]Vector) []Vector{
		`want 60`:                    func(v []Vector) []Vector { return v[1:] },
		`unknown http "maybe"`:       func(v []Vector) []Vector { v[0].HTTP = "maybe"; return v },
		`it has other bytes`:         func(v []Vector) []Vector { v[0].HTTP = Differs; return v },
		`can be published over HTTP`: func(v []Vector) []Vector { v[0].HTTP = NodeOnly; return v },
	} {
		if err := check(spoil(slices.Clone(all))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
