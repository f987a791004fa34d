package main

import (
	"crypto/tls"
	"fmt"
	"net"

	"fanfare/cmd/fanfare/config"
	"fanfare/transport"
)

// guardsAdmin reports whether somebody who reaches the admin listener needs a credential: a token, or a client certificate.
func guardsAdmin(c *config.Config, o *transport.Options) bool {
	return c.GuardsPublish() || o.AdminTLS != nil && o.AdminTLS.ClientAuth == tls.RequireAndVerifyClientCert
}

// openAdmin is the error for a listener on which everybody could publish.
func openAdmin(what string, at net.Addr, unless string) error {
	return fmt.Errorf("%s listens on %s, which other machines can reach, and anyone could publish: set publishToken (environment FANFARE_PUBLISH_TOKEN) or publishTokens, or %s", what, at, unless)
}

// checkPublishers refuses new settings that would leave the open admin listener without protection. The socket that is open
// counts, not the address in the file, which takes effect after a restart.
func (p *process) checkPublishers(next *config.Config, o *transport.Options) error {
	if p.admin == nil {
		return nil
	}
	guarded := guardsAdmin(next, o)
	// A file that is just being written is empty or short for a moment, and valid. So no reload removes what protects the server.
	if p.guarded && !guarded {
		return fmt.Errorf("publishToken, publishTokens: the last credential cannot be removed while the admin listener is open on %s: restart the server", p.admin.Addr())
	}
	if loopback(p.admin.Addr()) {
		return nil
	}
	if !guarded {
		return openAdmin("admin", p.admin.Addr(), "restart the server with an address on loopback")
	}
	if config.ShortToken(string(next.PublishToken)) {
		return shortToken(next, p.admin.Addr())
	}
	return nil
}
