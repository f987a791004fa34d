package config

import (
	"path"
	"time"
)

// KeySettings are the settings of one key after the rules.
type KeySettings struct {
	History      int
	HistoryBytes Size
	HistoryTTL   time.Duration
	Slow         string
	MaxClients   int
}

// ForKey applies the first rule that matches key. It costs a pattern match per rule: ask when a key is made, not for
// each event. Safe for concurrent use.
func (c *Config) ForKey(key string) KeySettings {
	s := KeySettings{c.History, c.HistoryBytes, c.HistoryTTL, c.Slow, c.MaxClients}
	for i := range c.Keys {
		r := &c.Keys[i]
		if ok, err := path.Match(r.Match, key); !ok || err != nil { // a bad pattern is refused by Validate
			continue
		}
		override(&s.History, r.History)
		override(&s.HistoryBytes, r.HistoryBytes)
		override(&s.HistoryTTL, r.HistoryTTL)
		override(&s.Slow, r.Slow)
		override(&s.MaxClients, r.MaxClients)
		break
	}
	return s
}

func override[T any](dst *T, src *T) {
	if src != nil {
		*dst = *src
	}
}
