package config

import (
	"regexp"

	"fanfare/bridge/nats"
)

func checkNATSURL(c *Config, at place) {
	if c.NATSURL == "" {
		if c.NATSCredentials != "" {
			at.v.at("natsCredentials").fail("needs natsURL (environment %s), the server that they are for", byName["natsURL"].Env)
		}
		return
	}
	if err := nats.CheckURL(string(c.NATSURL)); err != nil {
		at.fail("%s", err)
	} else if c.Backplane != BackplaneNATS && len(c.NATSSubjects) == 0 {
		at.fail("is set, but nothing uses it: set backplane to nats, or name subjects (natsSubjects)")
	}
}

func checkNATSSubjects(c *Config, at place) {
	if _, err := nats.ParseRules(c.NATSSubjects); err != nil {
		at.fail("%s", err)
	}
	if len(c.NATSSubjects) > 0 && c.NATSURL == "" {
		at.fail("needs natsURL (environment %s), such as nats://127.0.0.1:4222", byName["natsURL"].Env)
	}
}

// streamNames are what JetStream takes as the name of a stream, with room for the number of a partition.
var streamNames = regexp.MustCompile(`^[A-Za-z0-9_-]{1,60}$`)

func checkNATSStream(c *Config, at place) {
	if !streamNames.MatchString(c.NATSStream) {
		at.fail("%s is not a name of a stream: write up to 60 letters, digits, hyphens and underscores", quoteShort(c.NATSStream))
	}
}

// domainNames are what a server and a subject take as the name of a domain, and what reads like one.
var domainNames = regexp.MustCompile(`^[A-Za-z0-9_-]{0,60}$`)

func checkNATSDomain(c *Config, at place) {
	if !domainNames.MatchString(c.NATSDomain) {
		at.fail("%s is not a name of a domain: write the name that is in the server's jetstream block, letters, digits, hyphens and underscores", quoteShort(c.NATSDomain))
	}
}

func checkNATSReplicas(c *Config, at place) {
	if c.NATSReplicas == 2 || c.NATSReplicas == 4 {
		at.fail("%d does not survive more failures than %d: write 1, 3 or 5", c.NATSReplicas, c.NATSReplicas-1)
	}
}
