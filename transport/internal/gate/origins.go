// Package gate decides who a request comes from and what it may ask for: the
// origins of browsers' pages, client addresses behind proxies, and keys.
package gate

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// Field is a header field: name and value.
type Field = [2]string

// AnyOrigin in a list of origins allows every one.
const AnyOrigin = "*"

// Origins are the browser origins whose pages may read streams.
type Origins struct {
	// Allowed has "https://app.example", "https://*.example.com" for those below
	// it, or AnyOrigin. Empty allows every origin, by a fixed header field.
	Allowed []string
	// Credentials lets those pages send cookies.
	Credentials bool
}

// Check refuses lists that mean nothing or that a browser would refuse.
func (o Origins) Check() error {
	for _, allowed := range o.Allowed {
		scheme, host, ok := strings.Cut(allowed, "://")
		name, wild := strings.CutPrefix(host, "*.")
		switch {
		case allowed == AnyOrigin:
			if o.Credentials {
				return errors.New(`allowedOrigins "*" with allowCredentials: every page could read the streams of whoever opens it, and browsers refuse it: name the origins`)
			}
		case !ok || scheme == "" || host == "" || strings.ContainsAny(host, "/ ,") || wild && (name == "" || strings.Contains(name, "*")) || !wild && strings.Contains(host, "*"):
			return fmt.Errorf("allowedOrigins %q is not an origin: write scheme://host[:port], such as https://app.example, or https://*.example.com", allowed)
		case wild && public(name):
			return fmt.Errorf("allowedOrigins %q allows the pages of everybody who registers a name there (https://publicsuffix.org): write more of the name, such as https://*.example.com", allowed)
		}
	}
	if o.Credentials && len(o.Allowed) == 0 {
		return errors.New("allowCredentials needs allowedOrigins: browsers refuse credentials where every origin is allowed")
	}
	return nil
}

// public reports whether anybody can register a name directly below host, which may have
// a port, or below each name there. Top-level domains that are not on the list, such as
// "internal", are of private networks.
func public(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	for _, name := range []string{host, "x." + host} { // "*.kawasaki.jp" is a rule of the list
		suffix, icann := publicsuffix.PublicSuffix(name)
		if suffix == name && (icann || strings.Contains(suffix, ".")) {
			return true
		}
	}
	return false
}

// Echoed reports whether an answer depends on the request's origin.
func (o Origins) Echoed() bool {
	for _, allowed := range o.Allowed {
		if allowed == AnyOrigin {
			return false
		}
	}
	return len(o.Allowed) > 0
}

// Allows reports whether pages of the origin may read streams.
func (o Origins) Allows(origin string) bool {
	for _, allowed := range o.Allowed {
		before, after, wild := strings.Cut(allowed, "*")
		if !wild {
			if origin == allowed {
				return true
			}
			continue
		}
		if len(origin) > len(before)+len(after) && strings.HasPrefix(origin, before) && strings.HasSuffix(origin, after) &&
			!strings.ContainsAny(origin[len(before):len(origin)-len(after)], "/:@ ") {
			return true
		}
	}
	return false
}

// Only returns the origin whose pages may read streams, if there is exactly one.
func (o Origins) Only() string {
	if len(o.Allowed) == 1 && !strings.Contains(o.Allowed[0], "*") {
		return o.Allowed[0]
	}
	return ""
}

// Fields are the header fields that depend on the request's origin (Fetch,
// 3.3.3); none if every origin is allowed.
func (o Origins) Fields(origin string) []Field {
	if !o.Echoed() {
		return nil
	}
	fields := []Field{{"Vary", "Origin"}}
	if origin != "" && o.Allows(origin) {
		fields = append(fields, Field{"Access-Control-Allow-Origin", origin})
		if o.Credentials {
			fields = append(fields, Field{"Access-Control-Allow-Credentials", "true"})
		}
	}
	return fields
}

// LoopbackName reports whether host is localhost or a loopback address.
func LoopbackName(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
