package transport

import (
	"errors"
	"fmt"
	"strings"
)

// checkOrigins refuses what Options.AllowedOrigins cannot have.
func (o *Options) checkOrigins() error {
	for _, allowed := range o.AllowedOrigins {
		scheme, host, ok := strings.Cut(allowed, "://")
		name, wild := strings.CutPrefix(host, "*.")
		switch {
		case allowed == anyOrigin:
			if o.AllowCredentials {
				return errors.New(`allowedOrigins "*" with allowCredentials: every page could read the streams of whoever opens it, and browsers refuse it: name the origins`)
			}
		case !ok || scheme == "" || host == "" || strings.ContainsAny(host, "/ ,") || wild && (name == "" || strings.Contains(name, "*")) || !wild && strings.Contains(host, "*"):
			return fmt.Errorf("allowedOrigins %q is not an origin: write scheme://host[:port], such as https://app.example, or https://*.example.com", allowed)
		}
	}
	if o.AllowCredentials && len(o.AllowedOrigins) == 0 {
		return errors.New("allowCredentials needs allowedOrigins: browsers refuse credentials where every origin is allowed")
	}
	for name := range o.Headers {
		if len(o.AllowedOrigins) > 0 && strings.EqualFold(name, "Access-Control-Allow-Origin") {
			return errors.New("headers: Access-Control-Allow-Origin and allowedOrigins are both set: leave one of them out")
		}
	}
	return nil
}

// echoesOrigin reports whether the answer depends on the request's origin.
func (o *Options) echoesOrigin() bool {
	for _, allowed := range o.AllowedOrigins {
		if allowed == anyOrigin {
			return false
		}
	}
	return len(o.AllowedOrigins) > 0
}

// allows reports whether pages of the origin may read streams.
func (o *Options) allows(origin string) bool {
	for _, allowed := range o.AllowedOrigins {
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

// originFields are the fields that depend on the request's origin (Fetch, 3.3.3).
func (o *settings) originFields(origin string) [][2]string {
	if !o.echoesOrigin() {
		return nil
	}
	fields := [][2]string{{"Vary", "Origin"}}
	if origin != "" && o.allows(origin) {
		fields = append(fields, [2]string{"Access-Control-Allow-Origin", origin})
		if o.AllowCredentials {
			fields = append(fields, [2]string{"Access-Control-Allow-Credentials", "true"})
		}
	}
	return fields
}

// cors are the fields of an answer that let pages of other origins see it.
func (o *settings) cors(origin string) (fields [][2]string) {
	for _, f := range o.fields {
		if strings.HasPrefix(f[0], "Access-Control-") || f[0] == "Vary" {
			fields = append(fields, f)
		}
	}
	return append(fields, o.originFields(origin)...)
}
