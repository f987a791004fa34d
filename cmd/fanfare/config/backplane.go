package config

import (
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The values of Backplane.
const (
	BackplaneOff      = "off"
	BackplaneEmbedded = "embedded"
	BackplaneNATS     = "nats"
	BackplaneRedis    = "redis"
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
	{"publishTimeout", []string{BackplaneEmbedded, BackplaneNATS, BackplaneRedis}},
	{"away", []string{BackplaneNATS, BackplaneRedis}},
	{"awayBytes", []string{BackplaneNATS, BackplaneRedis}},
	{"olderConcurrency", []string{BackplaneEmbedded, BackplaneNATS, BackplaneRedis}},
	{"olderMaxEvents", []string{BackplaneEmbedded, BackplaneNATS, BackplaneRedis}},
	{"fleetTimeout", []string{BackplaneNATS, BackplaneRedis}},
	{"nodeName", []string{BackplaneEmbedded, BackplaneNATS, BackplaneRedis}},
	{"readyWithoutBroker", []string{BackplaneNATS, BackplaneRedis}},
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

// nodeNames are the names that a node may have. They are parts of subjects of NATS, and of channels of Redis.
var nodeNames = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

func checkNodeName(c *Config, at place) {
	if c.NodeName != "" && !nodeNames.MatchString(c.NodeName) {
		at.fail("%s is not a name of a node: write up to 100 letters, digits, dots, hyphens and underscores", quoteShort(c.NodeName))
	}
}

// streamNames are what JetStream takes as the name of a stream, with room for the number of a partition.
var streamNames = regexp.MustCompile(`^[A-Za-z0-9_-]{1,60}$`)

func checkNATSStream(c *Config, at place) {
	if !streamNames.MatchString(c.NATSStream) {
		at.fail("%s is not a name of a stream: write up to 60 letters, digits, hyphens and underscores", quoteShort(c.NATSStream))
	}
}

func checkNATSReplicas(c *Config, at place) {
	if c.NATSReplicas == 2 || c.NATSReplicas == 4 {
		at.fail("%d does not survive more failures than %d: write 1, 3 or 5", c.NATSReplicas, c.NATSReplicas-1)
	}
}

func checkNATSURL(c *Config, at place) {
	if c.NATSURL == "" {
		if c.NATSCredentials != "" {
			at.v.at("natsCredentials").fail("needs natsURL (environment %s), the server that they are for", byName["natsURL"].Env)
		}
		return
	}
	if problem := natsURLProblem(string(c.NATSURL)); problem != "" {
		at.fail("%s", problem)
	} else if c.Backplane != BackplaneNATS {
		at.fail("is set, but nothing uses it: set backplane to nats")
	}
}

// natsURLProblem returns what is wrong with a list of URLs of NATS servers, or "". It never repeats a part of them, which may
// be the password.
func natsURLProblem(text string) string {
	for one := range strings.SplitSeq(text, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil {
			return "is not a valid URL: write nats://[USER:PASSWORD@]HOST[:PORT], with %-escapes for special characters of the password (%40 for @, %2F for /)"
		}
		if !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return "must begin with nats:// or tls:// (TLS), also each one after a comma"
		}
		if u.Hostname() == "" {
			return "has no host: write nats://HOST:PORT"
		}
		if _, port, err := net.SplitHostPort(u.Host); err == nil {
			if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
				return "has no valid port: write a number from 1 to 65535"
			}
		}
	}
	return ""
}
