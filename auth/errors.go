package auth

import (
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"
)

// ErrLater means that nobody can decide now: keys cannot be fetched, or the application does not answer. Answer a stream so that
// the client comes back: an EventSource gives up at every status but 200, so send 200 with "retry:" and end.
var ErrLater = errors.New("it cannot be decided now who may do this: come back later")

// ErrBadToken is wrapped by the errors of Mint for a request that means nothing; answer 400 with the error's text.
var ErrBadToken = errors.New("bad token request")

// Codes of a Denied.
const (
	CodeMissing = "credential-missing" // 401: there is none
	CodeInvalid = "credential-invalid" // 401: it is not one of this server
	CodeExpired = "credential-expired" // 401: it was valid; get a new one
	CodeKey     = "key-denied"         // 403: the credential is valid, but not for this key
	CodeRight   = "right-denied"       // 403: the credential is valid, but not for this operation
	CodeDenied  = "denied"             // 401 or 403: the application says no
)

// Denied is the refusal of a request that is refused again if it is repeated. Nothing in it comes from a credential.
type Denied struct {
	Status  int    // http.StatusUnauthorized or http.StatusForbidden
	Code    string // one of the Code constants, for programs
	Message string // for the client
	Cause   string // for the log of this server: more than a client should learn
}

// Error is for the log.
func (d *Denied) Error() string {
	if d.Cause == "" {
		return d.Message
	}
	return d.Message + " (" + d.Cause + ")"
}

func invalid(cause string) *Denied {
	return &Denied{http.StatusUnauthorized, CodeInvalid, "the credential is not valid: get a new one", cause}
}

func missing(message string) *Denied {
	return &Denied{http.StatusUnauthorized, CodeMissing, message, ""}
}

func keyDenied(key, way string) *Denied {
	return &Denied{http.StatusForbidden, CodeKey, fmt.Sprintf("the key %q is not granted: use a credential for it", cut(key)), "decided by " + way}
}

// later wraps ErrLater with the reason.
func later(cause string) error { return fmt.Errorf("%w (%s)", ErrLater, cause) }

// cut shortens a key for a message.
func cut(key string) string {
	const most = 64
	for i, n := 0, 0; i < len(key); n++ {
		if n == most {
			return key[:i] + "…"
		}
		_, size := utf8.DecodeRuneInString(key[i:])
		i += size
	}
	return key
}
