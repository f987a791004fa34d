package transport

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
	"fanfare/transport/internal/clientlog"
)

// secret is a credential as they are: long enough, with digits.
const secret = "s3cr3t-0f-th3-t3st"

// TestNoCredentialIsLogged: whatever place of a request a secret is in, and whether or not the request can be read, the log does
// not have it, at the level debug, too.
func TestNoCredentialIsLogged(t *testing.T) {
	plainOnly(t)
	encoded := "s3cr3t-0f%2dth3-t3st" // the beginning is enough to find it
	head := func(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }
	host := "Host: 127.0.0.1"
	fields := []string{
		"Authorization: Bearer " + secret, "Authorization: " + secret, "Cookie: session=" + secret, "X-Token: " + secret, secret + ": x", "Origin: https://user:" + secret + "@evil.example",
		"Origin: " + secret, "Last-Event-ID: " + secret, "Content-Type: " + secret, "Content-Type: text/" + secret, "Content-Encoding: " + secret, "Sec-Fetch-Site: " + secret,
		"Host: user:" + secret + "@127.0.0.1", "Host: " + secret, "Transfer-Encoding: " + secret, "Content-Length: " + secret, "Expect: " + secret, "Connection: " + secret,
		"X-Forwarded-For: " + secret, "Referer: http://x/?token=" + secret, "Access-Control-Request-Headers: " + secret,
	}
	targets := []string{
		"/stream?token=" + secret, "/stream?" + secret, "/stream?" + secret + "=x", "/stream?" + encoded + "=x", "/stream?envelope=" + secret, "/stream?connectKey=%FF" + secret, "/stream?lastEventId=" + secret,
		"/publish?token=" + secret, "/publish?" + secret + "=x", "/publish?key=%FF" + secret, "/keys?top=" + secret, "/" + secret, "/stream/" + secret, "/publish/" + secret + "/x", "/stream;token=" + secret,
		"/stream%3Ftoken=" + secret, "/publish&token=" + secret, "/publish#token=" + secret, "http://user:" + secret + "@127.0.0.1/stream", "http://127.0.0.1/stream?token=" + secret,
		secret, "*" + secret, secret + "://x/", "/debug/pprof/" + secret, "/debug/pprof/?seconds=" + secret, "/stream?connectKey=k\x01" + secret, "//" + secret + "/stream",
	}
	var requests []string
	for _, target := range targets {
		for _, method := range []string{"GET", "POST", "PUT"} {
			requests = append(requests, head(method+" "+target+" HTTP/1.1", host, "Content-Type: text/plain", "Content-Length: 0"))
		}
	}
	for _, field := range fields {
		for _, first := range []string{"GET /stream?connectKey=k HTTP/1.1", "POST /publish?key=k HTTP/1.1", "GET /nothing HTTP/1.1", "nonsense", "GET /stream HTTP/9.9", "GET /stream\tHTTP/1.1", "POST /publish HTTP/1.1\r\nbad field"} {
			lines := []string{first, field}
			if !strings.HasPrefix(field, "Host") {
				lines = append(lines, host)
			}
			requests = append(requests, head(lines...), strings.TrimSuffix(head(lines...), "\r\n\r\n")) // and one that breaks off
		}
		requests = append(requests, head("GET /stream HTTP/1.1", host, field, "X: "+strings.Repeat("x", 100_000)), head(field), head(field, "GET /stream HTTP/1.1"))
	}
	requests = append(requests,
		secret, secret+"\r\n\r\n", head(secret+" /stream HTTP/1.1", host), head("Bearer "+secret+" HTTP/1.1", host), head("GET /stream "+secret, host), head("GET /stream HTTP/1.1 "+secret, host),
		head("POST /publish?key=k HTTP/1.1", host, "Content-Type: text/plain", "Transfer-Encoding: chunked")+secret+"\r\n",
		head("POST /publish?key=k HTTP/1.1", host, "Content-Type: text/plain", "Transfer-Encoding: chunked")+"1\r\nx"+secret+"\r\n",
		head("POST /publish?key=k HTTP/1.1", host, "Content-Type: text/plain", "Transfer-Encoding: chunked", "Trailer: X-A")+"1\r\nx\r\n0\r\n"+secret+"\r\n\r\n",
		head("POST /publish?key=k HTTP/1.1", host, "Content-Type: application/json", "Content-Length: 30")+`{"data":"x","`+secret+`":1}   `,
		head("POST /batch HTTP/1.1", host, "Content-Length: 34")+`{"op":"`+secret+`","data":1}`,
		head("POST /publish HTTP/1.1", host, "Content-Type: multipart/form-data; boundary="+secret, "Content-Length: 5")+"hello",
		"\x16\x03\x01\x02\x00"+secret+"\r\n\r\n",
	)
	for _, test := range []struct {
		name  string
		token string
	}{{"a token", secret}, {"no token", ""}} {
		t.Run(test.name, func(t *testing.T) {
			for _, via := range []string{viaFast, viaStd} {
				lines := 0
				r := startRig(t, via, rigOptions{
					Options: Options{PublishToken: test.token, Pprof: true, AdminOrigins: []string{"https://app.example"}},
					prepare: func(s *Server) {
						s.requestTimeout = eventually.Patience
						*s.log = *clientlog.Unlimited(s.log) // each kind more often than once a second
					},
				})
				for _, request := range requests {
					for _, addr := range []string{r.addr, r.admin} {
						if via == viaStd && addr == r.admin {
							continue // as with the other
						}
						w := wiretest.Dial(t, addr)
						_ = w.NetConn().SetDeadline(time.Now().Add(eventually.Patience))
						_, _ = fmt.Fprint(w.NetConn(), request)
						w.CloseWrite()
						w.Discard()
						w.Close()
						text := r.log.String()[lines:]
						lines += len(text)
						if strings.Contains(text, secret[:8]) {
							t.Errorf("%q on %s: %s", wiretest.Clip(request), map[bool]string{true: "admin", false: "streams"}[addr == r.admin], text)
						}
					}
				}
				if lines < 10_000 && via == viaFast {
					t.Errorf("%d bytes of log: this tests nothing", lines)
				}
			}
		})
	}
}

// TestDebugLineHasTheAddress: the line about a connection that ended by an error has the client's address, although the connection
// is closed by then.
func TestDebugLineHasTheAddress(t *testing.T) {
	plainOnly(t)
	r := startRig(t, viaFast, rigOptions{})
	w := wiretest.Dial(t, r.addr)
	defer w.Close()
	w.Send("nonsense\r\n\r\n")
	want := "remote=" + w.NetConn().LocalAddr().String()
	eventually.Holds(t, "the line", func() (bool, string) {
		for line := range strings.Lines(r.log.String()) {
			if strings.Contains(line, "a connection ended by an error") {
				return strings.Contains(line, want), line
			}
		}
		return false, r.log.String()
	})
}
