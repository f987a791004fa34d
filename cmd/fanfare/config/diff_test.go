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
		{base + "cacheKey: k\nmaxConnections: 5\nmaxBodyBytes: 17MiB\npublishToken: t\n",
			[]string{"publishToken", "cacheKey", "maxConnections", "maxBodyBytes"}, []string{"cacheKey", "maxConnections", "maxBodyBytes"}},
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

func TestForKey(t *testing.T) {
	c, err := load(t, "history: 32\nkeys:\n- {match: 'ticker.*', slow: latest, history: 4}\n- {match: 'ticker.a', history: 8}\n- {match: 'orders/*', maxClients: 1, historyBytes: 4MiB, historyTTL: 1s}\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	all := KeySettings{c.History, c.HistoryBytes, c.HistoryTTL, c.Slow, c.MaxClients}
	ticker, orders := all, all
	ticker.Slow, ticker.History = "latest", 4
	orders.MaxClients, orders.HistoryBytes, orders.HistoryTTL = 1, 4<<20, 1e9
	for key, want := range map[string]KeySettings{
		"": all, "x": all, "ticker": all, "ticker.a": ticker, "ticker.": ticker, "ticker.a/b": all, "orders/1": orders, "orders/1/2": all,
	} {
		if got := c.ForKey(key); got != want {
			t.Errorf("%q: %+v, want %+v", key, got, want)
		}
	}
}
