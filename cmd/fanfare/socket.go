package main

import (
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"

	"fanfare/cmd/fanfare/config"
	"fanfare/transport"
)

// listenAt listens on [HOST]:PORT, or on unix:PATH with this mode and owner.
func listenAt(addr, mode, owner string) (net.Listener, error) {
	path, ok := config.SocketPath(addr)
	if !ok {
		return transport.Listen(context.Background(), addr)
	}
	m, err := config.SocketMode(mode)
	if err != nil {
		return nil, err
	}
	return transport.ListenUnix(transport.UnixSocket{Path: path, Mode: m, Owner: owner})
}

// localHeader is the PROXY header of version 2 with which a proxy speaks for itself (LOCAL).
const localHeader = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"

// sendLocal begins a connection to the stream listener as the server expects it from this address.
func sendLocal(conn net.Conn, c *config.Config) error {
	trusted := c.TrustsUnix()
	if at, ok := conn.LocalAddr().(*net.TCPAddr); ok {
		own := at.AddrPort().Addr().Unmap()
		trusted = slices.ContainsFunc(c.Proxies(), func(p netip.Prefix) bool { return p.Contains(own) })
	}
	if !c.ProxyProtocol || !trusted {
		return nil
	}
	_, err := io.WriteString(conn, localHeader)
	return err
}

// curl is the beginning of a curl command that reaches a listener.
func curl(a net.Addr) string {
	if _, ok := a.(*net.UnixAddr); ok {
		return "curl --unix-socket " + shellWord(a.String())
	}
	return "curl"
}

// shellWord quotes a word for a shell if it needs it.
func shellWord(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-", r))
	}) {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}
