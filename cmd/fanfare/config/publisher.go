package config

import (
	"strings"

	"fanfare/auth"
)

// Publisher is somebody who may use the publish API. Its tags are those of [Config].
type Publisher struct {
	Name           string   `yaml:"name" form:"NAME" required:"logs use it" help:"Name of the publisher in logs; required and unique."`
	Token          Secret   `yaml:"token" form:"TOKEN" help:"Its bearer token, at least 16 characters; or sha256: and the SHA-256 hash of the token in hexadecimal. Either this or certificate."`
	Certificate    string   `yaml:"certificate" form:"NAME" help:"A name of its client certificate, exactly as in it: the common name of the subject, or a DNS name or URI of the subjectAltName. The admin listener must verify the certificates of its clients."`
	Rights         []string `yaml:"rights" form:"RIGHT" help:"What it may do: publish, publishAll, close, disconnect, read, mint. Default: publish alone."`
	Keys           []string `yaml:"keys" form:"PATTERN" help:"Patterns of the keys that it may do this with; required. What concerns all keys, such as publishAll, needs \"**\"."`
	MaxPublishRate int      `yaml:"maxPublishRate" default:"0" min:"0" max:"10000000" help:"Events per second that it may publish. 0: the setting maxPublishRate."`
}

// GuardsPublish reports whether a request to the publish API needs a credential of its own.
func (c *Config) GuardsPublish() bool {
	return c.PublishToken != "" || len(c.PublishTokens) > 0 || c.PublishJWT
}

// publishers are publishTokens as package auth knows them.
func (c *Config) publishers() (list []auth.PublishToken) {
	for _, p := range c.PublishTokens {
		t := auth.PublishToken{Name: p.Name, Token: auth.Secret(p.Token), Certificate: p.Certificate, Keys: p.Keys, MaxRate: p.MaxPublishRate}
		for _, r := range p.Rights {
			t.Rights = append(t.Rights, auth.Right(r))
		}
		list = append(list, t)
	}
	return list
}

// publisherPath is the place that an error of package auth begins with, "publishTokens[1].token" for instance, and rest what
// is wrong there. path is "" if the error is about something else.
func publisherPath(text string) (path, rest string) {
	if !strings.HasPrefix(text, "publishTokens[") {
		return "", text
	}
	path, rest, _ = strings.Cut(text, " ")
	return path, rest
}

// checkPublishers refuses what package auth does not know of: whoever has publishToken may do everything, so an entry with the
// same token would have no effect.
func checkPublishers(c *Config, at place) {
	for i := range c.PublishTokens {
		if c.PublishToken != "" && c.PublishTokens[i].Token == c.PublishToken {
			at.item(i).part("token").fail("is the publishToken, too, which may do everything: give each its own")
		}
	}
}
