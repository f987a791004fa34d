package config

import (
	"time"

	"fanfare/auth/pattern"
)

// KeyRule overrides settings for the keys that match a pattern. A nil field keeps the setting that applies to all keys. The
// ranges are those of the settings with the same name.
type KeyRule struct {
	Match         string         `yaml:"match" form:"PATTERN" required:"each rule needs the pattern of its keys" help:"The keys to which the rule applies; required. See below."`
	History       *int           `yaml:"history"`
	HistoryBytes  *Size          `yaml:"historyBytes"`
	HistoryTTL    *time.Duration `yaml:"historyTTL"`
	FlushInterval *time.Duration `yaml:"flushInterval"`
	Slow          *string        `yaml:"slow"`
	MaxClients    *int           `yaml:"maxClients"`
	SendLast      *bool          `yaml:"sendLast"`
	Interest      *string        `yaml:"interest"`
}

func checkKeyRules(c *Config, at place) {
	first := make(map[string]int)
	for i := range c.Keys {
		r, rule := &c.Keys[i], at.item(i)
		if r.HistoryBytes != nil {
			bytes := rule.part("historyBytes")
			if *r.HistoryBytes < c.MaxEventBytes {
				bytes.tooSmall(*r.HistoryBytes, byName["maxEventBytes"])
			}
			if *r.HistoryBytes > c.HistoryTotalBytes {
				bytes.tooLarge(*r.HistoryBytes, byName["historyTotalBytes"])
			}
		}
		if r.Interest != nil && *r.Interest != Defaults().Interest && !c.Durable() {
			rule.part("interest").fail("needs a backplane, and backplane is %s (%s): without one this server is the only one that has the events", c.Backplane, c.Origin("backplane"))
		}
		match := rule.part("match")
		if r.Match == "" {
			match.fail("must not be empty: \"*\" matches all keys without a slash")
		} else if err := pattern.Check(r.Match); err != nil {
			match.fail("%s %s", quoteShort(r.Match), err)
		} else if j, twice := first[r.Match]; twice {
			match.fail("%s is never used: keys[%d] has the same pattern, and the first match counts", quoteShort(r.Match), j)
		} else {
			first[r.Match] = i
		}
	}
}
