package transport

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// access is what the log tells of a stream when it ends, see Options.AccessLog.
type access struct {
	remote, agent, keys string
	events, bytes       uint64 // written; of the stream's owner
}

func newAccess(req request) *access {
	return &access{remote: req.remote, agent: req.agent, keys: cutKeys(req.keys)}
}

// count counts events that were written.
func (a *access) count(events, bytes int) {
	if a != nil {
		a.events += uint64(events)
		a.bytes += uint64(bytes)
	}
}

// logEnd logs the line of a stream. Owner only.
func (st *stream) logEnd(reason string) {
	a, s := st.access, st.srv
	o := s.settings.Load()
	if a == nil || !o.AccessLog { // or the setting came after the stream
		return
	}
	o.Logger.Info("stream ended", "reason", reason, "remote", a.remote, "keys", a.keys, "agent", a.agent,
		"events", a.events, "bytes", a.bytes, "lag", st.sub.Lag(), "seconds", float64(s.clock.Load()-st.opened)/1000)
}

// The longest list of keys and the longest user agent in a log line, in bytes.
const (
	maxKeysText  = 256
	maxAgentText = 200
)

// cutKeys is a list of keys for the log, cut: keys come from clients.
func cutKeys(keys []string) string {
	var b strings.Builder
	for i, k := range keys {
		if i > 0 {
			b.WriteByte(',')
		}
		if b.Len() > maxKeysText {
			fmt.Fprintf(&b, "… %d more", len(keys)-i)
			break
		}
		b.WriteString(cutText(k))
	}
	return b.String()
}

func (o *settings) trusts(a netip.Addr) bool {
	for _, p := range o.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// client is the address of a request's client. From a trusted proxy it is the
// rightmost address of X-Forwarded-For that is no trusted proxy's own: what stands
// to the left of it, anybody may have written. Of what is no address nothing
// behind it counts either.
func (o *settings) client(peer string, forwarded []string) string {
	if len(o.TrustedProxies) == 0 || len(forwarded) == 0 {
		return peer
	}
	at, err := netip.ParseAddrPort(peer)
	if err != nil || !o.trusts(at.Addr().Unmap()) {
		return peer
	}
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		a, err := hopAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		if peer = a.String(); !o.trusts(a) {
			break
		}
	}
	return peer
}

// hopAddr reads an element of X-Forwarded-For: an address, by some proxies with
// its port.
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
