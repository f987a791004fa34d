package config

import (
	"regexp"
	"slices"
	"strings"
)

// The values of Backplane.
const (
	BackplaneOff      = "off"
	BackplaneEmbedded = "embedded"
	BackplaneNATS     = "nats"
	BackplaneRedis    = "redis"
)

// The values of Interest.
const (
	InterestAll  = "all"
	InterestKeys = "keys"
)

// Durable reports whether events go to a backplane.
func (c *Config) Durable() bool { return c.Backplane != BackplaneOff }

// Fleet reports whether there may be other nodes.
func (c *Config) Fleet() bool {
	return c.Backplane == BackplaneNATS || c.Backplane == BackplaneRedis
}

// onlyWith has the settings that count only with some backplanes.
var onlyWith = []struct {
	setting    string
	backplanes []string
}{
	{"dataDir", []string{BackplaneEmbedded, BackplaneNATS, BackplaneRedis}},
	{"fsync", []string{BackplaneEmbedded}},
	{"retentionAge", []string{BackplaneEmbedded, BackplaneNATS, BackplaneRedis}},
	{"retentionBytes", []string{BackplaneEmbedded, BackplaneNATS, BackplaneRedis}},
	{"retentionPerKey", []string{BackplaneEmbedded, BackplaneNATS}},
	{"interest", []string{BackplaneEmbedded, BackplaneNATS, BackplaneRedis}},
	{"publishTimeout", []string{BackplaneEmbedded, BackplaneNATS, BackplaneRedis}},
	{"away", []string{BackplaneNATS, BackplaneRedis}},
	{"awayBytes", []string{BackplaneNATS, BackplaneRedis}},
	{"olderConcurrency", []string{BackplaneEmbedded, BackplaneNATS, BackplaneRedis}},
	{"olderMaxEvents", []string{BackplaneEmbedded, BackplaneNATS, BackplaneRedis}},
	{"fleetTimeout", []string{BackplaneNATS, BackplaneRedis}},
	{"fleetForgetAfter", []string{BackplaneNATS, BackplaneRedis}},
	{"nodeName", []string{BackplaneEmbedded, BackplaneNATS, BackplaneRedis}},
	{"readyWithoutBroker", []string{BackplaneNATS, BackplaneRedis}},
	{"redisPrefix", []string{BackplaneRedis}},
	{"redisPartitions", []string{BackplaneRedis}},
	{"natsDomain", []string{BackplaneNATS}},
	{"natsStream", []string{BackplaneNATS}},
	{"natsReplicas", []string{BackplaneNATS}},
	{"natsPartitions", []string{BackplaneNATS}},
}

func checkBackplane(c *Config, at place) {
	def := Defaults() // a default is no mistake: config print writes them all
	for _, s := range onlyWith {
		if byName[s.setting].value(c) != byName[s.setting].value(def) && !slices.Contains(s.backplanes, c.Backplane) && slices.Contains(byName["backplane"].Enum, c.Backplane) {
			at.v.at(s.setting).fail("is for backplane: %s, and backplane is %s (%s): leave it out, or set backplane",
				strings.Join(s.backplanes, " or "), c.Backplane, c.Origin("backplane"))
		}
	}
	switch {
	case c.Backplane == BackplaneEmbedded && c.DataDir == "":
		at.fail("embedded needs dataDir (environment %s), the directory that keeps the events, such as /var/lib/fanfare", byName["dataDir"].Env)
	case c.Backplane == BackplaneNATS && c.NATSURL == "":
		at.fail("nats needs natsURL (environment %s), such as nats://127.0.0.1:4222", byName["natsURL"].Env)
	case c.Backplane == BackplaneRedis && c.RedisURL == "":
		at.fail("redis needs redisURL (environment %s), such as redis://127.0.0.1:6379", byName["redisURL"].Env)
	}
	if !c.Durable() {
		return
	}
	at.v.relation(byName["publishTimeout"], byName["duplicateWindow"])
	at.v.relation(byName["duplicateWindow"], byName["retentionAge"])
	at.v.relation(byName["maxEventBytes"], byName["retentionBytes"])
}

// redisPrefixes are the names that a fleet may have in Redis. Braces would be a hash tag.
var redisPrefixes = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,59}$`)

func checkRedisPrefix(c *Config, at place) {
	if !redisPrefixes.MatchString(c.RedisPrefix) {
		at.fail("%s is not a name for keys: write up to 60 letters, digits, dots, colons, hyphens and underscores", quoteShort(c.RedisPrefix))
	}
}

// nodeNames are the names that a node may have. They are parts of subjects of NATS, and of channels of Redis.
var nodeNames = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

func checkNodeName(c *Config, at place) {
	if c.NodeName != "" && !nodeNames.MatchString(c.NodeName) {
		at.fail("%s is not a name of a node: write up to 100 letters, digits, dots, hyphens and underscores", quoteShort(c.NodeName))
	}
}
