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

func checkListen(c *Config, at place) {
	if _, err := parseAddress(c.Listen); err != nil {
		at.fail("%s", err)
	}
}

func checkAdmin(c *Config, at place) {
	if c.Admin == Off {
		return
	}
	listen, listenErr := parseAddress(c.Listen)
	admin, err := parseAddress(c.Admin)
	switch {
	case err != nil:
		at.fail("%s, or %q for none", err, Off)
	case listenErr == nil && listen.path != "" && listen.path == admin.path:
		at.fail("%q is also the Unix socket of listen (%s): give each its own path", c.Admin, c.Origin("listen"))
	case listenErr == nil && listen.overlaps(admin):
		at.fail("%q uses the same port as listen (%q, %s): give each its own port", c.Admin, c.Listen, c.Origin("listen"))
	case !admin.loopback() && !c.GuardsPublish() && c.AdminClientCA == "":
		at.fail("%q can be reached from other machines, and anyone could publish: set publishToken (environment %s), or listen on loopback (127.0.0.1:%d)",
			c.Admin, byName["publishToken"].Env, admin.port)
	case !admin.loopback() && ShortToken(string(c.PublishToken)):
		c.tokenTooShort(at.v.at("publishToken"), c.Admin)
	}
}

// MinToken is the least length of a token that other machines may use, in bytes.
const MinToken = 16

// ShortToken reports whether a token is so short that it can be guessed. On a loopback listener it is no worse than none,
// which is allowed there.
func ShortToken(token string) bool { return token != "" && len(token) < MinToken }

func (c *Config) tokenTooShort(at place, admin string) {
	at.fail("has %d bytes, and other machines can reach %q and guess it: give it %d or more, for example from \"openssl rand -hex 16\", and change it in the publishers, too; or listen on loopback",
		len(c.PublishToken), admin, MinToken)
}

func checkBodyTotal(c *Config, at place) {
	if c.MaxBodyTotalBytes != 0 && c.MaxBodyTotalBytes < c.MaxBodyBytes {
		at.tooSmall(c.MaxBodyTotalBytes, byName["maxBodyBytes"])
	}
}

// minHead is what browsers and proxies send besides keys, with room to spare.
const minHead = 4 << 10

func checkHead(c *Config, at place) {
	if c.MaxHeadBytes != 0 && c.MaxHeadBytes < minHead {
		at.fail("%s is less than %s, which the fields of browsers and proxies may need: raise it, or write 0 for the default", c.MaxHeadBytes, Size(minHead))
	}
}

// checkToken accepts the empty text and the b64token of RFC 6750 2.1.
func checkToken(c *Config, at place) {
	token := string(c.PublishToken)
	body := strings.TrimRight(token, "=")
	if token != "" && body == "" || strings.ContainsFunc(body, func(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune("-._~+/", r) }) {
		at.fail("may contain only letters, digits and -._~+/ with = at the end (RFC 6750 2.1), because it is sent in a header")
	}
}

// address is [HOST]:PORT, where an empty host means all interfaces, or the path of a Unix socket.
type address struct {
	host string
	port uint16
	path string // "" for [HOST]:PORT
}

// parseAddress reads [HOST]:PORT with a numeric port, or unix:PATH.
func parseAddress(text string) (address, error) {
	if path, ok := SocketPath(text); ok {
		return parseSocket(text, path)
	}
	if u, err := url.Parse(text); err == nil && u.Host != "" {
		return address{}, fmt.Errorf("%s is a URL, not an address: write %q", quoteShort(text), net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "8080")))
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
	return address{host: host, port: uint16(n)}, nil
}

func notHostChar(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune("-._", r) }

// loopback reports whether the address is in 127.0.0.0/8, ::1 or localhost, or a Unix socket. Other names are not resolved,
// because what they mean can change.
func (a address) loopback() bool {
	if a.path != "" {
		return true
	}
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

// overlaps reports whether the two cannot both be bound. A wildcard takes the port on every address.
func (a address) overlaps(b address) bool {
	if a.path != "" || b.path != "" {
		return false
	}
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
