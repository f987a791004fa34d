package gate

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pires/go-proxyproto"
)

// FuzzProxyHeader: not a byte after the header is read, however the bytes arrive, and the result is that of the library, which
// finds the header's end by itself.
func FuzzProxyHeader(f *testing.F) {
	const v2 = "\r\n\r\n\x00\r\nQUIT\n"
	for _, header := range []string{
		"PROXY TCP4 192.0.2.1 192.0.2.80 4711 443\r\n", "PROXY TCP6 2001:db8::1 ::1 1 0\r\n", "PROXY UNKNOWN\r\n", "PROXY UNKNOWN x\r\n", "PROXY TCP4\n", "PROXY",
		v2 + "\x20\x00\x00\x00", v2 + "\x20\x11\x00\x03abc", v2 + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x50\x12\x67\x01\xbb",
		v2 + "\x21\x12\x00\x0f\xc0\x00\x02\x01\xc0\x00\x02\x50\x12\x67\x01\xbb\x04\x00\x00", v2 + "\x21\x31\x00\xd8" + string(make([]byte, 216)), v2 + "\x21\x11\xff\xff", "",
	} {
		f.Add([]byte(header + "GET / HTTP/1.1\r\n\r\n"))
		f.Add([]byte(header))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		from := bytes.NewReader(input)
		addr, err := ReadProxyHeader(from)
		read := len(input) - from.Len()
		if read > MaxProxyHeader {
			t.Errorf("%d bytes were read", read)
		}
		slowly := bytes.NewReader(input)
		if again, errAgain := ReadProxyHeader(iotest.OneByteReader(slowly)); (errAgain == nil) != (err == nil) || text(again) != text(addr) || slowly.Len() != from.Len() {
			t.Errorf("a byte at a time: %v, %v, then %v, %v", addr, err, again, errAgain)
		}
		whole := bufio.NewReaderSize(bytes.NewReader(input), len(input)+1)
		h, want := proxyproto.Read(whole)
		rest, _ := io.ReadAll(whole)
		switch {
		case err != nil && want == nil:
			t.Errorf("%v, and the library reads it as %v", err, h)
		case err == nil && want != nil:
			t.Errorf("%v, and the library says %v", addr, want)
		case err == nil && !bytes.Equal(rest, input[read:]):
			t.Errorf("%d bytes were read, and %d are after the header", read, len(rest))
		}
	})
}

func text(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

// TestProxyHeaderBounds: of a header that is too long, no more is read than the longest that is valid.
func TestProxyHeaderBounds(t *testing.T) {
	for header, most := range map[string]int{
		"PROXY UNKNOWN " + strings.Repeat("x", 1000) + "\r\n":                 mostV1,
		"\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff" + strings.Repeat("x", 1<<16): prefix,
		"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n":                         leastV1,
	} {
		from := strings.NewReader(header)
		if addr, err := ReadProxyHeader(from); err == nil || len(header)-from.Len() > most {
			t.Errorf("%.20q: %v, %v after %d bytes, want at most %d", header, addr, err, len(header)-from.Len(), most)
		}
	}
}

// TestOwnAddr: what a proxy says for itself is not a client's address.
func TestOwnAddr(t *testing.T) {
	proxies := Proxies{Unix: true}
	for peer, want := range map[net.Addr]string{
		&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80}:                "10.0.0.1",
		&net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 80, Zone: "eth0"}: "fe80::1%eth0",
		&net.UnixAddr{Net: "unix", Name: Unix}:                           "unix:proxy",
	} {
		own := OwnAddr(peer).String()
		if own != want {
			t.Errorf("%s: %s, want %s", peer, own, want)
		}
		if got := proxies.Client(own, []string{"192.0.2.1"}); got != own {
			t.Errorf("%s: %s", own, got)
		}
	}
}
