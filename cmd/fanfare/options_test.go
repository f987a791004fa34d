package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"fanfare/cmd/fanfare/config"
	"fanfare/engine"
)

// loadYAML loads the configuration of a file with this text.
func loadYAML(t *testing.T, text string) *config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "fanfare.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, err := config.Load([]string{"--config", file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Config
}

func TestFirstMatchingKeyRuleCounts(t *testing.T) {
	cfg := loadYAML(t, "history: 32\nkeys:\n- {match: 'ticker.*', slow: latest, history: 4}\n- {match: 'ticker.a', history: 8}\n"+
		"- {match: 'orders/*', maxClients: 1, historyBytes: 4MiB, historyTTL: 1s}\n")
	o, err := engineOptions(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	ticker := engine.KeyOptions{History: 4, HistoryBytes: 16 << 20, HistoryTTL: 5 * time.Minute, Slow: engine.Latest, MaxSubscribers: 10000}
	orders := engine.KeyOptions{History: 32, HistoryBytes: 4 << 20, HistoryTTL: time.Second, MaxSubscribers: 1}
	for key, want := range map[string]*engine.KeyOptions{"ticker.a": &ticker, "ticker.b": &ticker, "orders/1": &orders, "orders/1/2": nil, "news": nil} {
		got := o.KeyRule(key)
		if (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%s: %+v, want %+v", key, got, want)
		}
	}
	if a, b := o.KeyRule("ticker.a"), o.KeyRule("ticker.b"); a != b {
		t.Error("keys of one rule do not share their options")
	}
}

// Keys of Redis Streams keep their history for a day at least, unless a rule says otherwise.
func TestKeysOfRedisStreams(t *testing.T) {
	cfg := loadYAML(t, "redisURL: redis://h\nredisStreams: ['app:*']\nredisChannels: [c]\nredisKeys: ['app:* -> s/*', '* -> *']\n"+
		"keys:\n- {match: 's/short', historyTTL: 1s}\n- {match: 's/long', historyTTL: 48h}\n- {match: 's/few', history: 8}\n- {match: 'c', history: 8}\n")
	names, err := redisNames(cfg)
	if err != nil {
		t.Fatal(err)
	}
	o, err := engineOptions(cfg, names)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]engine.KeyOptions{
		"s/any":   {History: 1024, HistoryTTL: 24 * time.Hour, StableIDs: true},
		"s/few":   {History: 8, HistoryTTL: 24 * time.Hour, StableIDs: true},
		"s/short": {History: 1024, HistoryTTL: time.Second, StableIDs: true},
		"s/long":  {History: 1024, HistoryTTL: 48 * time.Hour, StableIDs: true},
		"c":       {History: 8, HistoryTTL: 5 * time.Minute},
	} {
		want.HistoryBytes, want.MaxSubscribers = 16<<20, 10000
		if got := o.KeyRule(key); got == nil || *got != want {
			t.Errorf("%s: %+v, want %+v", key, got, want)
		}
	}
	if got := o.KeyRule("app:x"); got != nil {
		t.Errorf("app:x: %+v", got)
	}
}

func TestConnectionLimit(t *testing.T) {
	for _, tt := range []struct {
		setting, files, limit int
		warns                 bool
	}{
		{0, 20000, 19872, false},
		{0, 100, 1, false},
		{5000, 20000, 5000, false},
		{50000, 20000, 50000, true},
	} {
		limit, warning := connectionLimit(tt.setting, tt.files)
		if limit != tt.limit || (warning != "") != tt.warns {
			t.Errorf("%+v: %d, %q", tt, limit, warning)
		}
	}
}

func TestSendLastKeysOfSchedules(t *testing.T) {
	cfg := loadYAML(t, "keys:\n- {match: 'a*', history: 8}\n- {match: 'last*', sendLast: true}\n- {match: '*', maxClients: 7}\nschedules:\n"+
		"- {name: one, every: 1s, key: a1, data: x, sendLast: true}\n- {name: two, every: 1s, key: a2, data: x}\n")
	o, err := engineOptions(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{"a1": true, "a2": false, "last": true, "news": false} {
		got := o.KeyRule(key)
		if got == nil || got.SendLast != want || (got.History == 8) != (key[0] == 'a') || (got.MaxSubscribers == 7) != (key == "news") {
			t.Errorf("%s: %+v", key, got)
		}
	}
}
