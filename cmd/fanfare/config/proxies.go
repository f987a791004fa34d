package config

import (
	"fmt"
	"net/netip"
	"slices"
)

func checkProxies(c *Config, at place) {
	for _, text := range c.TrustedProxies {
		if text == UnixSockets {
			continue
		}
		if _, err := parseProxy(text); err != nil {
			at.fail("%s", err)
		}
	}
}

func checkProxyProtocol(c *Config, at place) {
	if c.ProxyProtocol && len(c.TrustedProxies) == 0 {
		at.fail("needs trustedProxies, the addresses from which connections begin with a PROXY header: set trustedProxies (environment %s)", byName["trustedProxies"].Env)
	}
}

// UnixSockets is the word of trustedProxies for whoever connects to a Unix socket.
const UnixSockets = "unix"

// TrustsUnix reports whether trustedProxies has the word for Unix sockets.
func (c *Config) TrustsUnix() bool { return slices.Contains(c.TrustedProxies, UnixSockets) }

// Proxies are the addresses of trustedProxies, without the word for Unix sockets.
func (c *Config) Proxies() []netip.Prefix {
	list := make([]netip.Prefix, 0, len(c.TrustedProxies))
	for _, text := range c.TrustedProxies {
		if p, err := parseProxy(text); err == nil { // Validate refuses the others
			list = append(list, p)
		}
	}
	return list
}

func parseProxy(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return p, fmt.Errorf("%q is not an IP address or a block of them: write one such as 10.0.0.7 or 10.0.0.0/8, or %s for all Unix sockets", text, UnixSockets)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%q has bits set after its prefix length: write %s", text, p.Masked())
	}
	if p.Addr().Is4In6() {
		return p, fmt.Errorf("%q is an IPv4 address in IPv6 form: write it as 10.0.0.7 or 10.0.0.0/8", text)
	}
	return p, nil
}
