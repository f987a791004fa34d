package config

import (
	"log/slog"
	"net/http"
	"strings"

	"fanfare/auth"
)

// Authorization returns the settings of package auth.
func (c *Config) Authorization() auth.Options {
	o := auth.Options{
		JWT:           auth.JWT{JWKSURL: c.JWKSURL, Issuer: c.JWTIssuer, Audience: c.JWTAudience},
		Callback:      auth.Callback{URL: c.AuthCallback},
		AnonymousKeys: c.AnonymousKeys,
		Cookie:        c.JWTCookie,
		PublishTokens: c.publishers(),
		PublishJWT:    c.PublishJWT,
	}
	for _, text := range c.JWTKeys {
		o.JWT.Keys = append(o.JWT.Keys, keySource(text))
	}
	for _, secret := range strings.Fields(string(c.TokenSecret)) {
		o.TokenSecrets = append(o.TokenSecrets, auth.Secret(secret))
	}
	return o
}

// keySource reads an entry of jwtKeys: [ALGORITHM:]FILE or [ALGORITHM:]env:NAME.
func keySource(text string) (k auth.KeySource) {
	if algorithm, rest, found := strings.Cut(text, ":"); found {
		switch algorithm {
		case "HS256", "RS256", "PS256", "ES256", "EdDSA":
			k.Algorithm, text = algorithm, rest
		}
	}
	if name, found := strings.CutPrefix(text, "env:"); found {
		k.Env = name
	} else {
		k.File = text
	}
	return k
}

// checkAuthorization makes what the server will make of the settings, keys included, so that it does not fail at the start.
func checkAuthorization(c *Config, at place) {
	if err := (&http.Cookie{Name: c.JWTCookie}).Valid(); err != nil {
		at.v.at("jwtCookie").fail("%q is not a name of a cookie (RFC 6265, 4.1.1): use letters, digits, - and _", c.JWTCookie)
	}
	o := c.Authorization()
	o.Logger = slog.New(slog.DiscardHandler)
	a, err := auth.New(o)
	if err != nil {
		text := err.Error()
		if path, rest := publisherPath(text); path != "" {
			at.v.at(path).fail("%s", rest)
			return
		}
		for _, name := range []string{"jwksURL", "jwtIssuer", "jwtAudience", "jwtCookie", "tokenSecret", "publishJWT", "authCallback", "anonymousKeys"} {
			if rest, found := strings.CutPrefix(text, name); found {
				at.v.at(name).fail("%s", strings.TrimLeft(rest, ": "))
				return
			}
		}
		at.fail("%s", strings.TrimLeft(strings.TrimPrefix(text, "jwtKeys"), ": "))
		return
	}
	a.Close()
}
