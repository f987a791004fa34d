package sse

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A proxy of the environment is used, for http as one that forwards, for https as a tunnel; loopback has none.
func TestProxy(t *testing.T) {
	stream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: "+r.Host+r.RequestURI+" "+r.Header.Get("Proxy-Authorization")+"\n\n")
	})
	plain, secure := httptest.NewServer(stream), httptest.NewTLSServer(stream)
	defer plain.Close()
	defer secure.Close()
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
		asked = append(asked, strings.Join([]string{r.Method, r.RequestURI, user, password}, " "))
		if user != "me" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		switch {
		case r.Method == http.MethodConnect:
		case r.URL.Path == "/moved":
			http.Redirect(w, r, plain.URL+"/e", http.StatusFound)
			return
		default:
			stream(w, r)
			return
		}
		there, err := net.Dial("tcp", strings.TrimPrefix(secure.URL, "https://"))
		if err != nil {
			panic(err)
		}
		defer there.Close()
		here, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer here.Close()
		_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			_, _ = io.Copy(there, here)
			_ = there.Close()
		}()
		_, _ = io.Copy(here, there)
	}))
	defer proxy.Close()
	run := func(user string) *vu { // httptest's certificate is for example.com
		t.Helper()
		asked = nil
		t.Setenv("HTTP_PROXY", strings.Replace(proxy.URL, "//", "//"+user, 1))
		t.Setenv("HTTPS_PROXY", strings.Replace(proxy.URL, "//", "//"+user, 1))
		v := newVU(t, map[string]any{"direct": plain.URL})
		v.state.TLSConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig
		v.must(`
			for (const url of ['http://sse.test/a?b', 'https://example.com/c', direct + '/d', 'http://sse.test/moved']) {
				sse.open(url, (c) => {
					c.on('event', (e) => note(e.data));
					c.on('error', (e) => note(e.message));
				});
			}`)
		return v
	}

	host := strings.TrimPrefix(plain.URL, "http://")
	v := run("me:secret@")
	v.wantNotes("sse.testhttp://sse.test/a?b Basic bWU6c2VjcmV0", "example.com/c ", host+"/d ", host+"/e ")
	v.wantNotesOf(asked, "GET http://sse.test/a?b me secret", "CONNECT example.com:443 me secret", "GET http://sse.test/moved me secret")

	v = run("")
	v.wantNotes("the response is 407 Proxy Authentication Required, not 200",
		"the proxy "+proxy.URL+" answered 407 Proxy Authentication Required", host+"/d ",
		"the response is 407 Proxy Authentication Required, not 200")

	t.Setenv("HTTP_PROXY", refused(t))
	v = newVU(t, nil)
	v.must(`sse.open('http://sse.test/', (c) => c.on('error', (e) => note(e.message)));`)
	if got := v.noted(); len(got) != 1 || !strings.HasPrefix(got[0], "the proxy http://127.0.0.1:") || !strings.Contains(got[0], "refused") {
		t.Errorf("noted %q", got)
	}
	t.Setenv("HTTP_PROXY", "socks5://me:secret@127.0.0.1:1080")
	v = newVU(t, nil)
	v.must(`sse.open('http://sse.test/', (c) => c.on('error', (e) => note(e.message)));`)
	v.wantNotes("the proxy socks5://me:xxxxx@127.0.0.1:1080 of the environment is not supported: k6/x/sse supports only http and https proxies")
}

// A server that doesn't speak HTTP/1.1 says so in the handshake. (Go's own, if it knows h2 only, lets the client guess.)
func TestNoHTTP1(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: server.TLS.Certificates, NextProtos: []string{"h9"}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := l.Accept(); err == nil {
			_ = c.(*tls.Conn).Handshake()
			_ = c.Close()
		}
	}()
	v := newVU(t, map[string]any{"url": "https://" + l.Addr().String()})
	v.state.TLSConfig = server.Client().Transport.(*http.Transport).TLSClientConfig
	v.must(`new EventSource(url, { reconnect: false }).onerror = (e) => note(e.message);`)
	v.wantNotes("the server refuses HTTP/1.1, the only version that k6/x/sse supports: remote error: tls: no application protocol")
	<-done
}
