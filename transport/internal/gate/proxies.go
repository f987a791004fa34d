package gate

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"
)

// The header fields from which the address of a proxy's client is read.
const (
	XForwardedFor = "X-Forwarded-For"
	Forwarded     = "Forwarded" // RFC 7239
)

// Unix is the address of every peer on a Unix socket, in place of an IP address.
const Unix = "unix"

// Proxies are the trusted proxies. Nobody else is believed about the address of a
// client. The zero value trusts nobody.
type Proxies struct {
	Prefixes []netip.Prefix
	// Unix trusts the peers on Unix sockets.
	Unix bool
	// Field is the only field that counts, XForwardedFor or Forwarded; "" is the
	// first. A proxy that sets one of them passes the other one on as the client has
	// written it.
	Field string
}

// None reports whether nobody is trusted.
func (p Proxies) None() bool { return len(p.Prefixes) == 0 && !p.Unix }

// Trusts reports whether peer, an address and port or Unix, is a trusted proxy. An
// address without a port is not, see OwnAddr.
func (p Proxies) Trusts(peer string) bool {
	if peer == Unix {
		return p.Unix
	}
	at, err := netip.ParseAddrPort(peer)
	return err == nil && p.trusts(at.Addr().Unmap())
}

func (p Proxies) trusts(a netip.Addr) bool {
	for _, prefix := range p.Prefixes {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// FieldName is the name of the field that counts.
func (p Proxies) FieldName() string {
	if p.Field == "" {
		return XForwardedFor
	}
	return p.Field
}

// ClientOf is Client for a request of fasthttp.
func (p Proxies) ClientOf(ctx *fasthttp.RequestCtx) string {
	var values []string
	for _, v := range ctx.Request.Header.PeekAll(p.FieldName()) {
		values = append(values, string(v))
	}
	return p.Client(ctx.RemoteAddr().String(), values)
}

// Client returns the address of a request's client. peer is the address that
// the connection comes from, values are those of the field FieldName. From a
// trusted proxy it is the rightmost address that is not a trusted proxy's own:
// anybody may have written what stands to the left of it. An element that is not
// an address ends the search.
func (p Proxies) Client(peer string, values []string) string {
	if peer == "" || peer[0] == '@' || peer[0] == '/' { // net.UnixAddr: without a name, abstract, or a path
		peer = Unix
	}
	if len(values) == 0 || !p.Trusts(peer) {
		return peer
	}
	hops := xForwardedForHops
	if p.Field == Forwarded {
		hops = forwardedHops
	}
	for _, a := range slices.Backward(hops(strings.Join(values, ","))) { // one list (RFC 9110, 5.3)
		if !a.IsValid() {
			break
		}
		if peer = a.String(); !p.trusts(a) {
			break
		}
	}
	return peer
}

// xForwardedForHops reads the addresses of a value of X-Forwarded-For. What is not an
// address is the zero Addr.
func xForwardedForHops(list string) (hops []netip.Addr) {
	for hop := range strings.SplitSeq(list, ",") {
		hops = append(hops, hopAddr(strings.TrimSpace(hop)))
	}
	return hops
}

// hopAddr reads an address, which some proxies write with its port.
func hopAddr(text string) netip.Addr {
	if at, err := netip.ParseAddrPort(text); err == nil && at.Addr().Zone() == "" {
		return at.Addr().Unmap()
	}
	a, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil || a.Zone() != "" {
		return netip.Addr{}
	}
	return a.Unmap()
}
