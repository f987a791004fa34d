package config

import (
	"net/url"
	"slices"
	"strings"
)

// Origins are compared as texts, so each must be written as browsers send it (RFC 6454 6.2).

func checkAdminOrigins(c *Config, at place) {
	for _, o := range c.AdminOrigins {
		switch {
		case o != "*":
			checkOrigin(o, o, "", at)
		case !c.GuardsPublish():
			at.fail("\"*\" lets every page in every browser publish: set publishToken, or name the origins")
		case slices.ContainsFunc(c.PublishTokens, func(p Publisher) bool { return p.Certificate != "" }):
			at.fail("\"*\" cannot be combined with a certificate in publishTokens: a browser that has the certificate sends it for every page; name the origins")
		}
	}
}

// checkAllowedOrigins checks the origins for streams, which may have "*." before the host.
func checkAllowedOrigins(c *Config, at place) {
	for _, o := range c.AllowedOrigins {
		switch {
		case o != "*":
			checkOrigin(o, strings.Replace(o, "://*.", "://", 1), ", or https://*.example.com", at)
		case c.AllowCredentials:
			at.fail("\"*\" with allowCredentials would let every page read the streams of its visitors, and browsers refuse it: name the origins")
		}
	}
}

func checkCredentials(c *Config, at place) {
	if c.AllowCredentials && len(c.AllowedOrigins) == 0 {
		at.fail("needs allowedOrigins: browsers refuse credentials where every origin is allowed")
	}
}

// checkOrigin checks the origin o. name is o without its "*.". forms is the end of the hint, for the setting's other forms.
func checkOrigin(o, name, forms string, at place) {
	u, err := url.Parse(name)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || forms != "" && strings.Contains(u.Hostname(), "*") {
		at.fail("%s is not an origin: write scheme://host[:port], such as https://app.example%s", quoteShort(o), forms)
		return
	}
	if canonical := canonicalOrigin(u); canonical != name {
		at.fail("%s is not the form that browsers send: write %q", quoteShort(o), canonical)
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
