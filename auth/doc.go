// Package auth decides who may subscribe to keys and who may publish to them. It knows no HTTP server: a server asks it about
// each stream and each publish request, and answers as it says.
//
//	a, err := auth.New(auth.Options{
//		JWT:           auth.JWT{Keys: []auth.KeySource{{File: "public.pem"}}, Issuer: "https://login.example"},
//		AnonymousKeys: []string{"news"},
//	})
//	defer a.Close()
//
//	grant, err := a.Authorize(ctx, auth.Request{Keys: keys, Authorization: auth.Secret(header)})
//
// # Who may subscribe
//
// Everybody, until one of these is configured. They may be combined, and the first one that answers decides for all keys of a
// stream. If one key is not granted, the stream is refused: a stream never lacks a key silently.
//
// Tokens are looked for in "Authorization: Bearer …", then in the query, then in a cookie. The first one that is a token of a
// configured kind decides.
//
//   - A JSON Web Token (RFC 7519) that somebody else signs, by HS256, RS256, PS256, ES256 or EdDSA, for a key of the configuration
//     or of a JWKS URL. It needs "exp", and a claim with patterns of keys:
//
//     {"sub": "u42", "exp": 1767225600, "fanfare": {"subscribe": ["news", "user.42.*"], "publish": ["chat.42"]}}
//
//   - A token of this server's own, from [Authorizer.Mint], for applications without a library for JSON Web Tokens.
//
//   - AnonymousKeys, patterns of keys that need no credential. They decide if all keys of the stream match them, are part of every
//     grant, and stay allowed to somebody whose token is not valid.
//
//   - The callback: a URL of the application, which sees the browser's cookies and decides with its own sessions.
//
// Patterns are those of package [fanfare/auth/pattern].
//
// # The callback
//
// The application is asked by GET, once for each stream, with what the browser has sent:
//
//	GET /may?connectKey=news&connectKey=user.42.mail
//	Cookie: …
//	Authorization: …           or "Bearer " and the token from the query
//	Origin: https://app.example
//	X-Forwarded-For: 192.0.2.7
//	X-Forwarded-Host: live.example.com
//	X-Forwarded-Proto: https
//
// A status of 200 to 299 allows all of these keys, 401 and 403 refuse. With anything else, a redirect to a login page for
// instance, and without an answer in time, the client is told to come back. A body is optional, and is application/json:
//
//	{"keys": ["user.42.*"], "subject": "u42", "ttl": "1h", "cache": "30s"}
//
// "keys" narrows what is granted: the stream is refused if one of its keys is not among them. "subject" is who it is. The stream
// ends after "ttl". For the time of "cache", at most an hour, the answer is used again for the same keys with the same
// Authorization, Cookie, token, Origin and address; [Authorizer.Purge] forgets the answers for a subject.
//
// # Who may publish
//
// A [PublishToken] is a bearer token, or the name of a verified client certificate. It has a name, rights and patterns of keys. No right includes another, and each counts only for those keys: a
// token with the right to publish to news.* makes no tokens and closes no streams. With the right [RightMint] for user.* one gets
// tokens for user.42.*, but not for secret. What concerns all keys, such as metrics or closing everything, needs the pattern "**".
// JSON Web Tokens may publish, if that is switched on, and do nothing else. A server asks [Authorizer.Identify] once for each
// request, and [Publisher.Check] about each operation and key.
//
// # What to answer
//
// An EventSource gives up for good at every status but 200. So there are two kinds of errors. A [*Denied] has the status 401 or
// 403: coming back would not help, and the page has to do something. Everything else wraps [ErrLater]: answer a stream with 200,
// "retry:" and the end, so that the client comes back.
//
// # Caveats
//
// Decide on the keys that the server has understood, not on the text of a query: %63onnectKey=x is a connectKey, and no
// connectKey at all is the default key.
//
// A browser sends cookies with requests of every page. Set Request.ForeignOrigin if the page may not use them.
//
// Tokens cannot be taken back before they expire: give them a short life, and end streams by subject.
//
// The public key of a Mercure hub, or any other key, is used with one algorithm, which the configuration or the key says and never
// the token. Tokens with critical extensions ("crit"), with another token inside, with names that occur twice, or without an
// expiry are refused. In Mercure's tokens, too, "exp" is required.
//
// Errors, logs and formatted values have nothing of a credential: [Secret] hides it.
package auth
