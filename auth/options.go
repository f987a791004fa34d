package auth

import (
	"log/slog"
	"net/http"
	"time"
)

// Options configure an Authorizer. Each way is off by default. The zero value of every other field is its default. Errors of New
// name the settings of the program fanfare, which stand in brackets here.
type Options struct {
	JWT JWT

	// TokenSecrets are the secrets of this server's own tokens, at least 32 bytes each [tokenSecret]. The first one signs, all
	// of them verify, so that a secret can be replaced: put the new one first, and take the old one out when its tokens have
	// expired. Every node needs the same.
	TokenSecrets []Secret
	// MaxTokenTTL bounds the life of own tokens. Default 24 h.
	MaxTokenTTL time.Duration

	Callback Callback

	// AnonymousKeys are patterns of keys that everybody may subscribe to [anonymousKeys].
	AnonymousKeys []string

	// PublishTokens are who may use the publish API [publishTokens].
	PublishTokens []PublishToken
	// PublishJWT lets JSON Web Tokens with a publish claim publish to the keys that it names.
	PublishJWT bool

	// Cookie is the name of the cookie that tokens are taken from. Default "fanfare".
	Cookie string
	// Logger is where troubles with keys and callback are logged, at most once a minute each. Default slog.Default().
	Logger *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// JWT configures JSON Web Tokens (RFC 7519) that somebody else signs. They are on if there are Keys or a JWKSURL.
type JWT struct {
	// Keys verify tokens [jwtKeys].
	Keys []KeySource
	// JWKSURL is where keys are fetched from [jwksURL]: https, or http on loopback. It needs an Issuer or an Audience, since a
	// provider's keys sign tokens for other applications, too.
	JWKSURL string
	// Issuer is what tokens must have as "iss". Default: any, or none.
	Issuer string
	// Audience is what tokens must have as "aud", one of these. Default: a token must not have any, as one that has is meant for
	// somebody else (RFC 7519, 4.1.3).
	Audience []string
	// Claim is the name of the claim with the keys. Default "fanfare". Some providers want a URL.
	Claim string
	// Mercure reads the claim "mercure" as well, in tokens without Claim, and the cookie mercureAuthorization: "*", topics, and
	// URI templates with {name}.
	Mercure bool
	// Leeway is how far clocks may differ: for so long after its "exp" and before its "nbf" a token is taken. Default 30 s;
	// negative is none.
	Leeway time.Duration
	// JWKSRefresh is the age at which keys are fetched again. Default 10 min. They are used for 24 h if that fails.
	JWKSRefresh time.Duration
	// JWKSInterval is the least time between two fetches, however many tokens name unknown keys. Default 30 s.
	JWKSInterval time.Duration
	// JWKSTimeout bounds a fetch. Default 5 s.
	JWKSTimeout time.Duration
	// Transport fetches. Default: one of its own, which uses the proxy of the environment.
	Transport http.RoundTripper
}

// KeySource is a key of the configuration. One of Data, File and Env is set. The text is a public key or certificate in PEM, a
// JWK or JWK Set in JSON, or a secret for HS256.
type KeySource struct {
	// ID is the key's "kid". Default: that of a JWK, or none: then the key is tried for every token.
	ID string
	// Algorithm is HS256, RS256, PS256, ES256 or EdDSA. Default: the JWK's, or what the key is for; RS256 for RSA. A secret needs
	// HS256 here. Tokens have no say in it.
	Algorithm string

	Data Secret
	File string
	Env  string
}

// Callback configures the application that is asked. It is on if it has a URL.
type Callback struct {
	// URL is asked by GET, http or https [authCallback].
	URL string
	// Timeout bounds an answer. Default 3 s.
	Timeout time.Duration
	// MaxInFlight bounds the requests at once; more wait for the time of Timeout. Default 64.
	MaxInFlight int
	// MaxCached bounds the answers that are kept. Default 10,000.
	MaxCached int
	// Transport asks. Default: one of its own, which uses the proxy of the environment.
	Transport http.RoundTripper
}

// PublishToken is somebody who may use the publish API, with a bearer token or a client certificate.
type PublishToken struct {
	// Name is what logs call it.
	Name string
	// Token is the token, at least 16 characters, or "sha256:" and its SHA-256 hash in hexadecimal. Either this or Certificate.
	Token Secret
	// Certificate is a name of a client certificate, exactly as in it: the common name of its subject, or a DNS name or URI of
	// its subjectAltName. The listener must verify the certificates of its clients.
	Certificate string
	// Rights are what it may be used for. Default: RightPublish.
	Rights []Right
	// Keys are patterns of the keys that it may be used on. "**" is needed for what concerns all keys.
	Keys []string
	// MaxRate bounds its events per second. Default: what the server says for everybody.
	MaxRate int
}

// Defaults and fixed limits.
const (
	defaultCookie      = "fanfare"
	mercureCookie      = "mercureAuthorization"
	defaultClaim       = "fanfare"
	defaultLeeway      = 30 * time.Second
	defaultMaxTokenTTL = 24 * time.Hour
	defaultTokenTTL    = time.Hour
	defaultRefresh     = 10 * time.Minute
	defaultInterval    = 30 * time.Second
	defaultTimeout     = 5 * time.Second
	maxJWKSAge         = 24 * time.Hour
	logInterval        = time.Minute

	maxTokenBytes   = 8192 // what servers and proxies take in a header field
	maxCredentials  = 4    // tokens of one request that are looked at
	maxCandidates   = 8    // keys that one token is verified with, if it names none
	maxPatterns     = 256  // of one claim or answer
	maxPatternBytes = 1024
	maxSubjectBytes = 256
	minSecretBytes  = 32
)
