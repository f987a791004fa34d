package stream

import (
	"net/netip"
	"sync"
)

// addresses counts the open streams of each client address. It has an entry for
// each address that has streams, so MaxConnections bounds it.
type addresses struct {
	mu     sync.Mutex
	counts map[netip.Prefix]*address
}

// address is the entry of a client address. Its streams share it.
type address struct {
	prefix netip.Prefix
	n      int // streams, under addresses.mu
}

// ipv6Bits is the part of an IPv6 address that counts: a customer has at least a
// network of that size, and so any number of addresses in it.
const ipv6Bits = 64

// network returns what counts as one client; ok is false for what is not an IP
// address, such as a Unix socket's.
func network(remote string) (p netip.Prefix, ok bool) {
	a, err := netip.ParseAddr(remote)
	if err != nil {
		at, err := netip.ParseAddrPort(remote)
		if err != nil {
			return p, false
		}
		a = at.Addr()
	}
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = ipv6Bits
	}
	p, err = a.Prefix(bits)
	return p, err == nil
}

// add counts a stream with details d as one of a client address, or returns the limit if there are
// limit of them already; 0 is no limit. The count is the stream's until remove.
func (t *addresses) add(d *details, remote string, limit int) (refused string) {
	if limit <= 0 {
		return ""
	}
	p, ok := network(remote)
	if !ok {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.counts[p]
	if a == nil {
		if t.counts == nil {
			t.counts = map[netip.Prefix]*address{}
		}
		a = &address{prefix: p}
		t.counts[p] = a
	}
	if a.n >= limit {
		return LimitAddress
	}
	a.n++
	d.address = a
	return ""
}

// remove takes back what add has counted, once; nil for nothing.
func (t *addresses) remove(d *details) {
	if d == nil || d.address == nil {
		return
	}
	a := d.address
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.n--; a.n == 0 {
		delete(t.counts, a.prefix)
	}
}
