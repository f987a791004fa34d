package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

func (v *validator) listeners() {
	c := v.c
	listen, err := parseAddress(c.Listen)
	if err != nil {
		v.fail("listen", "%s", err)
	}
	if !isToken68(string(c.PublishToken)) {
		v.fail("publishToken", "may hold only letters, digits and -._~+/ with = at the end (RFC 6750 2.1), since it travels in a header")
	}
	v.origins()
	v.allowedOrigins()
	v.trustedProxies()
	if c.Admin == Off {
		return
	}
	admin, adminErr := parseAddress(c.Admin)
	switch {
	case adminErr != nil:
		v.fail("admin", "%s, or %q for none", adminErr, Off)
	case err == nil && listen.overlaps(admin):
		v.fail("admin", "%q takes the same port as listen (%q, %s): each needs its own", c.Admin, c.Listen, c.Origin("listen"))
	case !admin.loopback() && c.PublishToken == "":
		v.fail("admin", "%q can be reached from other machines, and anyone could publish: set publishToken (environment %s), or listen on loopback (127.0.0.1%s)",
			c.Admin, byName["publishToken"].Env, ":"+strconv.Itoa(int(admin.port)))
	}
}

type address struct {
	host string
	port uint16
}

// parseAddress reads [HOST]:PORT with a numeric port. An empty host means all interfaces.
func parseAddress(text string) (address, error) {
	if u, err := url.Parse(text); err == nil && u.Host != "" {
		return address{}, fmt.Errorf("%s is a URL and not an address: write %q", quoteShort(text), net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "8080")))
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		hint := "[HOST]:PORT, such as :8080, 127.0.0.1:8080 or [::1]:8080"
		if _, perr := strconv.ParseUint(text, 10, 16); perr == nil {
			hint = fmt.Sprintf("%q for all interfaces", ":"+text)
		}
		return address{}, fmt.Errorf("%s is not an address: write %s", quoteShort(text), hint)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return address{}, fmt.Errorf("%s has no valid port: write 0 to 65535 (0: the system chooses), such as :8080", quoteShort(text))
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && strings.ContainsFunc(host, notHostChar) {
		return address{}, fmt.Errorf("%s has no valid host: write an IP address or a host name, such as 127.0.0.1:8080", quoteShort(text))
	}
	return address{host, uint16(n)}, nil
}

func notHostChar(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune("-._", r) }

// loopback is true for 127.0.0.0/8, ::1 and localhost. Other names are not resolved: what they mean can change.
func (a address) loopback() bool {
	if strings.EqualFold(a.host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(a.host)
	return err == nil && ip.Unmap().IsLoopback()
}

func (a address) wildcard() bool {
	ip, err := netip.ParseAddr(a.host)
	return a.host == "" || (err == nil && ip.Unmap().IsUnspecified())
}

// overlaps is true when the two can't both be bound: a wildcard takes the port on every address.
func (a address) overlaps(b address) bool {
	if a.port != b.port || a.port == 0 {
		return false
	}
	if a.wildcard() || b.wildcard() || strings.EqualFold(a.host, b.host) {
		return true
	}
	x, errX := netip.ParseAddr(a.host)
	y, errY := netip.ParseAddr(b.host)
	if errX == nil && errY == nil {
		return x.Unmap() == y.Unmap()
	}
	return a.loopback() && b.loopback() // localhost and 127.0.0.1
}

// origins checks that each origin is written as browsers send it (RFC 6454 6.2), because it is compared as a text.
func (v *validator) origins() {
	for _, o := range v.c.AdminOrigins {
		if o == "*" {
			if v.c.PublishToken == "" {
				v.fail("adminOrigins", "\"*\" lets every page in every browser publish: set publishToken, or name the origins")
			}
			continue
		}
		v.origin("adminOrigins", o, o, "")
	}
}

// origin checks one of them. name is the origin that o stands for, itself or, with "*." taken off, the one above; forms
// names what else may be written.
func (v *validator) origin(setting, o, name, forms string) {
	u, err := url.Parse(name)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || forms != "" && strings.Contains(u.Hostname(), "*") {
		v.fail(setting, "%s is not an origin: write scheme://host[:port], such as https://app.example%s", quoteShort(o), forms)
		return
	}
	if canonical := canonicalOrigin(u); canonical != name {
		v.fail(setting, "%s is not what browsers send: write %q", quoteShort(o), canonical)
	}
}

// trustedProxies checks the addresses of proxies.
func (v *validator) trustedProxies() {
	for _, text := range v.c.TrustedProxies {
		if _, err := parseProxy(text); err != nil {
			v.fail("trustedProxies", "%v", err)
		}
	}
}

// Proxies are the addresses of trustedProxies.
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
			return p, fmt.Errorf("%q is neither an address nor a block of them: write it as 10.0.0.7 or 10.0.0.0/8", text)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%q has bits set behind its length: write %s", text, p.Masked())
	}
	if p.Addr().Is4In6() {
		return p, fmt.Errorf("%q is an IPv4 address in IPv6's form: write it as 10.0.0.7 or 10.0.0.0/8", text)
	}
	return p, nil
}

// allowedOrigins checks those of streams, where a name may begin with "*.".
func (v *validator) allowedOrigins() {
	for _, o := range v.c.AllowedOrigins {
		if o == "*" {
			if v.c.AllowCredentials {
				v.fail("allowedOrigins", "\"*\" with allowCredentials lets every page read the streams of whoever opens it, and browsers refuse it: name the origins")
			}
			continue
		}
		v.origin("allowedOrigins", o, strings.Replace(o, "://*.", "://", 1), ", or https://*.example.com")
	}
	if v.c.AllowCredentials && len(v.c.AllowedOrigins) == 0 {
		v.fail("allowCredentials", "needs allowedOrigins: browsers refuse credentials where every origin is allowed")
	}
}

func canonicalOrigin(u *url.URL) string {
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	port := u.Port()
	if port != "" && !(u.Scheme == "http" && port == "80") && !(u.Scheme == "https" && port == "443") {
		host += ":" + port
	}
	return u.Scheme + "://" + host
}

// isToken68 is true for the empty text and for the b64token of RFC 6750 2.1.
func isToken68(token string) bool {
	body := strings.TrimRight(token, "=")
	if body == "" {
		return token == ""
	}
	return !strings.ContainsFunc(body, func(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune("-._~+/", r) })
}
