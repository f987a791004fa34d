package docs_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"fanfare/internal/test/certtest"
	"fanfare/internal/test/eventually"
)

// login is the login service of the recipe for JSON Web Tokens: https://login.example.com, with one key at a time.
type login struct {
	mu  sync.Mutex
	key ed25519.PrivateKey
	n   int // the number of the key, its "kid"
}

// startLogin starts the service. Programs reach it by a proxy, so that the recipe's URL needs no change, and trust its certificate.
func startLogin(k *kitchen) {
	k.t.Helper()
	l := &login{}
	l.rotate(k.t)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/jwks.json", l.serveKeys)
	mux.HandleFunc("GET /token", l.serveToken)
	cert := certtest.New(k.t, "login.example.com")
	pair, err := tls.LoadX509KeyPair(cert.Cert, cert.Key)
	if err != nil {
		k.t.Fatal(err)
	}
	service := httptest.NewUnstartedServer(mux)
	service.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	service.StartTLS()
	proxy := httptest.NewServer(tunnelTo(service.Listener.Addr().String()))
	k.t.Cleanup(func() {
		proxy.Close()
		service.CloseClientConnections()
		service.Close()
	})
	k.env = append(k.env, "HTTPS_PROXY="+proxy.URL, "SSL_CERT_FILE="+cert.Cert, "CURL_CA_BUNDLE="+cert.Cert)
	k.login = l
}

// tunnelTo answers CONNECT for any host with a connection to one address.
func tunnelTo(addr string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := net.Dial("tcp", addr)
		if err != nil || r.Method != http.MethodConnect {
			http.Error(w, "only CONNECT", http.StatusBadGateway)
			return
		}
		defer out.Close()
		in, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer in.Close()
		_, _ = in.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
		go func() {
			_, _ = io.Copy(out, in)
			_ = out.Close()
		}()
		_, _ = io.Copy(in, out)
	})
}

// rotate replaces the key by another one.
func (l *login) rotate(t *testing.T) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.key, l.n = key, l.n+1
}

func (l *login) serveKeys(w http.ResponseWriter, _ *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]string{
		"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": strconv.Itoa(l.n),
		"x": base64.RawURLEncoding.EncodeToString(l.key.Public().(ed25519.PublicKey)),
	}}})
}

// serveToken hands out a token for the user of the request and the audience in the query.
func (l *login) serveToken(w http.ResponseWriter, r *http.Request) {
	user, _, _ := r.BasicAuth()
	l.mu.Lock()
	defer l.mu.Unlock()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": "https://login.example.com", "aud": r.FormValue("audience"), "sub": user, "exp": time.Now().Add(time.Hour).Unix(),
		"fanfare": map[string]any{"subscribe": []string{"user." + user + ".*"}},
	})
	token.Header["kid"] = strconv.Itoa(l.n)
	text, err := token.SignedString(l.key)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = io.WriteString(w, text)
}

// checkRotation: when the service signs with another key, clients with new tokens are told to come back until the keys are fetched
// again, which a reload does at once. Then those are accepted, and tokens of the old key are not.
func checkRotation(t *testing.T, k *kitchen) {
	first := func(variable, line string) (problem string) { // of the stream with this token
		return k.run(step{
			command: `curl -H "Authorization: Bearer $` + variable + `" 'http://127.0.0.1:8080/stream?connectKey=user.42.mail'`,
			prints:  []string{line}, endless: true,
		})
	}
	k.login.rotate(t)
	if text := k.assign("new=$(curl -u 42:password 'https://login.example.com/token?audience=live')", "new"); text != "" {
		t.Fatal(text)
	}
	if text := first("new", "retry: …"); text != "" && first("new", "event: position") != "" {
		t.Errorf("an EventSource would give up: %s", text)
	}
	k.programs["fanfare"].Signal(syscall.SIGHUP)
	eventually.Equal(t, "a stream with a token of the new key", "", func() string { return first("new", "event: position") })
	if first("token", "event: position") == "" {
		t.Error("a token of the old key is still accepted")
	}
}
