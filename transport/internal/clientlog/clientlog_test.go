package clientlog

import (
	"strings"
	"testing"
)

// TestKeys: a log line is bounded, however many keys a stream has.
func TestKeys(t *testing.T) {
	many := make([]string, 1000)
	for i := range many {
		many[i] = strings.Repeat("你", 300)
	}
	for _, test := range []struct {
		keys []string
		want string
	}{
		{[]string{"a"}, "a"}, {[]string{"a", "b"}, "a,b"}, {many[:1], strings.Repeat("你", 21) + "…"},
	} {
		if got := Keys(test.keys); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
	if got := Keys(many); len(got) > maxKeys+100 || !strings.HasSuffix(got, "… 996 more") {
		t.Errorf("%d bytes, %q", len(got), got)
	}
}
