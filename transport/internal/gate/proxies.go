package gate

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/valyala/fasthttp"
)

// Proxies are the addresses of proxies whose X-Forwarded-For is believed.
type Proxies []netip.Prefix

func (p Proxies) trust(a netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// ClientOf is Client for a request of fasthttp.
func (p Proxies) ClientOf(ctx *fasthttp.RequestCtx) string {
	var forwarded []string
	for _, v := range ctx.Request.Header.PeekAll("X-Forwarded-For") {
		forwarded = append(forwarded, string(v))
	}
	return p.Client(ctx.RemoteAddr().String(), forwarded)
}

// Client returns the address of a request's client. peer is the address that
// the connection comes from, forwarded are the values of X-Forwarded-For. From a
// trusted proxy it is the rightmost address that is not a trusted proxy's own:
// anybody may have written what stands to the left of it. An element that is not
// an address ends the search.
func (p Proxies) Client(peer string, forwarded []string) string {
	if len(p) == 0 || len(forwarded) == 0 {
		return peer
	}
	at, err := netip.ParseAddrPort(peer)
	if err != nil || !p.trust(at.Addr().Unmap()) {
		return peer
	}
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		a, err := hopAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		if peer = a.String(); !p.trust(a) {
			break
		}
	}
	return peer
}

// hopAddr reads an element of X-Forwarded-For: an address, from some proxies
// with its port.
func hopAddr(text string) (netip.Addr, error) {
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at.Addr().Unmap(), nil
	}
	a, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err == nil && a.Zone() != "" {
		err = errors.New("it has a zone")
	}
	return a.Unmap(), err
}
