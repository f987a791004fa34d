package config

import (
	"reflect"
	"testing"
)

func TestDiff(t *testing.T) {
	const base = "history: 4\nheaders: {X-A: 1}\nkeys: [{match: a, history: 4}]\n"
	for _, test := range []struct {
		file             string
		changed, restart []string
	}{
		{base, nil, nil},
		{"# moved\n\nkeys:\n - match: a\n   history: 4\nheaders:\n  X-A: '1'\nhistory: 4\nadminOrigins: []\n", nil, nil},
		{base + "slow: latest\nadmin: off\nlisten: :1\n", []string{"listen", "admin", "slow"}, []string{"listen", "admin"}},
		{"history: 8\nheaders: {X-A: 2}\nkeys: [{match: a, history: 5}]\n", []string{"headers", "history", "keys"}, nil},
		{"history: 4\nheaders: {}\n", []string{"headers", "keys"}, nil},
		{base + "cacheKey: k\nmaxConnections: 5\nlogFormat: json\npublishToken: t\n",
			[]string{"publishToken", "cacheKey", "maxConnections", "logFormat"}, []string{"cacheKey", "maxConnections", "logFormat"}},
	} {
		old, err := load(t, base, nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := load(t, test.file, nil)
		if err != nil {
			t.Fatal(err)
		}
		changed, restart := Diff(old, c)
		if !reflect.DeepEqual(changed, test.changed) || !reflect.DeepEqual(restart, test.restart) {
			t.Errorf("%q: %v %v, want %v %v", test.file, changed, restart, test.changed, test.restart)
		}
	}
}
