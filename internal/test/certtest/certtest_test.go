package certtest

import (
	"crypto/tls"
	"testing"
)

// TestNew shakes hands with the certificate under each of its names, and under none that it does not have.
func TestNew(t *testing.T) {
	c := New(t, "stream.example.com", "127.0.0.1")
	for _, files := range [][2]string{{c.Cert, c.Key}, {c.Pair, c.Pair}} {
		pair, err := tls.LoadX509KeyPair(files[0], files[1])
		if err != nil {
			t.Fatal(err)
		}
		ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				_ = conn.(*tls.Conn).Handshake() // the client tells how it ends
				_ = conn.Close()
			}
		}()
		for name, want := range map[string]bool{"stream.example.com": true, "127.0.0.1": true, "example.com": false, "127.0.0.2": false} {
			conn, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{RootCAs: c.Roots, ServerName: name})
			if (err == nil) != want {
				t.Errorf("%s: %v, want success: %v", name, err, want)
			}
			if err == nil {
				_ = conn.Close()
			}
		}
	}
}
