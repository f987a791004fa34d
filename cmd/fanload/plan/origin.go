package plan

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"text/template"
)

// setOrigin sets the origin and host from the first rendered URL.
func (c *Renderer) setOrigin(u string) error {
	parsed, err := url.Parse(u)
	if err != nil {
		return fmt.Errorf("--%s: %w", c.what, err)
	}
	switch {
	case parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "":
		return fmt.Errorf("--%s: %q is not a valid URL: give http://host:port/path, or https://", c.what, u)
	case parsed.User != nil:
		return fmt.Errorf("--%s: %q must not have a user: give --%s-header 'Authorization: …'", c.what, u, c.what)
	}
	c.origin, c.host = u[:strings.Index(u, "://")+3]+parsed.Host, parsed.Host
	return nil
}

// Resolve returns the IP:port of an origin, and for https the name that the certificate must have. Unless remote is set, it
// refuses every address that is not loopback: a load generator that is pointed at someone else's machine by mistake is an
// attack.
func Resolve(flag, origin string, remote bool) (address, certified string, err error) {
	u, err := url.Parse(origin)
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", flag, err)
	}
	port := "80"
	if u.Scheme == "https" {
		port, certified = "443", u.Hostname()
	}
	ip, err := lookup(u.Hostname())
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", flag, err)
	}
	if !remote && !ip.IsLoopback() {
		return "", "", fmt.Errorf("%s %s: %s is not a loopback address. fanload is a load generator: pointed at a machine that is "+
			"not yours, it is an attack. Give --allow-remote if the machine and the network between are yours to load", flag, origin, ip)
	}
	return net.JoinHostPort(ip.String(), cmp.Or(u.Port(), port)), certified, nil
}

// lookup prefers IPv4, because it has 16 million loopback addresses to connect from. IPv6 has one.
func lookup(host string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap(), nil
	}
	found, err := net.LookupIP(host)
	if err != nil {
		return netip.Addr{}, err
	}
	best := netip.Addr{}
	for _, f := range found {
		ip, ok := netip.AddrFromSlice(f)
		if ip = ip.Unmap(); ok && (!best.IsValid() || ip.Is4() && !best.Is4()) {
			best = ip
		}
	}
	if !best.IsValid() {
		return best, fmt.Errorf("the host %s has no address", host)
	}
	return best, nil
}

// KeyNames renders the --key template.
func (p *Plan) KeyNames() (*Keys, error) {
	t, err := parse("--key", p.Key)
	if err != nil {
		return nil, err
	}
	k := &Keys{run: p.Run, t: t}
	_, err = k.Name(0)
	return k, err
}

// Keys returns the names of keys. It is not safe for concurrent use.
type Keys struct {
	run string
	t   *template.Template
	buf bytes.Buffer
}

// Name returns the name of the key with an index.
func (k *Keys) Name(index int) (string, error) {
	k.buf.Reset()
	if err := k.t.Execute(&k.buf, &Vars{Run: k.run, KeyIndex: index}); err != nil {
		return "", err
	}
	return k.buf.String(), nil
}
