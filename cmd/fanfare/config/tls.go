package config

import (
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// StreamTLS reports whether the stream listener speaks TLS.
func (c *Config) StreamTLS() bool { return len(c.TLSCert) > 0 || len(c.ACMEDomains) > 0 }

// AdminTLS reports whether the admin listener speaks TLS.
func (c *Config) AdminTLS() bool { return c.AdminTLSCert != "" }

// The checks here compare settings. Whether the files can be used is checked where they are read, in package certs: a command
// such as healthcheck, which needs none of them, must not fail because of a key that only the server can read.

func checkTLSPairs(c *Config, at place) {
	if len(c.TLSCert) != len(c.TLSKey) {
		at.fail("names %d files, and tlsKey %d: give each certificate its key, in the same order", len(c.TLSCert), len(c.TLSKey))
	}
}

func checkAdminTLS(c *Config, at place) {
	switch {
	case c.AdminTLSCert != "" && c.AdminTLSKey == "":
		at.fail("needs adminTLSKey, the private key of the certificate")
	case c.AdminTLSCert == "" && c.AdminTLSKey != "":
		at.v.at("adminTLSKey").fail("needs adminTLSCert, the certificate of the key")
	case c.AdminTLSCert == "" && c.AdminClientCA != "":
		at.v.at("adminClientCA").fail("needs adminTLSCert and adminTLSKey: only TLS has client certificates")
	}
	for i, p := range c.PublishTokens {
		if p.Certificate != "" && c.AdminClientCA == "" {
			at.v.at("publishTokens").item(i).part("certificate").fail("needs adminClientCA, the CA that has signed the certificate")
		}
	}
}

func checkACME(c *Config, at place) {
	for i, name := range c.ACMEDomains {
		if hint := domainHint(name); hint != "" {
			at.item(i).fail("%s is not a domain name that a certificate can be obtained for: %s", quoteShort(name), hint)
		}
	}
	if u, err := url.Parse(c.ACMEDirectory); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		at.v.at("acmeDirectory").fail("%s is not the URL of an ACME directory: write https://HOST/PATH", quoteShort(c.ACMEDirectory))
	}
	if a, err := mail.ParseAddress(c.ACMEEmail); c.ACMEEmail != "" && (err != nil || a.Address != c.ACMEEmail) {
		at.v.at("acmeEmail").fail("%s is not an email address: write name@example.com", quoteShort(c.ACMEEmail))
	}
	if len(c.ACMEDomains) > 0 && c.ACMEDir() == "" {
		at.v.at("acmeCache").fail("is empty, and neither STATE_DIRECTORY, XDG_STATE_HOME nor HOME says where state belongs: name a directory that outlives the server")
	}
}

// domainHint says what to write in place of name, or "" if name is right: lower-case labels with at least one dot between them.
func domainHint(name string) string {
	if _, err := netip.ParseAddr(name); err == nil {
		return "it is an IP address; write a name"
	}
	if strings.HasPrefix(name, "*.") {
		return "a wildcard needs a challenge by DNS, which Fanfare does not have; write each name, or use tlsCert"
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }) {
			return "use lower-case letters, digits, dots and hyphens, and Punycode (xn--…) for others"
		}
	}
	if len(labels) < 2 || len(name) > 253 {
		return "write the full name, such as live.example.com"
	}
	return ""
}

// ACMEDir is the directory of acmeCache, or "" if none is known.
func (c *Config) ACMEDir() string {
	if c.ACMECache != "" {
		return c.ACMECache
	}
	// systemd sets it for StateDirectory=, and separates several directories by colons.
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); dir != "" {
		return filepath.Join(dir, "acme")
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "fanfare", "acme")
	}
	if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "fanfare", "acme")
	}
	return ""
}
