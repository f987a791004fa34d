// Package remote is shared by the commands that are clients of a running server: reading its URL, explaining why a request
// failed, and the pauses between attempts.
//
//	u, err := remote.ParseURL("--server", text, "http://127.0.0.1:8081")
//	resp, err := http.Get(u.String())
//	if err != nil {
//		return fmt.Errorf("cannot reach %s: %s", u, remote.Explain(err))
//	}
package remote

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// UsageError is a mistake in the arguments or the environment.
type UsageError struct{ Text string }

func (e *UsageError) Error() string { return e.Text }

// Usage makes a UsageError.
func Usage(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// ParseURL reads an http or https URL, or that of a Unix socket, for which the transport needs UseSocket. setting and example are for the error: the flag or variable that gave the URL, and a
// valid URL.
func ParseURL(setting, text, example string) (*url.URL, error) {
	if strings.HasPrefix(text, scheme+":") {
		return parseSocket(setting, text)
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, Usage("%s %q is not a valid URL: write %s", setting, withoutSecrets(text), suggestURL(text, example))
	}
	if u.Hostname() == "" {
		u.Host = "127.0.0.1" + u.Host
		return nil, Usage("%s %q has no host: write %s", setting, withoutSecrets(text), Show(u))
	}
	if _, err := strconv.ParseUint(u.Port(), 10, 16); strings.HasSuffix(u.Host, ":") || u.Port() != "" && err != nil {
		return nil, Usage("%s %q has no valid port: write 1 to 65535, as in %s, or none for the default of %s", setting, withoutSecrets(text), example, u.Scheme)
	}
	if u.Fragment != "" {
		return nil, Usage("%s %q must not have a fragment: remove the # and what follows it", setting, withoutSecrets(text))
	}
	return u, nil
}

// Show is a URL for messages. A user, and the values of parameters that are not Fanfare's own, are left out: they may be
// credentials.
func Show(u *url.URL) string {
	shown := *u
	if shown.User != nil {
		shown.User = url.User("…") // some services take a token as the user
	}
	shown.Fragment = ""
	parameters := strings.Split(shown.RawQuery, "&")
	for i, p := range parameters {
		switch name, _, valued := strings.Cut(p, "="); name {
		case "", "connectKey", "lastEventId", "envelope", "rewind":
		default:
			parameters[i] = "…"
			if valued {
				parameters[i] = name + "=…"
			}
		}
	}
	shown.RawQuery = strings.Join(parameters, "&")
	if shown.Scheme == scheme {
		shown.Path = strings.TrimSuffix(shown.Path, ":")
	}
	return strings.Replace(shown.String(), url.User("…").String()+"@", "…@", 1)
}

// withoutSecrets cuts the query out of a text that should be a URL, and what stands before an @.
func withoutSecrets(text string) string {
	cut := false
	if i := strings.IndexAny(text, "?#"); i >= 0 {
		text, cut = text[:i], true
	}
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		scheme, _, ok := strings.Cut(text, "://")
		if text = "…" + text[i:]; ok && !strings.Contains(scheme, "@") {
			text = scheme + "://" + text
		}
	}
	if cut {
		text += "…"
	}
	return text
}

// suggestURL returns the complete URL for an address without http://, and "one such as …" for any other text.
func suggestURL(text, example string) string {
	if i := strings.IndexAny(text, "?#"); i >= 0 {
		text = text[:i]
	}
	authority, path, _ := strings.Cut(strings.TrimPrefix(text, "//"), "/")
	host, port, err := net.SplitHostPort(authority)
	want, _ := url.Parse(example)
	switch {
	case net.ParseIP(strings.Trim(authority, "[]")) != nil: // an IP address without a port
		host, port = strings.Trim(authority, "[]"), want.Port()
	case err != nil && authority != "" && !strings.ContainsFunc(authority, notHostRune):
		host, port = authority, want.Port()
	case err != nil:
		return "one such as " + example
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil || strings.Contains(text, "://") {
		return "one such as " + example
	}
	if host == "" {
		host = want.Hostname()
	}
	want.Host = net.JoinHostPort(host, port)
	if path != "" {
		want.Path = "/" + path
	}
	return want.String()
}

func notHostRune(r rune) bool {
	return r != '.' && r != '-' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
}

// ValidField reports whether RFC 9110 allows a header field with this name and value (5.1 and 5.5).
func ValidField(name, value string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	}) && !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// Explain says in plain words why a request failed. It leaves out the method and the URL, which the caller knows.
func Explain(err error) string {
	var dns *net.DNSError
	var urlError *url.Error
	var authority x509.UnknownAuthorityError
	if errors.As(err, &urlError) {
		err = urlError.Err
	}
	switch {
	case errors.As(err, &dns):
		if dns.IsNotFound {
			return fmt.Sprintf("the host %q is unknown: check its spelling", dns.Name)
		}
		return fmt.Sprintf("the host %q cannot be looked up: %s", dns.Name, dns.Err)
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such socket: start the server, or correct the path"
	case errors.Is(err, syscall.EACCES):
		return "this user may not connect to the socket: see listenMode and listenOwner, or adminMode and adminOwner"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused: no server is listening there"
	case errors.Is(err, syscall.ECONNRESET):
		return "the connection was reset"
	case errors.Is(err, http.ErrSchemeMismatch):
		return "the server speaks http, not https: write http://"
	case errors.As(err, &authority):
		return "the certificate of the server is not trusted: name a file with its root by --ca FILE"
	case strings.Contains(err.Error(), "tls: certificate required"), strings.Contains(err.Error(), "tls: bad certificate"), strings.Contains(err.Error(), "tls: unknown certificate authority"):
		return "the server refuses the client certificate, or there is none: give one that it trusts by --cert FILE and --key FILE"
	case urlError != nil && urlError.Timeout():
		return "no answer in time"
	}
	return err.Error()
}

// IsTerminal reports whether stream is a terminal, where a person reads or writes.
func IsTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// Backoff computes the pauses between attempts. The first pause is First; it doubles each time, up to Max. Up to a quarter is
// added at random, so that many clients do not return at once. The zero value begins with 100 ms, up to 10 s.
type Backoff struct {
	First, Max time.Duration
	attempts   int
}

// Reset starts over, after a success.
func (b *Backoff) Reset() { b.attempts = 0 }

// Next returns the next pause.
func (b *Backoff) Next() time.Duration {
	first, most := b.First, b.Max
	if first <= 0 {
		first = 100 * time.Millisecond
	}
	if most <= 0 {
		most = 10 * time.Second
	}
	pause := first
	for i := 0; i < b.attempts && pause < most; i++ {
		pause *= 2
	}
	b.attempts++
	pause = min(pause, max(first, most))
	return pause + rand.N(pause/4+1)
}
