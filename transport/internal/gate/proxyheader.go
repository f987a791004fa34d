package gate

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/pires/go-proxyproto"
)

// Bounds of a PROXY header, from its specification (haproxy's proxy-protocol.txt).
const (
	leastV1 = len("PROXY UNKNOWN\r\n") // also less than a header of version 2
	mostV1  = 107
	prefix  = 16 // of version 2: signature, command, family, length
)

// MaxProxyHeader is the longest PROXY header that is read. Version 2 has an address
// and fields, of which a client's certificate is the longest in practice.
const MaxProxyHeader = prefix + 4096 // as proxyproto.MaxV2HeaderSize

// ErrNoHeader is the error of ReadProxyHeader for a connection that sends nothing:
// the check of a load balancer, mostly.
var ErrNoHeader = errors.New("the connection ended before its first byte")

// ReadProxyHeader reads a PROXY header of version 1 or 2, and not a byte after it.
// It returns the address of the client, or nil if the proxy speaks for itself (LOCAL,
// UNKNOWN).
func ReadProxyHeader(r io.Reader) (net.Addr, error) {
	header, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(header), len(header)))
	if err != nil {
		return nil, fmt.Errorf("the PROXY header is not valid: %w", err)
	}
	if h.Command.IsLocal() {
		return nil, nil
	}
	switch a := h.SourceAddr.(type) {
	case *net.TCPAddr:
		return a, nil
	case *net.UDPAddr: // the client's connection to the proxy is one of HTTP/3
		return &net.TCPAddr{IP: a.IP, Port: a.Port}, nil
	case *net.UnixAddr:
		return unixAddr(unixClient), nil
	}
	return nil, errors.New("the PROXY header has no address of a client")
}

// readHeader reads the bytes of a header. Its end is known before they are parsed.
func readHeader(r io.Reader) ([]byte, error) {
	b := make([]byte, leastV1, 128)
	if n, err := io.ReadFull(r, b); err != nil {
		if n == 0 && errors.Is(err, io.EOF) {
			return nil, ErrNoHeader
		}
		return nil, err
	}
	switch {
	case bytes.HasPrefix(b, proxyproto.SIGV2):
		return readV2(r, b)
	case bytes.HasPrefix(b, proxyproto.SIGV1):
		return readV1(r, b)
	}
	return nil, errors.New("it does not begin with a PROXY header")
}

// readV1 reads up to CR LF. Nothing tells how much comes before it, so each byte is
// read by itself.
func readV1(r io.Reader, b []byte) ([]byte, error) {
	for b[len(b)-1] != '\n' {
		if len(b) == mostV1 {
			return nil, fmt.Errorf("the PROXY header has no line end within %d bytes", mostV1)
		}
		b = append(b, 0)
		if _, err := io.ReadFull(r, b[len(b)-1:]); err != nil {
			return nil, cutOff(err)
		}
	}
	return b, nil
}

func readV2(r io.Reader, b []byte) ([]byte, error) {
	at := len(b)
	b = b[:prefix]
	if _, err := io.ReadFull(r, b[at:]); err != nil {
		return nil, cutOff(err)
	}
	size := prefix + int(binary.BigEndian.Uint16(b[prefix-2:]))
	if size > MaxProxyHeader {
		return nil, fmt.Errorf("the PROXY header has %d bytes, more than %d", size, MaxProxyHeader)
	}
	b = append(b, make([]byte, size-prefix)...)
	if _, err := io.ReadFull(r, b[prefix:]); err != nil {
		return nil, cutOff(err)
	}
	return b, nil
}

// cutOff is the error of a header that ends too early.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Addresses that are not a trusted proxy's, although they come from its socket.
const (
	unixProxy  = "unix:proxy"  // the proxy itself
	unixClient = "unix:client" // a client that reaches the proxy by a Unix socket
)

func unixAddr(name string) net.Addr { return &net.UnixAddr{Net: "unix", Name: name} }

// OwnAddr is the address of a connection that a proxy opens for itself, to check the
// server, or because it does not know the client's address. It is that of the proxy
// without the port: Proxies.Client takes no client's address from such a connection,
// since nobody knows who has written its fields.
func OwnAddr(peer net.Addr) net.Addr {
	if a, ok := peer.(*net.TCPAddr); ok {
		return &net.IPAddr{IP: a.IP, Zone: a.Zone}
	}
	return unixAddr(unixProxy)
}

// PeerAddr is the address of a connection's peer. On a Unix socket it is Unix,
// whatever name the peer's end has.
func PeerAddr(a net.Addr) net.Addr {
	if _, ok := a.(*net.UnixAddr); ok {
		return unixAddr(Unix)
	}
	return a
}
