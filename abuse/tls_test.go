package abuse_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"fanfare/internal/test/certtest"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// tlsAttacks are handshakes, and HTTP/2 by ALPN.
var tlsAttacks = group{
	name: "tls",
	start: func(t *testing.T) *victim {
		cert := certtest.New(t, "127.0.0.1")
		v := startVictim(t, "--tls-cert", cert.Cert, "--tls-key", cert.Key, "--max-idle-connections", "1000", "--max-admin-connections", "300", "--max-pinned-bytes", "8MiB")
		v.secure = &tls.Config{RootCAs: cert.Roots, ServerName: "127.0.0.1"}
		return v
	},
	attacks: []attack{
		{name: "tls-handshake-flood", peak: 96, run: handshakeFlood},
		{name: "tls-half-handshakes", peak: 96, run: halfHandshakes},
		{name: "tls-junk", peak: 96, run: tlsJunk},
		{name: "tls-streams-that-reset", peak: 96, run: tlsStreamsThatReset},
		{name: "tls-zero-windows", peak: 128, keys: 1, heap: 17, run: tlsZeroWindows},
		{name: "tls-http2-rapid-reset", peak: 128, run: rapidReset},
		{name: "tls-http2-zero-windows", peak: 128, keys: 1, heap: 17, run: http2ZeroWindows},
	},
}

// clientHello is the first flight of a client, in the bytes of a connection.
func clientHello(v *victim) []byte {
	client, server := net.Pipe()
	go func() { _ = tls.Client(client, v.secure).Handshake() }()
	defer client.Close()
	defer server.Close()
	b := make([]byte, 4<<10)
	n, _ := server.Read(b)
	return b[:n]
}

// handshakeFlood makes handshakes, and leaves at once or in the middle of one.
func handshakeFlood(t *testing.T, v *victim) {
	hello := clientHello(v)
	flood(t, sized(600, 20_000), 30, func(i int) error {
		c, err := local(i).Dial("tcp", v.stream)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(eventually.Patience))
		switch i % 3 {
		case 0:
			if err := tls.Client(c, v.secure).Handshake(); err != nil {
				return err
			}
		case 1: // does not wait for the server's work
			_, _ = c.Write(hello)
			_ = c.(*net.TCPConn).SetLinger(0)
		case 2:
			_, _ = c.Write(hello)
			_, _ = c.Read(make([]byte, 1))
		}
		return nil
	})
}

func halfHandshakes(t *testing.T, v *victim) {
	hello := clientHello(v)
	for _, text := range []string{string(hello), string(hello[:len(hello)/2]), string(hello[:3])} {
		hold(t, v, sized(1000, 20_000), text)
	}
	drip(t, slow{v.stream, string(hello[:9]), 0, 100})
}

// tlsJunk is what is not TLS, or not a version or record that a server takes.
func tlsJunk(t *testing.T, v *victim) {
	hello := clientHello(v)
	long := append([]byte{22, 3, 1, 0xff, 0xff}, make([]byte, 1<<16)...)
	for name, text := range map[string][]byte{
		"plain HTTP": []byte(wiretest.Request("GET", "/stream?connectKey=k")), "the preface of HTTP/2": []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "SSL 2": {0x80, 0x2e, 1, 0, 2}, "an alert": {21, 3, 3, 0, 2, 2, 40},
		"records of nothing": bytes.Repeat([]byte{22, 3, 1, 0, 0}, 10_000), "a long record": long, "data before the handshake": {23, 3, 3, 0, 5, 1, 2, 3, 4, 5}, "a hello twice": append(bytes.Clone(hello), hello...),
		"a heartbeat": {24, 3, 2, 0, 3, 1, 0x40, 0}, "a broken hello": append(bytes.Clone(hello[:40]), bytes.Repeat([]byte{0xff}, len(hello)-40)...), "an endless hello": {22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff},
		"a PROXY header": []byte("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), "zeros": make([]byte, 100_000),
	} {
		if answer := exchange(t, v.stream, string(text)); strings.Contains(answer, "200 OK") {
			t.Errorf("%s: %q", name, wiretest.Clip(answer))
		}
	}
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		config := v.secure.Clone()
		config.MinVersion, config.MaxVersion = version, version
		if err := tls.Client(dial(t, v.stream), config).Handshake(); err == nil {
			t.Errorf("version %x is taken", version)
		}
	}
}

// tlsStreamsThatReset opens streams and leaves them, half of them without the close that TLS wants.
func tlsStreamsThatReset(t *testing.T, v *victim) {
	flood(t, sized(400, 20_000), 20, func(i int) error {
		raw, err := local(i).Dial("tcp", v.stream)
		if err != nil {
			return err
		}
		c := tls.Client(raw, v.secure)
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(eventually.Patience))
		if _, err := io.WriteString(c, wiretest.Request("GET", fmt.Sprintf("/stream?connectKey=bystander&connectKey=tls-%d", i%50))); err != nil {
			return err
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%v, %w", resp, err)
		}
		if i%2 == 0 {
			_ = raw.(*net.TCPConn).SetLinger(0)
			_ = raw.Close()
		}
		return nil
	})
}

// tlsZeroWindows are streams of TLS that nobody reads: what is encrypted for them is bounded, too.
func tlsZeroWindows(t *testing.T, v *victim) {
	const readers = 60
	for i := range readers {
		raw, err := local(i).Dial("tcp", v.stream)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		_ = raw.(*net.TCPConn).SetReadBuffer(4 << 10)
		c := tls.Client(raw, v.secure)
		if _, err := io.WriteString(c, wiretest.Request("GET", "/stream?connectKey=secret-window")); err != nil {
			t.Fatal(err)
		}
	}
	v.AwaitCount("secret-window", readers)
	event := strings.Repeat("x", 1<<20)
	for range sized(20, 200) {
		v.PublishText("secret-window", event)
	}
	v.AwaitCount("secret-window", 0)
}
